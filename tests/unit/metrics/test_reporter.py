"""Tests the sampled metrics: use of the buffer, and each open shard's rate and headroom."""

from __future__ import annotations

from math import isnan
from typing import Any

import pytest

from kplpy import InvalidRecordError, Producer
from kplpy.core.gauges import Gauges, ShardUse, SpoolGauges, StreamGauges
from kplpy.metrics.recorder import Recorder
from kplpy.metrics.registry import Registry
from kplpy.runtime.buffer import RECORD_OVERHEAD
from tests.integration.reading import wait_until
from tests.stub_service import install

ORDERS = StreamGauges(7, 3, 98.5, {"s0": ShardUse(scale=0.5, taken=0.2), "s1": ShardUse(scale=1.0, taken=1.25)})
OTHER = StreamGauges(2, 2, 99.0, {"s0": ShardUse(scale=1.0, taken=0.25)})


@pytest.mark.parametrize(
    ("records", "size", "use"),
    [(250, 1_000, 25.0), (10, 5_000, 50.0), (0, 0, 0.0)],
)
def test_use_of_the_buffer(records: int, size: int, use: float) -> None:
    registry = Registry("shard")
    Recorder(registry, 1_000, 10_000).sample(Gauges({"orders": ORDERS, "other": OTHER}, records, size), 100.0)
    found = {sample.name: sample for sample in registry.total(0.0).samples if not sample.dimensions}
    assert found["BufferedRecords"].total == records
    assert found["BufferedBytes"].total == size
    assert found["BufferUse"].total == use
    assert {found[name].count for name in ("BufferedRecords", "BufferedBytes", "BufferUse")} == {1}


def test_the_gauges_of_a_spool() -> None:
    registry = Registry("shard")
    recorder = Recorder(registry, 1_000, 10_000)
    recorder.sample(Gauges({}, 5, 500, SpoolGauges(records=45, bytes=4_500, waiting=40, oldest=60.0)), 100.0)
    recorder.sample(Gauges({}, 0, 0, SpoolGauges(records=0, bytes=0, waiting=0, oldest=float("inf"))), 101.0)
    found = {sample.name: sample for sample in registry.total(0.0).samples}
    assert {name: (found[name].maximum, found[name].latest) for name in found if "Spool" in name} == {
        "SpooledRecords": (45, 0),
        "SpooledBytes": (4_500, 0),
        "OldestSpooledAge": (40_000.0, 0.0),
    }
    assert found["BufferedRecords"].maximum == 5


def test_what_happens_in_a_spool_is_counted() -> None:
    registry = Registry("shard")
    recorder = Recorder(registry, 1_000, 10_000)
    for seconds in (0.002, 0.006):
        recorder.spool("synced", seconds)
    recorder.spool("failed", 1)
    recorder.spool("bypassed", 20)
    recorder.spool("dropped", 300)
    recorder.spool("damaged", 4)
    found = {sample.name: sample for sample in registry.total(0.0).samples}
    assert {name: (sample.count, sample.total) for name, sample in found.items()} == {
        "SpoolSyncs": (2, 2),
        "SpoolSyncTime": (2, pytest.approx(8.0)),
        "SpoolErrors": (1, 1),
        "SpoolBypassed": (20, 20),
        "SpoolDropped": (300, 300),
        "SpoolDamaged": (4, 4),
    }
    assert (found["SpoolSyncTime"].minimum, found["SpoolSyncTime"].maximum) == pytest.approx((2.0, 6.0))


def test_streams_and_shards() -> None:
    registry = Registry("shard")
    Recorder(registry, 1_000, 10_000).sample(Gauges({"orders": ORDERS, "other": OTHER}, 5, 500), 100.0)
    window = registry.total(0.0)
    found = {
        (sample.name, *(value for _, value in sample.dimensions)): (sample.count, sample.total)
        for sample in window.samples
        if sample.dimensions
    }
    assert found == {
        ("UserRecordsReceived", "orders"): (7, 7),
        ("UserRecordsReceived", "other"): (2, 2),
        ("UserRecordsPending", "orders"): (1, 3),
        ("UserRecordsPending", "other"): (1, 2),
        ("OldestRecordAge", "orders"): (1, 1500.0),
        ("OldestRecordAge", "other"): (1, 1000.0),
        ("ShardRateLimit", "orders"): (2, 150.0),
        ("ShardRateLimit", "orders", "s0"): (1, 50.0),
        ("ShardRateLimit", "orders", "s1"): (1, 100.0),
        ("ShardRateLimit", "other"): (1, 100.0),
        ("ShardRateLimit", "other", "s0"): (1, 100.0),
        ("ShardHeadroom", "orders"): (2, pytest.approx(60.0)),
        ("ShardHeadroom", "orders", "s0"): (1, pytest.approx(60.0)),
        ("ShardHeadroom", "orders", "s1"): (1, 0.0),
        ("ShardHeadroom", "other"): (1, 75.0),
        ("ShardHeadroom", "other", "s0"): (1, 75.0),
    }


def test_a_producer_that_holds_records(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = install(monkeypatch)
    with Producer(region_name="us-east-1", max_buffered_records=100, metrics_granularity="shard") as producer:
        producer.put_record("orders", b"x", "k").result(30)
        stub.hold()
        for number in range(20):
            producer.put_record("orders", b"x" * 10, f"k{number:02}")

        def most(name: str) -> float:
            return producer.metrics().find(name).maximum

        wait_until(lambda: most("BufferedRecords") == 20)
        assert most("BufferedBytes") == 20 * (10 + 3 + RECORD_OVERHEAD)
        assert most("BufferUse") == 20.0
        stub.let_go()


@pytest.mark.parametrize("level", ["none", "summary"])
def test_an_idle_producer_has_zeros_and_no_values(monkeypatch: pytest.MonkeyPatch, level: Any) -> None:
    install(monkeypatch)
    producer = Producer(metrics_level=level)
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
    for window in (None, 10):
        metrics = producer.metrics(window)
        for stream in ("orders", arn):
            assert metrics[stream].user_records_put == metrics[stream].listings == 0
            assert metrics.get(stream) == metrics[stream]
            assert stream not in metrics
        assert not metrics
        rate = metrics.find("UserRecordsPut", stream="orders")
        assert not rate
        assert (rate.count, rate.total, rate.unit) == (0, 0.0, "Count")
        assert rate.dimensions == (("StreamName", "orders"),)
        assert isnan(rate.average)
        assert isnan(rate.minimum)
        assert isnan(rate.maximum)
        assert rate.percentile(99) is None
        latency = metrics.find("TimeToAnswer").percentile(99)
        assert latency is not None
        assert isnan(latency)
        assert metrics.find("TimeToAnswer", "orders", "shardId-000000000000").percentile(99) is None
    producer.close()
    assert producer.metrics()["orders"].user_records_put == 0


def test_unknown_metrics_and_streams_are_refused() -> None:
    metrics = Producer().metrics()
    with pytest.raises(InvalidRecordError, match="got 'no stream'"):
        metrics["no stream"]
    with pytest.raises(ValueError, match=r"^there is no metric 'UserRecordPut'; did you mean UserRecordsPut or "):
        metrics.find("UserRecordPut")
    with pytest.raises(ValueError, match=r"^there is no metric 'x'$"):
        metrics.find("x")
