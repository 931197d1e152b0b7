"""Ready-made serializers for `Producer(value_serializer=...)` and `key_serializer=...`.

A serializer is a function from a value to bytes (or from a key to str).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import date, datetime, time
from json import JSONEncoder
from typing import Any
from uuid import UUID

__all__ = ["json", "string"]


def string(value: str) -> bytes:
    """Return the text in UTF-8.

    Raises TypeError for anything but a str, UnicodeEncodeError for half a surrogate pair.
    """
    if not isinstance(value, str):
        raise TypeError(f"must be a str, got {type(value).__name__}")
    return value.encode()


def json(value: Any) -> bytes:
    """Return the value as JSON: UTF-8, without spaces between its parts.

    Takes what the standard library's json takes: dict, list, tuple, str, int, float, bool and None. Also takes a
    datetime, date or time (as `isoformat()` writes it), a UUID (its text), an Enum (its value) and a dataclass (an
    object of its fields). Keys of a dict are str, int, float, bool or None, and become text.

    orjson does the work if it is installed. What orjson does not take goes to the standard library. Both give the same
    value: numbers may be written differently (1e-7, 1e-07), and NaN and infinity are null with orjson and refused
    without.

    Raises TypeError for other types, for example Decimal, bytes and set. Raises ValueError for NaN and infinity
    without orjson, for a value that contains itself, and for half a surrogate pair.
    """
    return _json(value)


def _plain(value: Any) -> Any:
    """Return a value of a type that JSON has, for one of a type that it has not."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in JSON: convert it first, for example to str or float")


_encode = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode


def _standard_json(value: Any) -> bytes:
    return _encode(value).encode()


def _fast_json() -> Callable[[Any], bytes]:
    """Return the serializer with orjson. Raises ImportError if orjson is not installed."""
    import orjson

    # orjson writes some dates and dataclasses differently, for example without the fields that begin with "_".
    options = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS

    def serialize(value: Any) -> bytes:
        try:
            return orjson.dumps(value, _plain, options)
        except TypeError:  # for example a number above 64 bits, or a dict whose keys are numbers
            return _standard_json(value)

    return serialize


try:
    _json = _fast_json()
except ImportError:
    _json = _standard_json
