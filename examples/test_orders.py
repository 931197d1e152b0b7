"""Tests an application with the `kinesis` fixture: a local Kinesis for each test, without AWS or Docker.

    pip install pytest '.[local]'
    python -m pytest examples/test_orders.py

kplpy installs the fixture. `kinesis.producer()` is a Producer for the local Kinesis and takes any field of Config.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from examples.orders import Order, OrderNotTakenError, Orders, encode
from kplpy import Producer, deaggregate
from kplpy.local import Fault, LocalKinesis

pytestmark = pytest.mark.kinesis(stream="orders", shards=2)

ORDERS = [Order(f"customer-{number}", "book") for number in range(100)]


@pytest.fixture
def producer(kinesis: LocalKinesis) -> Iterator[Producer]:
    with kinesis.producer(record_ttl_ms=10_000) as producer:
        yield producer


def in_stream(kinesis: LocalKinesis) -> list[bytes]:
    """Return the data of every user record in the stream, as the KCL would deliver it.

    An aggregate that a reshard brought to the wrong shard is omitted. The KCL drops it, and kplpy has sent its user
    records again.
    """
    entries = [entry for entry in kinesis.ledger("orders") if not entry.dropped]
    return [record.data for entry in entries for record in deaggregate(entry.data)]


def test_orders_arrive(kinesis: LocalKinesis, producer: Producer) -> None:
    Orders(producer).take(ORDERS)
    assert sorted(in_stream(kinesis)) == sorted(map(encode, ORDERS))


def test_throttled_orders_are_sent_again(kinesis: LocalKinesis, producer: Producer) -> None:
    kinesis.faults.fail_entries("ProvisionedThroughputExceededException", times=2)
    Orders(producer).take(ORDERS)
    assert sorted(in_stream(kinesis)) == sorted(map(encode, ORDERS))
    assert producer.health().throttled


def test_an_outage_is_reported_and_passes(kinesis: LocalKinesis) -> None:
    with kinesis.producer(record_ttl_ms=500) as producer:
        kinesis.faults.outage(Fault(code="ServiceUnavailable", status=503))
        with pytest.raises(OrderNotTakenError, match="100 of 100 orders failed"):
            Orders(producer).take(ORDERS)
        kinesis.faults.clear()
    with kinesis.producer() as producer:  # with the default time to live
        Orders(producer).take(ORDERS)
    assert sorted(in_stream(kinesis)) == sorted(map(encode, ORDERS))


def test_orders_follow_a_reshard(kinesis: LocalKinesis, producer: Producer) -> None:
    before = Orders(producer).take(ORDERS)
    kinesis.client().update_shard_count(StreamName="orders", TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    after = Orders(producer).take(ORDERS)
    assert not set(before) & set(after)
    assert sorted(in_stream(kinesis)) == sorted(map(encode, ORDERS * 2))


def test_a_full_buffer_is_reported(kinesis: LocalKinesis) -> None:
    producer = kinesis.producer(max_buffered_records=10, on_buffer_full="raise")
    with producer, pytest.raises(OrderNotTakenError, match="try again later"):
        Orders(producer).take(ORDERS)
