"""Names and ARNs: which are valid, and what they belong to."""

from __future__ import annotations

import pytest

from kplpy import InvalidRecordError
from kplpy.stream_names import is_delivery_stream, name_of, parse_stream, region_of

STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
DELIVERY = "arn:aws-cn:firehose:cn-north-1:123456789012:deliverystream/web.logs_1-a"


def test_the_parts_of_a_delivery_streams_arn() -> None:
    assert parse_stream(DELIVERY) == ("web.logs_1-a", DELIVERY)
    assert name_of(DELIVERY) == "web.logs_1-a"
    assert region_of(DELIVERY) == "cn-north-1"


@pytest.mark.parametrize(("given", "expected"), [(DELIVERY, True), (STREAM, False), ("orders", False), (None, False)])
def test_only_its_arn_shows_a_delivery_stream(given: str | None, expected: bool) -> None:
    assert is_delivery_stream(given) is expected


@pytest.mark.parametrize(
    "given",
    [
        "arn:aws:firehose:eu-west-1:123456789012:deliverystream/",
        "arn:aws:firehose:eu-west-1:123456789012:deliverystream/a b",
        "arn:aws:firehose:eu-west-1:123456789012:deliverystream/" + "a" * 65,
        "arn:aws:firehose:eu-west-1:12345:deliverystream/orders",
        "arn:aws:kinesis:eu-west-1:123456789012:deliverystream/orders",
        "arn:aws:firehose:eu-west-1:123456789012:stream/orders",
        "deliverystream/orders",
    ],
)
def test_a_bad_arn_is_refused(given: str) -> None:
    with pytest.raises(InvalidRecordError, match="or a delivery stream's ARN, got"):
        parse_stream(given)
