"""What is sampled once a second, by hand: a producer's room, and each open shard's rate and headroom."""

from __future__ import annotations

import pytest

from kplpy import Producer
from kplpy.core.events import Gauges, ShardUse, Standing
from kplpy.metrics.recorder import Recorder
from kplpy.metrics.registry import Registry
from kplpy.runtime.admission import RECORD_OVERHEAD
from tests.integration.reading import wait_until
from tests.stub_service import install

ORDERS = Standing(7, 3, 98.5, {"s0": ShardUse(scale=0.5, taken=0.2), "s1": ShardUse(scale=1.0, taken=1.25)})
OTHER = Standing(2, 2, 99.0, {"s0": ShardUse(scale=1.0, taken=0.25)})


@pytest.mark.parametrize(
    ("records", "size", "use"),
    [(250, 1_000, 25.0), (10, 5_000, 50.0), (0, 0, 0.0)],
)
def test_room(records: int, size: int, use: float) -> None:
    registry = Registry("shard")
    Recorder(registry, 1_000, 10_000).sample(Gauges({"orders": ORDERS, "other": OTHER}, records, size), 100.0)
    found = {sample.name: sample for sample in registry.total(0.0).samples if not sample.dimensions}
    assert found["BufferedRecords"].total == records
    assert found["BufferedBytes"].total == size
    assert found["BufferUse"].total == use
    assert {found[name].count for name in ("BufferedRecords", "BufferedBytes", "BufferUse")} == {1}


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


def test_of_a_producer_that_holds_records(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = install(monkeypatch)
    with Producer(region_name="us-east-1", max_buffered_records=100, metrics_granularity="shard") as producer:
        producer.put_record("orders", b"x", "k").result(30)
        stub.hold()
        for number in range(20):
            producer.put_record("orders", b"x" * 10, f"k{number:02}")

        def most(name: str) -> float | None:
            found = producer.metrics().find(name)
            return found.maximum if found is not None else None

        wait_until(lambda: most("BufferedRecords") == 20)
        assert most("BufferedBytes") == 20 * (10 + 3 + RECORD_OVERHEAD)
        assert most("BufferUse") == 20.0
        stub.let_go()
