"""kplpy and aws-kinesis-agg, AWS's own Python encoder and decoder, read each other's aggregates."""

from __future__ import annotations

import base64
import subprocess
import sys
from datetime import datetime, timezone
from typing import Any

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator, messages_pb2
from aws_kinesis_agg.deaggregator import deaggregate_records, iter_deaggregate_records
from hypothesis import given
from hypothesis import strategies as st

from kplpy.wire.deaggregate import deaggregate
from kplpy.wire.encode import encode_aggregate
from kplpy.wire.envelope import DIGEST_SIZE, MAGIC
from tests.wire_records import Put, hash_keys, puts

# If the aggregate has a table of hash keys, aws-kinesis-agg gives a record without a hash key the table's first one.
# The KCL does not. So in these aggregates either all records have a hash key or none has.
same_kind = st.lists(puts(st.none()), min_size=1, max_size=30) | st.lists(puts(hash_keys()), min_size=1, max_size=30)

ARRIVAL = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)


def as_get_records(data: bytes) -> dict[str, Any]:
    return {
        "Data": data,
        "PartitionKey": "a",
        "SequenceNumber": "49590338271490256608559692538361571095921575989136588898",
        "ApproximateArrivalTimestamp": ARRIVAL,
    }


def tuples(records: list[Put]) -> list[tuple[bytes, str, str | None]]:
    return [(r.data, r.partition_key, r.explicit_hash_key) for r in records]


@given(same_kind)
def test_aws_kinesis_agg_reads_kplpys_aggregates(records: list[Put]) -> None:
    theirs = list(iter_deaggregate_records([as_get_records(encode_aggregate(records))], data_format="Boto3"))
    assert [
        (base64.b64decode(r["kinesis"]["data"]), r["kinesis"]["partitionKey"], r["kinesis"]["explicitHashKey"])
        for r in theirs
    ] == tuples(records)
    assert [r["kinesis"]["subSequenceNumber"] for r in theirs] == list(range(len(records)))


@given(same_kind)
def test_kplpy_reads_aws_kinesis_aggs_aggregates_and_writes_the_same_bytes(records: list[Put]) -> None:
    records = [Put(r.data, r.partition_key, r.explicit_hash_key) for r in records]  # their encoder knows no tags
    aggregator = RecordAggregator()
    for r in records:
        assert aggregator.add_user_record(r.partition_key, r.data, r.explicit_hash_key) is None
    _, _, theirs = aggregator.clear_and_get().get_contents()
    found = deaggregate(as_get_records(theirs))
    assert [(r.data, r.partition_key, r.explicit_hash_key) for r in found] == tuples(records)
    assert theirs == encode_aggregate(records)


@given(st.lists(puts(), min_size=1, max_size=30))
def test_aws_kinesis_aggs_messages_read_any_mix_of_hash_keys(records: list[Put]) -> None:
    message = messages_pb2.AggregatedRecord()
    message.ParseFromString(encode_aggregate(records)[len(MAGIC) : -DIGEST_SIZE])
    keys, hash_keys = message.partition_key_table, message.explicit_hash_key_table
    assert [
        (
            r.data,
            keys[r.partition_key_index],
            hash_keys[r.explicit_hash_key_index] if r.HasField("explicit_hash_key_index") else None,
        )
        for r in message.records
    ] == tuples(records)


def test_aws_kinesis_agg_reads_mixed_hash_keys_differently() -> None:
    """Fails when aws-kinesis-agg changes this; then same_kind above can go."""
    mixed = [Put(b"x", "k", "5"), Put(b"y", "k", None)]
    theirs = deaggregate_records([_as_lambda(encode_aggregate(mixed))])
    assert [r["kinesis"]["explicitHashKey"] for r in theirs] == ["5", "5"]
    assert [r.explicit_hash_key for r in deaggregate(encode_aggregate(mixed))] == ["5", None]


def _as_lambda(data: bytes) -> dict[str, Any]:
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "a",
            "sequenceNumber": "1",
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": ARRIVAL.timestamp(),
        },
        "eventSource": "aws:kinesis",
    }


KPLPY = """
from kplpy.wire.deaggregate import deaggregate
from kplpy.wire.encode import encode_aggregate
from kplpy.records import UserRecord
data = encode_aggregate([UserRecord(b"x", "k"), UserRecord(b"y", "é")])
assert [r.partition_key for r in deaggregate(data)] == ["k", "é"]
"""
AWS_KINESIS_AGG = """
import aws_kinesis_agg.aggregator, aws_kinesis_agg.deaggregator
from aws_kinesis_agg.aggregator import RecordAggregator, messages_pb2
aggregator = RecordAggregator()
aggregator.add_user_record("k", b"x")
record = aggregator.clear_and_get().get_contents()[2]
"""
TOGETHER = """
from aws_kinesis_agg.deaggregator import iter_deaggregate_records
boto = {"Data": data, "PartitionKey": "a", "SequenceNumber": "1", "ApproximateArrivalTimestamp": 0}
assert len(list(iter_deaggregate_records([boto], data_format="Boto3"))) == 2
assert [r.data for r in deaggregate(record)] == [b"x"]
"""


@pytest.mark.parametrize(
    "program",
    [KPLPY + AWS_KINESIS_AGG + TOGETHER, AWS_KINESIS_AGG + KPLPY + TOGETHER],
    ids=["kplpy first", "kplpy last"],
)
@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_both_in_one_process(program: str, implementation: str) -> None:
    """Both have a message aws.kinesis.protobuf.AggregatedRecord; kplpy's stays out of the default pool."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
