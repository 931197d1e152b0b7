"""A failed record as one line of JSON: the format of `kplpy put --failed` and --from-failed."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from kplpy.errors import RecordFailedError
from kplpy.escaping import brief_repr
from kplpy.headers import Headers


def entry_of(error: RecordFailedError) -> dict[str, Any]:
    """Return the failed record as a dict, with its stream and why it failed."""
    entry: dict[str, Any] = {"stream": error.stream}
    record = error.record
    if record is not None:
        entry |= describe_data(record.data)
        entry |= {"partition_key": record.partition_key, "explicit_hash_key": record.explicit_hash_key}
        entry |= describe_headers(record.headers)
    return entry | {
        "error": f"{type(error).__name__}: {error}",
        "attempts": len(error.attempts),
        "possible_duplicate": error.possible_duplicate,
    }


def line_of(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def describe_data(data: bytes) -> dict[str, str]:
    """Return the data as a JSON member: `data` if it is UTF-8, else `data_base64`."""
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def describe_headers(headers: Headers | None) -> dict[str, Headers]:
    """Return the headers as a JSON member: an object of strings and nulls. Empty without headers."""
    return {"headers": dict(headers)} if headers else {}


@dataclass(slots=True)
class Entry:
    """A record read from a line.

    truncated: the record's length in bytes if `data` is only its beginning; 0 if `data` is complete
    """

    data: bytes
    partition_key: str | None = None
    explicit_hash_key: str | None = None
    stream: str | None = None
    headers: dict[str, str | None] | None = None
    truncated: int = 0


def parse_entry(line: bytes) -> Entry:
    """Return the record of a line; lines of `kplpy tail --json` are accepted too.

    Raises ValueError or TypeError if the line is not such a record.
    """
    try:
        entry: Any = json.loads(line)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(entry, dict):
        raise ValueError("the line must be a JSON object")
    parsed = Entry(_data(entry))
    for field in ("partition_key", "explicit_hash_key", "stream"):
        value = entry.get(field)
        if not isinstance(value, (str, type(None))):
            raise ValueError(f"{field!r} must be a string or null, got {brief_repr(value)}")
        setattr(parsed, field, value)
    parsed.headers = _headers(entry.get("headers"))
    if entry.get("truncated"):
        parsed.truncated = int(entry["truncated"])
    return parsed


def _headers(headers: Any) -> dict[str, str | None] | None:
    if headers is None:
        return None
    if not isinstance(headers, dict) or not all(isinstance(value, (str, type(None))) for value in headers.values()):
        raise ValueError(f"'headers' must be an object of strings and nulls, or null, got {brief_repr(headers)}")
    return headers


def _data(entry: dict[str, Any]) -> bytes:
    text, encoded = entry.get("data"), entry.get("data_base64")
    if isinstance(text, str) and encoded is None:
        return text.encode()
    if isinstance(encoded, str) and text is None:
        return base64.b64decode(encoded, validate=True)
    raise ValueError("the line must have either 'data' or 'data_base64', a string")
