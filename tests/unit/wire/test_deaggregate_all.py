"""deaggregate_all(): events and pages of many Kinesis records, in order, with those that cannot be read."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from kplpy import UnreadableBatchError, UserRecord, deaggregate_all
from kplpy.wire.compressed import pack_batch
from kplpy.wire.encode import encode_aggregate
from tests.wire_records import Put

AGGREGATE = encode_aggregate([Put(b"one", "k"), Put(b"two", "k", "7")])
UNREADABLE = pack_batch(b"", "none", 0).replace(b"\xcbkpb\x01", b"\xcbkpb\x09")
PAGE = [AGGREGATE, b"plain", pack_batch(AGGREGATE[4:-16], "gzip", 1)]
READ = [("1", 0, b"one"), ("1", 1, b"two"), ("2", 0, b"plain"), ("3", 0, b"one"), ("3", 1, b"two")]


def get_records(*data: bytes) -> dict[str, Any]:
    records = [
        {"Data": each, "PartitionKey": "outer", "SequenceNumber": str(number)} for number, each in enumerate(data, 1)
    ]
    return {"Records": records, "NextShardIterator": "AAA", "MillisBehindLatest": 0}


def lambda_event(*data: bytes) -> dict[str, Any]:
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "outer",
                    "sequenceNumber": str(number),
                    "data": base64.b64encode(each).decode(),
                    "approximateArrivalTimestamp": 1545084650.987,
                },
                "eventSource": "aws:kinesis",
                "eventID": f"shardId-000000000006:{number}",
            }
            for number, each in enumerate(data, 1)
        ]
    }


def firehose_event(*data: bytes) -> dict[str, Any]:
    return {
        "invocationId": "2b4d1ad9-2f48-94bd-a088-767c317e994a",
        "sourceKinesisStreamArn": "arn:aws:kinesis:us-east-1:123456789012:stream/orders",
        "deliveryStreamArn": "arn:aws:firehose:us-east-1:123456789012:deliverystream/orders",
        "region": "us-east-1",
        "records": [
            {
                "recordId": f"record-{number}",
                "approximateArrivalTimestamp": 1664028820148,
                "data": base64.b64encode(each).decode(),
                "kinesisRecordMetadata": {
                    "shardId": "shardId-000000000000",
                    "partitionKey": "outer",
                    "approximateArrivalTimestamp": 1664028820148,
                    "sequenceNumber": str(number),
                    "subsequenceNumber": 0,
                },
            }
            for number, each in enumerate(data, 1)
        ],
    }


def parts(record: UserRecord) -> tuple[str | None, int | None, bytes]:
    return record.sequence_number, record.sub_sequence_number, record.data


@pytest.mark.parametrize("form", [get_records, lambda_event, firehose_event])
def test_events_and_pages_give_their_user_records_in_order(form: Any) -> None:
    event = form(*PAGE)
    assert [parts(each) for each in deaggregate_all(event)] == READ
    assert [parts(each) for each in deaggregate_all(event.get("Records") or event["records"])] == READ
    assert list(deaggregate_all(form())) == []


@pytest.mark.parametrize("form", [get_records, lambda_event, firehose_event])
def test_each_user_record_leads_back_to_its_kinesis_record(form: Any) -> None:
    event = form(*PAGE)
    records = deaggregate_all(event)
    assert (records.record, records.sequence_number, records.record_id) == (None, None, None)
    for user_record in records:
        assert records.sequence_number == user_record.sequence_number
        assert records.record_id == (f"record-{records.sequence_number}" if form is firehose_event else None)
        assert records.record in (event.get("Records") or event["records"])


@pytest.mark.parametrize("form", [get_records, lambda_event, firehose_event])
def test_a_record_that_cannot_be_read_is_raised_in_its_place(form: Any) -> None:
    records = deaggregate_all(form(AGGREGATE, UNREADABLE, b"plain"))
    assert [next(records).data, next(records).data] == [b"one", b"two"]
    with pytest.raises(UnreadableBatchError):
        next(records)
    assert records.sequence_number == "2"
    assert [parts(each) for each in records] == [("3", 0, b"plain")]


@pytest.mark.parametrize("form", [get_records, lambda_event, firehose_event])
def test_or_it_is_handed_to_on_error(form: Any) -> None:
    event = form(UNREADABLE, AGGREGATE, UNREADABLE)
    seen: list[tuple[type, Any]] = []
    records = deaggregate_all(event, on_error=lambda error, record: seen.append((type(error), record)))
    assert [parts(each) for each in records] == [("2", 0, b"one"), ("2", 1, b"two")]
    raw = event.get("Records") or event["records"]
    assert seen == [(UnreadableBatchError, raw[0]), (UnreadableBatchError, raw[2])]


def test_the_options_are_those_of_deaggregate() -> None:
    records = get_records(AGGREGATE, b"plain", PAGE[2])["Records"]
    assert [each.sequence_number for each in deaggregate_all(records, ending_hash_key=6)] == ["2", "3", "3"]
    errors: list[ValueError] = []
    kept = deaggregate_all(records, max_records=1, on_error=lambda error, record: errors.append(error))
    assert [each.data for each in kept] == [b"plain"]
    assert len(errors) == 2
    with pytest.raises(ValueError, match="max_uncompressed, 5"):
        list(deaggregate_all(records[2:], max_uncompressed=5))


def test_records_are_read_when_they_are_reached() -> None:
    taken: list[int] = []

    def stream() -> Iterator[bytes]:
        for number in range(3):
            taken.append(number)
            yield AGGREGATE

    records = deaggregate_all(stream())
    assert taken == []
    next(records)
    next(records)
    assert taken == [0]
    next(records)
    assert (taken, records.sequence_number) == ([0, 1], None)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (AGGREGATE, TypeError, "not bytes"),
        ("text", TypeError, "not str"),
        (None, TypeError, "not NoneType"),
        ({"Data": b"x"}, ValueError, "a single record is for deaggregate"),
        ({}, ValueError, "it has no fields"),
        ({"Records": {}}, TypeError, "'Records' must be a list of Kinesis records, not dict"),
        ({"records": "x"}, TypeError, "'records' must be a list"),
    ],
)
def test_anything_else_is_refused_at_the_call(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        deaggregate_all(given)


def test_options_are_checked_at_the_call() -> None:
    with pytest.raises(ValueError, match="max_records must be at least 1"):
        deaggregate_all([], max_records=0)
    with pytest.raises(TypeError, match="max_uncompressed must be an int"):
        deaggregate_all([], max_uncompressed="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_error must be a function"):
        deaggregate_all([], on_error=7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="in order"):
        deaggregate_all([], starting_hash_key=2, ending_hash_key=1)


def test_an_event_of_another_source_is_refused_when_it_is_read() -> None:
    sqs = {"Records": [{"messageId": "1", "body": "x", "eventSource": "aws:sqs"}]}
    with pytest.raises(ValueError, match="a record must be a GetRecords record"):
        next(deaggregate_all(sqs))
