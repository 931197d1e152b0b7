"""An exception of a signal handler at a random moment of a put, a flush or a wait, as Ctrl-C raises one.

Every returned future is delivered, no record is sent twice, all counts come back to zero, and the producer goes on.
INTERRUPTS makes the test longer, INTERRUPTS_SEED gives other moments. concurrent.futures.wait is left out: interrupted
between two of its locks, it leaves one held, of any future.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from contextlib import suppress
from random import Random
from types import FrameType
from typing import Any

import pytest

from kplpy import Producer, RecordFuture
from kplpy.concurrency import SoundLock
from tests.inside import is_idle
from tests.integration.reading import wait_until
from tests.interrupts import Interrupted, interrupts
from tests.stub_service import PATIENCE, StubService, install

INTERRUPTS = int(os.environ.get("INTERRUPTS", "400"))
SEED = int(os.environ.get("INTERRUPTS_SEED", "0"))

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="no such signals"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # raised in a weakref's callback
]


class Application:
    """Uses a producer in all ways that may be interrupted, and keeps the futures that it got."""

    def __init__(self, producer: Producer, random: Random) -> None:
        self.futures: list[RecordFuture] = []
        self._producer = producer
        self._random = random
        self._number = 0

    def step(self) -> None:
        self._random.choice([self._put, self._put, self._put, self._put_many, self._put_iterator, self._wait])()

    def _data(self) -> bytes:
        self._number += 1
        return b"%d" % self._number

    def _put(self) -> None:
        put = self._producer.put_record
        for _ in range(20):
            headers = {"kind": "x"} if self._random.random() < 0.1 else None
            explicit = 7 if self._random.random() < 0.1 else None
            key = f"key {self._number % 50}"
            self.futures.append(put("test", self._data(), key, explicit_hash_key=explicit, headers=headers))

    def _put_many(self) -> None:
        self.futures += self._producer.put_records("test", [(self._data(), f"key {n}") for n in range(60)])

    def _put_iterator(self) -> None:
        self.futures += self._producer.put_records("test", ((self._data(), f"key {n}") for n in range(700)))

    def _wait(self) -> None:
        recent = self.futures[-30:]
        if not recent:
            return
        kind = self._random.choice([0, 2, 3, 4])
        if kind == 0:
            self._random.choice(recent).result(PATIENCE)
        elif kind == 2:
            recent[-1].add_done_callback(lambda future: future.result())
        elif kind == 3:
            self._producer.flush(timeout=PATIENCE)
        else:
            assert self._producer.outstanding_records >= 0
            assert recent[0].exception(PATIENCE) is None


@pytest.mark.parametrize("kind", ["plenty of space", "little space"])
def test_interrupts_at_random_moments_lose_nothing(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    assert threading.current_thread() is threading.main_thread()  # which signal handlers run on
    service: StubService = install(monkeypatch, shards=2)
    random = Random(f"{SEED} {kind}")
    options: dict[str, Any] = {"max_buffered_bytes": 200_000} if kind == "little space" else {}
    producer = Producer(record_max_buffered_time_ms=2, metrics_level="none", close_timeout_ms=10_000, **options)
    application = Application(producer, random)
    producer.put_record("test", b"0", "k").result(PATIENCE)

    def step_until_interrupted(number: int) -> None:
        """It is a function, because Python 3.13 may run a handler at a jump that leaves a try block."""
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-3))
        while count[0] == number:
            application.step()

    with interrupts() as count:
        for number in range(INTERRUPTS // 2):
            with suppress(Interrupted):
                step_until_interrupted(number)
    producer.flush(timeout=PATIENCE)
    assert [each.exception(0) for each in application.futures] == [None] * len(application.futures)
    wait_until(lambda: is_idle(producer), PATIENCE)
    sent = Counter(each.data for each in service.sent("test"))
    assert set(sent.values()) == {1}
    assert len(sent) >= len(application.futures)
    producer.put_record("test", b"last", "k").result(PATIENCE)
    producer.close()


class Striker:
    """A profile function that raises at the n-th call or return of a Python function, where a handler may run.

    None runs between SoundLock's `__enter__` and the `with` block (CPython 3.14 and 3.15).
    """

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" or (event == "return" and frame.f_code is not SoundLock.__enter__.__code__):
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                raise Interrupted


def test_the_code_that_handles_an_interrupt_may_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback, which that code has, keeps all frames of the interrupted put."""
    install(monkeypatch, shards=2)
    interrupted = 0
    for at in range(1, 1000):
        producer = Producer(record_max_buffered_time_ms=5, metrics_level="none", close_timeout_ms=10_000)
        striker = Striker(at)
        try:
            sys.setprofile(striker)
            producer.put_record("test", b"x", "k")
        except Interrupted:
            interrupted += 1
            producer.flush(timeout=PATIENCE)
            producer.put_record("test", b"y", "k").result(PATIENCE)
        finally:
            sys.setprofile(None)
        producer.close()
        if striker.left > 0:
            break
    assert interrupted > 20
