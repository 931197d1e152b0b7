"""Streams with options of their own, in one producer, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy import RecordFailedError, deaggregate
from kplpy.core.pipeline import Pipeline
from kplpy.local import LocalKinesis
from tests.inside import streams_of
from tests.local_stream import PATIENCE, contents, local, producing

COUNT = 40
ALONE = {"aggregation_enabled": False, "ordered": True}


def sizes(kinesis: LocalKinesis, stream: str) -> list[int]:
    """Return how many user records each Kinesis record of the stream holds."""
    return [len(deaggregate(each.data)) for each in kinesis.ledger(stream)]


def arn_of(kinesis: LocalKinesis, stream: str) -> str:
    summary = kinesis.handle("DescribeStreamSummary", {"StreamName": stream})["StreamDescriptionSummary"]
    return str(summary["StreamARN"])


def two_streams() -> Any:
    return local(stream=None, streams={"orders": 1, "clicks": 1})


def test_an_ordered_stream_without_aggregation_beside_an_aggregated_one() -> None:
    with two_streams() as kinesis, producing(kinesis, streams={"orders": ALONE}) as producer:
        kinesis.faults.fail_entries("InternalFailure", times=3, stream="orders")
        for number in range(COUNT):
            producer.put_record("orders", b"%d" % number, "customer-42")
            producer.put_record("clicks", b"%d" % number, "customer-42")
        producer.flush(timeout=PATIENCE)
        assert producer.metrics()["orders"].kinesis_records_put == COUNT
        assert producer.metrics()["clicks"].kinesis_records_put < COUNT
        assert [each.data for each in kinesis.ledger("orders")] == [b"%d" % number for number in range(COUNT)]
        assert max(sizes(kinesis, "clicks")) > 1
        assert len(contents(kinesis, "clicks")) == COUNT


@pytest.mark.parametrize("entry_by_arn", [False, True])
def test_the_options_hold_for_a_put_by_name_and_for_one_by_arn(entry_by_arn: bool) -> None:
    with local() as kinesis:
        arn = arn_of(kinesis, "orders")
        with producing(kinesis, streams={arn if entry_by_arn else "orders": ALONE}) as producer:
            futures = producer.put_records("orders", [(b"name", "k")] * 5)
            futures += producer.put_records(arn, [(b"ARN", "k")] * 5)
            for each in futures:
                each.result(PATIENCE)
        assert sizes(kinesis, "orders") == [1] * 10


@pytest.mark.parametrize("many", [False, True])
def test_a_stream_with_a_shorter_linger_does_not_wait_for_the_producers(many: bool) -> None:
    options = {"orders": {"record_max_buffered_time_ms": 1}}
    with (
        two_streams() as kinesis,
        producing(kinesis, streams=options, record_max_buffered_time_ms=60_000, record_ttl_ms=None) as producer,
    ):

        def put(stream: str) -> Any:
            return producer.put_records(stream, [(b"x", "k")])[0] if many else producer.put_record(stream, b"x", "k")

        late = put("clicks")
        for _ in range(5):
            put("orders").result(30.0)
        assert not late.done()
        producer.flush("clicks", timeout=PATIENCE)
        assert late.done()


def test_a_stream_keeps_its_options_after_an_error_within_kplpy(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_streams() as kinesis, producing(kinesis, streams={"orders": ALONE}) as producer:
        producer.put_record("orders", b"before", "k").result(PATIENCE)
        before = streams_of(producer)["orders"].pipeline
        accept = Pipeline.accept

        def broken(pipeline: Pipeline, *given: Any) -> None:
            monkeypatch.setattr(Pipeline, "accept", accept)
            raise RuntimeError("broken by the test")

        monkeypatch.setattr(Pipeline, "accept", broken)
        with pytest.raises(RecordFailedError, match="broken by the test"):
            producer.put_record("orders", b"broken", "k").result(PATIENCE)
        for each in producer.put_records("orders", [(b"after", "k")] * 5):
            each.result(PATIENCE)
        assert streams_of(producer)["orders"].pipeline is not before
        assert sizes(kinesis, "orders") == [1] * 6


def test_streams_without_own_options_share_one_policy() -> None:
    with two_streams() as kinesis, producing(kinesis, streams={"orders": ALONE}) as producer:
        kinesis.handle("CreateStream", {"StreamName": "views", "ShardCount": 1})
        for name in ("orders", "clicks", "views"):
            producer.put_record(name, b"x", "k").result(PATIENCE)
        policies = {name: stream.pipeline.policy for name, stream in streams_of(producer).items()}
        assert policies["clicks"] is policies["views"]
        assert policies["orders"] is not policies["clicks"]
