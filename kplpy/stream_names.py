"""Names and ARNs of streams, as the service allows them."""

from __future__ import annotations

import re

from kplpy.errors import InvalidRecordError
from kplpy.escaping import brief_repr

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_ARN = re.compile(r"arn:aws[a-z-]*:kinesis:[a-z0-9-]+:\d{12}:stream/([a-zA-Z0-9_.-]{1,128})")


def name_of(stream: str) -> str:
    """Return the name in a valid name or ARN of a stream."""
    return stream.rpartition("/")[2]


def parse_stream(stream: str) -> tuple[str, str | None]:
    """Return (name, ARN or None) of a stream's name or ARN. InvalidRecordError if it is neither."""
    if not isinstance(stream, str):
        raise InvalidRecordError(f"stream must be a str, got {type(stream).__name__}: {brief_repr(stream)}")
    arn = _ARN.fullmatch(stream)
    if arn is not None:
        return arn[1], stream
    if _NAME.fullmatch(stream) is None:
        raise InvalidRecordError(
            f"stream must be a stream's ARN or its name (1 to 128 of a-z A-Z 0-9 _ . -), got {brief_repr(stream, 200)}"
        )
    return stream, None
