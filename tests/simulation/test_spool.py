"""Outages of hours on a virtual clock: the runtime and the spool, stepped by the test on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kplpy import Producer
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.errors import RecordFailedError
from kplpy.runtime.engine import Engine
from kplpy.runtime.threads import lend_thread
from tests import stub_service
from tests.inside import buffer_of, engine_of, spooling_of, use_clock

HOUR = 3600.0
RATE = 10  # records a second
STEP = 2.0  # seconds


class World:
    """A producer without threads, a clock that only the test moves, and a service that can be out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.has_threads = True  # so that puts only stage; False: a close does all work on the test's thread
        self.now = time.monotonic()
        offset = time.time() - self.now
        use_clock(monkeypatch, lambda: self.now)
        monkeypatch.setattr(time, "time", lambda: self.now + offset)
        monkeypatch.setattr(Engine, "ensure_threads", lambda engine: self.has_threads)
        self.service = stub_service.install(monkeypatch)
        self.is_out = False
        self.requests_in_outage = 0
        put_records = self.service.put_records

        def answer(name: str, arn: str | None, request: Request) -> Exchange:
            if not self.is_out:
                return put_records(name, arn, request)
            self.requests_in_outage += 1
            error = RequestError("ServiceUnavailable", "out", maybe_written=False, status=503)
            return Exchange(self.now, self.now, time.time(), error=error)

        monkeypatch.setattr(self.service, "put_records", answer)
        self.path = path
        self.most_held = 0

    @contextmanager
    def producer(self, **fields: Any) -> Iterator[Producer]:
        self.has_threads = True
        producer = Producer(spool=self.path, close_timeout_ms=0, **fields)
        try:
            yield producer
        finally:
            self.has_threads = False
            producer.close()

    def run(self, producer: Producer, seconds: float, put: Callable[[], object] = lambda: None) -> None:
        """Let so much time pass. `put` is called each STEP."""
        engine, spooling, buffer = engine_of(producer), spooling_of(producer), buffer_of(producer)
        end = self.now + seconds
        while self.now < end:
            put()
            for _ in range(6):  # rounds within which the clock stands still
                with lend_thread():
                    engine.scheduler.visit_due()
                    spooling.step()
                    while engine.scheduler.sender.send_one():
                        pass
            self.most_held = max(self.most_held, buffer.bytes)
            self.now += STEP

    def arrived(self) -> list[int]:
        return [int(each.data) for each in self.service.sent("orders")]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


def test_an_outage_of_hours(world: World) -> None:
    """No record is lost or sent twice, memory keeps its bound, and the order of acceptance holds."""
    count = 0
    with world.producer(ordered=True, max_buffered_bytes=16 << 20) as producer:

        def put() -> None:
            nonlocal count
            for _ in range(int(RATE * STEP)):
                producer.put_record("orders", b"%d" % count, f"key-{count % 10}")
                count += 1

        world.run(producer, 60, put)
        assert world.arrived() == list(range(count))
        world.is_out = True
        world.run(producer, 2 * HOUR, put)
        assert world.requests_in_outage < 2.5 * 2 * HOUR
        assert world.most_held < 9 << 20
        world.is_out = False
        world.run(producer, 300, put)
        assert producer.outstanding_records <= RATE
        world.run(producer, 10)
        assert producer.outstanding_records == 0
    arrived = world.arrived()
    assert sorted(arrived) == list(range(count))
    by_key = [[each for each in arrived if each % 10 == key] for key in range(10)]
    assert all(each == sorted(each) for each in by_key)
    assert list(world.path.iterdir()) == []


def test_the_time_to_live_counts_on_disk_if_asked(world: World) -> None:
    failed: list[RecordFailedError] = []
    ttl = int(HOUR * 1000)
    with world.producer(
        spool_ttl_ms=ttl, record_ttl_ms=100, max_buffered_records=200, on_failure=failed.append
    ) as producer:
        world.is_out = True
        world.run(producer, STEP)
        for each in range(300):
            producer.put_record("orders", b"%d" % each, "k")
            if each % 50 == 0:
                world.run(producer, 2 * STEP)
        world.run(producer, HOUR - 60)
        assert failed == []
        world.run(producer, 120)
        assert len(failed) == 300
        assert producer.outstanding_records == 0


def test_another_process_goes_on_after_a_day(world: World) -> None:
    world.is_out = True
    with world.producer() as producer:
        for each in range(1000):
            producer.put_record("orders", b"%d" % each, "k")
        world.run(producer, 10)
    world.now += 24 * HOUR
    world.is_out = False
    with world.producer() as producer:
        assert producer.recovered == 1000
        producer.put_record("orders", b"1000", "k")
        world.run(producer, 10)
        assert world.arrived() == list(range(1001))
