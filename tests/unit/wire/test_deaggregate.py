"""deaggregate(): the forms that it accepts, the KCL's rules, and the errors for anything else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from kplpy import AggregateTooLargeError, BatchTooLargeError, Config, KplpyError
from kplpy.core.policy import policy_of
from kplpy.records import UserRecord
from kplpy.wire.deaggregate import deaggregate
from kplpy.wire.encode import encode_aggregate
from kplpy.wire.envelope import MAGIC, MAX_RECORDS
from tests import zstd_frames
from tests.wire_records import Put

ARRIVAL = datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=timezone.utc)
SEQUENCE = "49590338271490256608559692538361571095921575989136588898"
AGGREGATE = encode_aggregate([Put(b"one", "k"), Put(b"two", "é", "7"), Put(b"", "k")])


def user_records(sequence_number: str | None, arrival: datetime | None) -> list[UserRecord]:
    return [
        UserRecord(b"one", "k", None, sequence_number, 0, arrival),
        UserRecord(b"two", "é", "7", sequence_number, 1, arrival),
        UserRecord(b"", "k", None, sequence_number, 2, arrival),
    ]


def get_records(data: Any) -> dict[str, Any]:
    return {
        "Data": data,
        "PartitionKey": "outer",
        "SequenceNumber": SEQUENCE,
        "ApproximateArrivalTimestamp": ARRIVAL,
        "EncryptionType": "KMS",
    }


def lambda_record(data: bytes) -> dict[str, Any]:
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "outer",
            "sequenceNumber": SEQUENCE,
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": ARRIVAL.timestamp(),
        },
        "eventSource": "aws:kinesis",
        "eventID": f"shardId-000000000006:{SEQUENCE}",
    }


def firehose_record(data: bytes) -> dict[str, Any]:
    return {
        "recordId": "49546986683135544286507457936321625675700192471156785154000000",
        "approximateArrivalTimestamp": 1,
        "data": base64.b64encode(data).decode(),
        "kinesisRecordMetadata": {
            "shardId": "shardId-000000000000",
            "partitionKey": "outer",
            "approximateArrivalTimestamp": int(ARRIVAL.timestamp() * 1000),
            "sequenceNumber": SEQUENCE,
            "subsequenceNumber": "",
        },
    }


def enveloped(message: bytes) -> bytes:
    return MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_raw_data(form: Callable[[bytes], bytes]) -> None:
    assert deaggregate(form(AGGREGATE)) == user_records(None, None)
    assert deaggregate(form(b"plain")) == [UserRecord(b"plain", None, None, None, 0, None)]


@pytest.mark.parametrize("form", [get_records, lambda_record, firehose_record])
def test_records_of_boto3_lambda_and_firehose(form: Callable[[bytes], dict[str, Any]]) -> None:
    assert deaggregate(form(AGGREGATE)) == user_records(SEQUENCE, ARRIVAL)
    assert deaggregate(form(b"plain")) == [UserRecord(b"plain", "outer", None, SEQUENCE, 0, ARRIVAL)]


def test_a_record_that_firehose_took_from_an_aggregate_keeps_its_sub_sequence_number() -> None:
    for given in (7, "7"):
        record = firehose_record(b"x")
        record["kinesisRecordMetadata"]["subsequenceNumber"] = given
        assert deaggregate(record) == [UserRecord(b"x", "outer", None, SEQUENCE, 7, ARRIVAL)]


def test_fields_that_are_missing_stay_none() -> None:
    direct = {"recordId": "1", "data": "eA==", "approximateArrivalTimestamp": 1000}  # put to Firehose, without a stream
    assert deaggregate(direct) == [UserRecord(b"x", None, None, None, 0, datetime.fromtimestamp(1, timezone.utc))]
    assert deaggregate({"Data": b"x"}) == [UserRecord(b"x", None, None, None, 0, None)]
    assert deaggregate({"kinesis": {"data": "eA=="}}) == [UserRecord(b"x", None, None, None, 0, None)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MAGIC,
        MAGIC[:3],
        b"\x00" + AGGREGATE[1:],
        AGGREGATE[:-1],
        AGGREGATE[:-1] + bytes([AGGREGATE[-1] ^ 1]),
        enveloped(b""),
        enveloped(b"\x0a\x05k"),
        enveloped(b"\x0a\x01k\x1a\x03\x1a\x01x"),
        enveloped(b"\x0a\x01k\x1a\x02\x08\x00"),
        enveloped(b"\x0a\x01k\x1a\x09\x08\x00\x1a\x01x\x22\x02\x12\x00"),
    ],
    ids=[
        "empty",
        "magic alone",
        "part of the magic",
        "no magic",
        "cut off",
        "wrong MD5",
        "no message",
        "does not parse",
        "no key index",
        "no data",
        "a tag without key",
    ],
)
def test_data_that_is_not_an_aggregate_is_a_plain_record(data: bytes) -> None:
    assert deaggregate(data) == [UserRecord(data, None, None, None, 0, None)]


@pytest.mark.parametrize(
    "second",
    [b"\x08\x01\x1a\x01y", b"\x08\x00\x10\x01\x1a\x01y", b"\x08\x00\x10\x00\x1a\x01y"],
    ids=["key index", "hash key index", "hash key that is not a number"],
)
def test_a_broken_inner_record_ends_the_aggregate(second: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """AggregatorUtil catches the exception outside its loop over the inner records, and keeps those before it."""
    message = b"\x0a\x01k\x12\x01?\x1a\x05\x08\x00\x1a\x01x" + b"\x1a" + bytes([len(second)]) + second
    with caplog.at_level(logging.ERROR, logger="kplpy"):
        assert deaggregate(enveloped(message)) == [UserRecord(b"x", "k", None, None, 0, None)]
    assert "only the first 1 are kept" in caplog.text


def test_an_aggregate_without_records_gives_none() -> None:
    assert deaggregate(enveloped(b"\x0a\x01k")) == []


def test_a_key_that_is_not_utf8_gets_replacement_characters() -> None:
    (record,) = deaggregate(enveloped(b"\x0a\x02\xffk\x1a\x05\x08\x00\x1a\x01x"))
    assert record.partition_key == "\ufffdk"


def test_one_hash_key_outside_drops_the_whole_aggregate() -> None:
    data = encode_aggregate([Put(b"x", "k", "10"), Put(b"y", "k", "20")])
    assert len(deaggregate(data, starting_hash_key=10, ending_hash_key=20)) == 2
    assert deaggregate(data, starting_hash_key=11, ending_hash_key=20) == []
    assert deaggregate(data, starting_hash_key=10, ending_hash_key=19) == []
    assert deaggregate(data, ending_hash_key=19) == []
    assert len(deaggregate(data, starting_hash_key=10)) == 2


def test_without_explicit_hash_key_the_partition_key_decides() -> None:
    data = encode_aggregate([Put(b"x", "é"), Put(b"y", "é")])
    at = int(hashlib.md5("é".encode()).hexdigest(), 16)
    assert len(deaggregate(data, starting_hash_key=at, ending_hash_key=at)) == 2
    assert deaggregate(data, starting_hash_key=at + 1) == []
    assert deaggregate(data, ending_hash_key=at - 1) == []


def test_an_impossible_hash_key_is_outside_of_every_range() -> None:
    assert deaggregate(encode_aggregate([Put(b"x", "k"), Put(b"y", "k", str(2**128))])) == []
    assert deaggregate(encode_aggregate([Put(b"x", "k"), Put(b"y", "k", "-1")])) == []


def test_plain_records_are_never_dropped() -> None:
    assert len(deaggregate(get_records(b"plain"), starting_hash_key=0, ending_hash_key=0)) == 1


@pytest.mark.parametrize(
    ("record", "error", "text"),
    [
        ("text", TypeError, "not str"),
        (None, TypeError, "not NoneType"),
        ([AGGREGATE], TypeError, "not list"),
        ({}, ValueError, "no fields"),
        ({"data": "eA=="}, ValueError, "it has 'data'"),
        ({"kinesis": {}}, ValueError, "it has 'kinesis'"),
        ({"Records": []}, ValueError, "call deaggregate_all() with it"),
        ({"records": []}, ValueError, "call deaggregate_all() with it"),
        ({"recordId": "1", "data": "eA"}, ValueError, "'data' is not base64"),
        ({"recordId": "1", "data": "eA==", "kinesisRecordMetadata": 7}, TypeError, "must be a mapping, not int"),
        (
            {"recordId": "1", "data": "eA==", "kinesisRecordMetadata": {"subsequenceNumber": "x"}},
            ValueError,
            "'subsequenceNumber' must be a number, got 'x'",
        ),
        ({"Data": "eA=="}, TypeError, "'Data' must be bytes, not str"),
        ({"Data": b"x", "PartitionKey": 7}, TypeError, "'PartitionKey' must be a str, not int"),
        ({"Data": b"x", "SequenceNumber": 7}, TypeError, "'SequenceNumber' must be a str, not int"),
        ({"Data": b"x", "ApproximateArrivalTimestamp": "now"}, TypeError, "datetime or seconds since 1970, not str"),
        ({"kinesis": {"data": 7}}, TypeError, "'data' must be base64 text, not int"),
        ({"kinesis": {"data": "é"}}, ValueError, "'data' is not base64"),
        ({"kinesis": {"data": "eA"}}, ValueError, "'data' is not base64"),
        ({"kinesis": {"data": "eA==", "partitionKey": b"k"}}, TypeError, "'partitionKey' must be a str, not bytes"),
    ],
)
def test_anything_else_is_refused_with_the_reason(record: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        deaggregate(record)
    assert text in str(raised.value)


def crowd(records: int) -> bytes:
    """Return an aggregate of so many records without data, all of one key, 6 bytes each."""
    return enveloped(b"\x0a\x01k" + b"\x1a\x04\x08\x00\x1a\x00" * records)


def test_ten_mebibytes_cannot_become_millions_of_records() -> None:
    data = crowd((10 << 20) // 6)
    tracemalloc.start()
    try:
        with pytest.raises(AggregateTooLargeError) as raised:
            deaggregate(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raised.value.max_records == 262_144
    assert str(raised.value) == (
        f"an aggregated message of {len(data) - 20:,} bytes holds more user records or keys than max_records, 262,144; "
        "none of its records is returned"
    )
    assert isinstance(raised.value, (KplpyError, ValueError))
    assert peak < 4 * len(data)  # the records themselves would take 370 MB


def test_the_tables_of_keys_have_the_same_bound() -> None:
    keys = b"\x0a\x02kk" * 300_000
    with pytest.raises(AggregateTooLargeError, match="holds more user records or keys than max_records, 262,144"):
        deaggregate(enveloped(keys + b"\x1a\x04\x08\x00\x1a\x00"))
    hash_keys = b"\x12\x01" + b"7" + b"\x12\x01" + b"8"
    with pytest.raises(AggregateTooLargeError, match="holds more user records or keys than max_records, 1;"):
        deaggregate(enveloped(b"\x0a\x01k" + hash_keys + b"\x1a\x04\x08\x00\x1a\x00"), max_records=1)


MIB = 1 << 20


def batch(codec: str, announced: int, payload: bytes, message: bytes = b"") -> bytes:
    """Return a compressed batch that announces a size, whatever its payload holds."""
    size = bytearray()
    while announced >= 0x80:
        size.append(announced & 0x7F | 0x80)
        announced >>= 7
    size.append(announced)
    number = {"gzip": 1, "zstd": 2}[codec]
    return b"\xcbkpb\x01" + bytes([number]) + zlib.crc32(message).to_bytes(4, "big") + bytes(size) + payload


def compressed(codec: str, message: bytes) -> bytes:
    return gzip.compress(message) if codec == "gzip" else zstd_frames.compress(message)


def peak_while(call: Callable[[], object]) -> int:
    """Return the most bytes of Python's memory that the call took."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_batch_takes_no_more_memory_than_it_announces(codec: str) -> None:
    zeros = compressed(codec, bytes(32 * MIB))

    def announces_little() -> None:
        data = batch(codec, 100, zeros)
        assert deaggregate(data) == [UserRecord(data, sub_sequence_number=0)]

    def announces_much() -> None:
        data = batch(codec, 16 * MIB, compressed(codec, b"x"))
        assert deaggregate(data) == [UserRecord(data, sub_sequence_number=0)]

    def announces_too_much() -> None:
        with pytest.raises(BatchTooLargeError, match="16,777,217 bytes uncompressed, more than max_uncompressed"):
            deaggregate(batch(codec, 16 * MIB + 1, zeros))

    assert peak_while(announces_little) < MIB
    assert peak_while(announces_much) < 17 * MIB
    assert peak_while(announces_too_much) < MIB


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_records_after_decompression_are_counted_before_protobuf_reads_them(codec: str) -> None:
    message = b"\x0a\x01k" + b"\x1a\x04\x08\x00\x1a\x00" * 2_000_000
    data = batch(codec, len(message), compressed(codec, message), message)
    assert len(data) < 100_000
    program = """
import resource, sys
from kplpy import AggregateTooLargeError, deaggregate
data = sys.stdin.buffer.read()
try:
    deaggregate(data[: len(data) // 2])  # damaged: loads what is needed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    deaggregate(data)
except AggregateTooLargeError as error:
    print(error.max_records, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, timeout=60, check=True)
    max_records, mebibytes = map(int, done.stdout.split())
    assert max_records == MAX_RECORDS
    assert mebibytes < 80  # protobuf takes 160 MiB for them


def test_fields_of_another_format_have_the_bound_of_records() -> None:
    for field in (b"\x20\x00", b"\x2a\x00", b"\x25\x00\x00\x00\x00", b"\x21" + bytes(8)):
        with pytest.raises(AggregateTooLargeError):
            deaggregate(enveloped(field * 1_000_000 + b"\x0a\x01k\x1a\x04\x08\x00\x1a\x00"))
    for broken in (bytes(2 * MIB), b"\xff" * 2 * MIB, b"\x1a\xff\xff\xff\x7f" + bytes(2 * MIB)):
        data = enveloped(broken)
        assert deaggregate(data) == [UserRecord(data, sub_sequence_number=0)]


def test_headers_have_a_bound() -> None:
    def tagged(tags: int) -> bytes:
        inner = b"\x08\x00\x1a\x00" + b"\x22\x02\x0a\x00" * tags
        assert len(inner) < 1 << 14
        return enveloped(b"\x0a\x01k\x1a" + bytes([len(inner) & 0x7F | 0x80, len(inner) >> 7]) + inner)

    assert deaggregate(tagged(400), max_records=100)[0].headers == {"": None}
    with pytest.raises(AggregateTooLargeError, match="holds 401 headers, more than 4 for each of max_records, 100"):
        deaggregate(tagged(401), max_records=100)


def test_the_reader_chooses_the_bound() -> None:
    assert len(deaggregate(AGGREGATE, max_records=3)) == 3
    with pytest.raises(AggregateTooLargeError):
        deaggregate({"Data": AGGREGATE}, max_records=2)
    assert len(deaggregate(crowd(300_000), max_records=None)) == 300_000
    assert len(deaggregate(b"plain" * 1000, max_records=1)) == 1


def test_every_aggregate_of_the_kpl_and_kplpy_is_within_the_default_bound() -> None:
    smallest = len(encode_aggregate([Put(b"", "k")] * 1001)) - len(encode_aggregate([Put(b"", "k")] * 1000))
    assert (1 << 20) // smallest < MAX_RECORDS  # the KPL's aggregates have 1 MiB at most
    assert (
        policy_of(Config(region_name="eu-west-1", aggregation_max_size=10 << 20)).aggregation_max_count == MAX_RECORDS
    )
    assert policy_of(Config(region_name="eu-west-1", aggregation_max_count=7)).aggregation_max_count == 7
    assert len(deaggregate(crowd(MAX_RECORDS))) == MAX_RECORDS


@pytest.mark.parametrize(
    ("bound", "error", "text"),
    [
        (0, ValueError, "max_records must be at least 1, or None for any number; got 0"),
        (-5, ValueError, "got -5"),
        ("9", TypeError, "max_records must be an int or None, not str"),
        (1.5, TypeError, "not float"),
        (True, TypeError, "not bool"),
    ],
)
def test_a_bound_that_makes_no_sense_is_refused(bound: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        deaggregate(b"x", max_records=bound)
    with pytest.raises(error, match=text.replace("max_records", "max_uncompressed")):
        deaggregate(b"x", max_uncompressed=bound)


@pytest.mark.parametrize(
    ("low", "high", "error", "text"),
    [
        ("0", None, TypeError, "starting_hash_key must be an int, not str"),
        (None, 1.5, TypeError, "ending_hash_key must be an int, not float"),
        (True, None, TypeError, "starting_hash_key must be an int, not bool"),
        (-1, None, ValueError, "within 0 … 2**128-1"),
        (None, 2**128, ValueError, "within 0 … 2**128-1"),
        (5, 4, ValueError, "5 … 4"),
    ],
)
def test_hash_ranges_are_checked(low: Any, high: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        deaggregate(b"x", starting_hash_key=low, ending_hash_key=high)
    assert text in str(raised.value)


def test_protobuf_is_not_imported_before_an_aggregate_is_met() -> None:
    program = """
import sys
from kplpy.wire.deaggregate import deaggregate
from kplpy.wire.encode import encode_aggregate
from kplpy.records import UserRecord
data = encode_aggregate([UserRecord(b"x", "k"), UserRecord(b"y", "k")])
deaggregate(b"plain")
assert "google.protobuf" not in sys.modules
assert len(deaggregate(data)) == 2
assert "google.protobuf" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
