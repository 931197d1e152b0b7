"""Names and ARNs of streams and delivery streams, as the services allow them."""

from __future__ import annotations

import re

from kplpy.errors import InvalidRecordError
from kplpy.escaping import brief_repr

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_ARN = re.compile(r"arn:aws[a-z-]*:kinesis:[a-z0-9-]+:\d{12}:stream/([a-zA-Z0-9_.-]{1,128})")
# https://docs.aws.amazon.com/firehose/latest/APIReference/API_CreateDeliveryStream.html: 1 to 64 characters.
_DELIVERY_ARN = re.compile(r"arn:aws[a-z-]*:firehose:[a-z0-9-]+:\d{12}:deliverystream/([a-zA-Z0-9_.-]{1,64})")


def name_of(stream: str) -> str:
    """Return the name in a valid name or ARN of a stream or delivery stream."""
    return stream.rpartition("/")[2]


def region_of(arn: str) -> str:
    """Return the region in a valid ARN."""
    return arn.split(":")[3]


def is_delivery_stream(stream: str | None) -> bool:
    """Return True for the ARN of a Firehose delivery stream. False for a stream's name or ARN, and for None."""
    return stream is not None and ":deliverystream/" in stream


def parse_stream(stream: str) -> tuple[str, str | None]:
    """Return (name, ARN or None) of a stream's name or ARN, or of a delivery stream's ARN.

    A delivery stream has no other form, so a name alone is that of a stream. InvalidRecordError: it is none of these.
    """
    if not isinstance(stream, str):
        raise InvalidRecordError(f"stream must be a str, got {type(stream).__name__}: {brief_repr(stream)}")
    arn = _ARN.fullmatch(stream) or _DELIVERY_ARN.fullmatch(stream)
    if arn is not None:
        return arn[1], stream
    if _NAME.fullmatch(stream) is None:
        raise InvalidRecordError(
            "stream must be a stream's ARN or its name (1 to 128 of a-z A-Z 0-9 _ . -), or a delivery stream's ARN, "
            f"got {brief_repr(stream, 200)}"
        )
    return stream, None
