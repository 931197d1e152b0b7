"""Threads that are switched at random moments: puts, callbacks, waits, flushes, readings of the state, and forks.

Each Python runs it; it finds most on a free-threaded one. SWITCHING_SECONDS makes it longer, SWITCHING_SEED gives other
moments.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from kplpy import Producer, RecordFuture
from tests.inside import is_idle
from tests.integration.reading import wait_until
from tests.stub_service import PATIENCE, StubService, install

SECONDS = float(os.environ.get("SWITCHING_SECONDS", "1.5"))
SEED = os.environ.get("SWITCHING_SEED", "0")

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning",  # Python 3.12 and later warn of the forks
)


@pytest.fixture
def random() -> Iterator[Random]:
    before = sys.getswitchinterval()
    yield Random(SEED)
    sys.setswitchinterval(before)


class Application:
    """Threads that use one producer until `stop` is set. What they raise is in `errors`."""

    def __init__(self, producer: Producer, random: Random) -> None:
        self.producer = producer
        self.put: list[bytes] = []
        self.called: list[RecordFuture] = []
        self.errors: list[BaseException] = []
        self.stop = threading.Event()
        works = [self._put, self._put, self._put_many, self._wait, self._flush, self._look]
        self._threads = [
            threading.Thread(target=self._run, args=(work, Random(random.random()), number), daemon=True)
            for number, work in enumerate(works)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _run(self, work: Callable[[Random, bytes], None], random: Random, thread: int) -> None:
        number = 0
        try:
            while not self.stop.is_set():
                number += 1
                work(random, b"%d/%d" % (thread, number))
                if random.random() < 0.05:
                    time.sleep(random.choice([0, 1e-5, 1e-3]))
        except BaseException as error:
            self.errors.append(error)

    def _put(self, random: Random, data: bytes) -> None:
        future = self.producer.put_record("test", data, f"key {random.randrange(100_000)}")
        self.put.append(data)
        if random.random() < 0.1:
            future.add_done_callback(self.called.append)

    def _put_many(self, random: Random, data: bytes) -> None:
        items = [(b"%b.%d" % (data, number), f"key {random.randrange(50)}") for number in range(random.randrange(80))]
        self.producer.put_records("test", items)
        self.put += [item[0] for item in items]

    def _wait(self, random: Random, data: bytes) -> None:
        assert self.producer.put_record("test", data, "k").result(PATIENCE).shard_id
        self.put.append(data)

    def _flush(self, random: Random, data: bytes) -> None:
        future = self.producer.put_record("test", data, "k")
        self.put.append(data)
        self.producer.flush(timeout=PATIENCE)
        assert future.done()

    def _look(self, random: Random, data: bytes) -> None:
        assert self.producer.health().is_open
        assert self.producer.outstanding_records >= 0
        assert self.producer.outstanding_bytes >= 0
        assert self.producer.metrics()
        time.sleep(1e-3)


def be_child(producer: Producer) -> None:
    """Put and wait in a forked child, which ends. It is killed if it hangs."""
    code = 1
    try:
        signal.alarm(int(PATIENCE))
        producer.put_record("test", b"child", "k").result(PATIENCE)
        producer.close()
        code = 0
    finally:
        os._exit(code)


@pytest.mark.parametrize("options", [{}, {"max_buffered_records": 300}], ids=["plenty of space", "little space"])
def test_threads_that_are_switched_at_random_moments(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, random: Random, options: dict[str, Any]
) -> None:
    service: StubService = install(monkeypatch, shards=2)
    producer = Producer(record_max_buffered_time_ms=2, metrics_level="none", close_timeout_ms=10_000, **options)
    application = Application(producer, random)
    children: list[int] = []
    application.start()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and not application.errors:
        sys.setswitchinterval(random.choice([1e-6, 1e-5, 1e-4, 1e-3]))
        time.sleep(random.random() / 20)
        if hasattr(os, "fork") and random.random() < 0.4:
            children.append(os.fork())
            if not children[-1]:
                be_child(producer)
    application.end()
    assert application.errors == []
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * len(children)
    producer.flush(timeout=PATIENCE)
    wait_until(lambda: is_idle(producer), PATIENCE)
    assert producer.outstanding_records == producer.outstanding_bytes == 0
    producer.close()
    assert Counter(each.data for each in service.sent("test")) == Counter(application.put)
    assert all(each.exception(0) is None for each in application.called)
    assert [each.getMessage() for each in caplog.records if each.levelname in ("WARNING", "ERROR")] == []


def test_no_record_is_outstanding_once_its_result_is_there(monkeypatch: pytest.MonkeyPatch, random: Random) -> None:
    install(monkeypatch)
    sys.setswitchinterval(1e-6)
    with Producer(record_max_buffered_time_ms=0, metrics_level="none") as producer:
        for _ in range(300):
            producer.put_record("test", b"x", "k").result(PATIENCE)
            assert producer.outstanding_records == producer.outstanding_bytes == 0
