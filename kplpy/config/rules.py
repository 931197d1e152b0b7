"""The rules of Config's fields: each field's rule is its metadata, and check() applies it."""

from __future__ import annotations

import os
import re
from dataclasses import Field, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from kplpy.errors import ConfigError
from kplpy.escaping import brief_repr

MIB = 1 << 20

# The service's limits of one PutRecords request. The bytes include partition keys.
REQUEST_MAX_RECORDS = 500
REQUEST_MAX_BYTES = 10 * MIB

GZIP_LEVELS = 9

GRANULARITIES = ("global", "stream", "shard")
SINKS = ("cloudwatch", "emf", "prometheus", "opentelemetry")


class MetricsSink(Protocol):
    """A sink of the application's own: kplpy.metrics.sample.Sink, whose window this package cannot name.

    kplpy.metrics imports Config, so importing its Window here would make an import circle.
    """

    def emit(self, window: Any) -> None: ...


def number(default: float | None, low: float, high: float | None = None, *, optional: bool = False) -> Any:
    """Make a field for a number from `low` to `high`: whole if the default is, or is None. optional: also None."""
    whole = default is None or isinstance(default, int)
    return field(default=default, metadata={"number": (low, high, optional, whole)})


def choice(default: str | None, *values: str | None) -> Any:
    """Make a field for one of `values`."""
    return field(default=default, metadata={"choice": values})


def flag(default: bool) -> Any:
    """Make a field for True or False."""
    return field(default=default, metadata={"flag": True})


def text(default: str | None = None) -> Any:
    """Make a field for a text that is not empty, or None. Names that end with _url take URLs only."""
    return field(default=default, metadata={"text": True})


def check(knob: Field[Any], value: Any) -> None:
    """Raise ConfigError if the value breaks the rule of its field."""
    name, rules = knob.name, knob.metadata
    if "number" in rules:
        low, high, optional, whole = rules["number"]
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ConfigError(f"{name} must be a whole number{' or None' if optional else ''}, got {value!r}")
        if value < low or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"from {low} to {high}"
            bits = value.bit_length() if isinstance(value, int) else 0
            got = repr(value) if bits < 1000 else f"a number of {bits} bits"  # Python refuses to print long numbers
            raise ConfigError(f"{name} must be {bounds}{' or None' if optional else ''}, got {got}")
    elif "choice" in rules:
        if value not in rules["choice"] or isinstance(value, bool):
            raise ConfigError(f"{name} must be one of {', '.join(map(repr, rules['choice']))}, got {value!r}")
    elif "flag" in rules:
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be True or False, got {value!r}")
    elif "text" in rules:
        if value is not None and (not isinstance(value, str) or not value.strip()):
            got = safe_repr(name, value) if knob.repr else f"a {type(value).__name__}"  # a password must not be logged
            raise ConfigError(f"{name} must be a text that is not empty, or None, got {got}")
        if value is not None and len(os.fsencode(value)) > rules.get("longest", len(value) * 4):
            raise ConfigError(f"{name} must have at most {rules['longest']} bytes, got {value!r}")
        if name.endswith("_url") and value is not None and not _is_endpoint(value):
            raise ConfigError(
                f"{name} must be http:// or https:// with a host, and a port from 1 to 65535 where given, "
                f"got {safe_repr(name, value)}"
            )
    elif "path" in rules:
        if value is not None and not (isinstance(value, (str, os.PathLike)) and isinstance(os.fspath(value), str)):
            raise ConfigError(f"{name} must be the path of a directory, or None, got {brief_repr(value)}")
        if value is not None and (not os.fspath(value).strip() or "\0" in os.fspath(value)):
            raise ConfigError(f"{name} must be the path of a directory, or None, got {brief_repr(value)}")
    elif "verify" in rules:
        if not (value is None or isinstance(value, bool) or (isinstance(value, str) and value)):
            raise ConfigError(f"{name} must be True, False, the path of a CA bundle or None, got {value!r}")
    elif "sink" in rules:
        named = isinstance(value, str) and value in SINKS
        if not (
            value is None or named or (not isinstance(value, (str, type)) and callable(getattr(value, "emit", None)))
        ):
            raise ConfigError(
                f"{name} must be one of {', '.join(map(repr, SINKS))}, an object with a method emit(window) or None, "
                f"got {value!r}"
            )
    elif "call" in rules:
        if value is not None and not callable(value):
            raise ConfigError(f"{name} must be callable or None{rules['call']}, got {brief_repr(value)}")
    elif "dimensions" in rules:
        _check_dimensions(name, value)
    elif "namespace" in rules and not (isinstance(value, str) and re.fullmatch(r"(?!AWS/).{1,255}", value)):
        raise ConfigError(f"{name} must be 1 to 255 characters that do not start with 'AWS/', got {value!r}")


def _check_dimensions(name: str, value: Any) -> None:
    """Raise ConfigError for dimensions that CloudWatch would refuse.

    A metric has at most 30 dimensions of ASCII characters. kplpy uses three of them.
    """
    entries = value if isinstance(value, tuple) else (value,)
    for each in entries:
        if not (
            isinstance(each, tuple)
            and len(each) == 3
            and all(isinstance(part, str) for part in each)
            and re.fullmatch(r"(?!:)(?=.*\S)[ -~]{1,255}", each[0])
            and re.fullmatch(r"(?=.*\S)[ -~]{1,255}", each[1])
            and each[2] in GRANULARITIES
        ):
            raise ConfigError(
                f"{name} must be a tuple of (name, value, granularity), name and value of 1 to 255 ASCII characters, "
                f"the name not starting with ':', and granularity one of {', '.join(map(repr, GRANULARITIES))}, "
                f"got {value!r}"
            )
    names = {"ErrorCode", "StreamName", "ShardId", *(each[0] for each in entries)}
    if len(names) != 3 + len(entries) or len(names) > 30:
        raise ConfigError(
            f"{name} must have names that differ, also from ErrorCode, StreamName and ShardId, and at most 27, "
            f"got {value!r}"
        )


def safe_repr(name: str, value: Any) -> str:
    """Return the value's repr. URLs and the proxy's host lose the user and password before their @."""
    if isinstance(value, str) and (name.endswith("_url") or name == "proxy_host"):
        value = re.sub(r"^(\w+://)?.*@", r"\1***@", value, flags=re.DOTALL)
    return repr(value)


def _is_endpoint(url: str) -> bool:
    """Return True for an http or https URL with a host and a valid port."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not re.search(r"\s", url)
