"""StreamReader's arguments, checked without a service."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from kplpy import KplpyError
from kplpy.reading import ReadRecord, StreamReader

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"stream": "no/name"}, ValueError, "stream must be a stream's ARN or its name"),
        ({"start": "latest"}, ValueError, "start must be 'LATEST', 'TRIM_HORIZON', a datetime or a checkpoint, got"),
        ({"start": datetime(2026, 11, 23)}, ValueError, "a datetime with a timezone"),
        ({"start": {"version": 1, "stream": "others", "shards": {}}}, ValueError, "of stream 'others'"),
        ({"idle_timeout": -1}, ValueError, "idle_timeout must be 0 or more, got -1"),
        ({"idle_timeout": "1"}, TypeError, "idle_timeout must be int or float, not str"),
        ({"interval": 0.1}, ValueError, "interval must be 0.2 or more, got 0.1"),
        ({"interval": float("nan")}, ValueError, "interval must be 0.2 or more, got nan"),
        ({"interval": None}, TypeError, "interval must be int or float, not NoneType"),
        ({"max_buffered_records": 0}, ValueError, "max_buffered_records must be 1 or more, got 0"),
        ({"max_buffered_records": 1.5}, TypeError, "must be int, not float"),
        ({"max_records": 0}, ValueError, "max_records must be at least 1"),
        ({"max_uncompressed": "1"}, TypeError, "max_uncompressed must be an int or None"),
        ({"on_error": 7}, TypeError, "on_error must be a function"),
        ({"consumer_name": "a", "consumer_arn": "b"}, ValueError, "contradict each other"),
        ({"register_consumer": True}, ValueError, "register_consumer needs consumer_name"),
        ({"client": object(), "region_name": "eu-west-1"}, ValueError, "client contradicts session, region_name"),
    ],
)
def test_arguments_that_are_not_valid(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        StreamReader(**{"stream": "orders", **arguments})


def test_there_is_no_checkpoint_before_open() -> None:
    reader = StreamReader(ARN)
    assert reader.name == "orders"
    assert not reader.caught_up
    with pytest.raises(KplpyError, match="open\\(\\) it first"):
        reader.checkpoint()
    reader.close()
    reader.close()
    with pytest.raises(KplpyError, match="the reader is closed"):
        reader.open()
    with pytest.raises(KplpyError, match="the reader is closed"):
        next(iter(reader))


def test_a_record_shows_its_shard() -> None:
    record = ReadRecord(b"abc", "key", shard_id="shardId-000000000000")
    assert repr(record) == "ReadRecord(<3 bytes>, partition_key='key', shard_id='shardId-000000000000')"
