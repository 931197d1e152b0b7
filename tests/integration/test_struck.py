"""An error at any call that kplpy's threads make: every future ends, and the producer goes on.

A profile function raises the error at calls of Python and C functions. At these moments memory may run out, a bug may
raise, or an exception from outside may arrive.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import kplpy
from kplpy import Producer, RecordFailedError, RecordFuture, concurrency
from tests.inside import is_idle
from tests.integration.reading import wait_until
from tests.stub_service import PATIENCE, StubService, install

ROOT = Path(kplpy.__file__).parent
PARTS = 8  # the points are split over this many tests
ERRORS = (MemoryError, ValueError, SystemExit)
Point = tuple[str, str, int, str]
"""The event, the file and line, and the name of the called function."""


class Interrupter:
    """A profile function that raises once: when one of kplpy's threads reaches the point for the n-th time."""

    def __init__(self, point: Point | None = None, at: int = 0, error: type[BaseException] = MemoryError) -> None:
        self.met: Counter[Point] = Counter()
        self._point = point
        self._left = at
        self._error = error

    @property
    def has_raised(self) -> bool:
        return self._point is not None and self._left <= 0

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(str(ROOT)) or event not in ("call", "c_call", "c_return"):
            return
        if not threading.current_thread().name.startswith("kplpy-"):
            return
        name = code.co_name if event == "call" else called.__name__
        # Not before a thread has begun, and not between a lock and its `with`, where nothing can be raised.
        if name in ("_run_thread", "outlive") or (event != "call" and name in ("__enter__", "__exit__")):
            return
        # Python 3.10 ends a generator without its `finally` if a profile function raises when it is resumed, so that a
        # lock would be held for ever. No real error can be raised there.
        if sys.version_info < (3, 11) and code.co_flags & inspect.CO_GENERATOR and frame.f_lasti >= 0:
            return
        point = (event, code.co_filename[len(str(ROOT)) + 1 :], frame.f_lineno, name)
        self.met[point] += 1
        if point == self._point:
            self._left -= 1
            if not self._left:
                raise self._error("interrupted")


def ends(future: RecordFuture) -> bool:
    """Wait until the future ends, delivered or failed by the error; return True if it was delivered."""
    error = future.exception(PATIENCE)
    assert error is None or (isinstance(error, RecordFailedError) and "an error within kplpy" in str(error)), error
    return error is None


def live(service: StubService, interrupter: Interrupter, hurried: bool) -> None:
    """Run a producer's life, with all ways to wait for its futures. hurried: with flushes."""
    threading.setprofile(interrupter)
    try:
        producer = Producer(
            record_max_buffered_time_ms=5, record_ttl_ms=None, metrics_level="none", close_timeout_ms=10_000
        )
        called: list[RecordFuture] = []
        futures: list[RecordFuture] = []
        for _ in range(2):
            futures += [producer.put_record("test", b"x", f"key {n}") for n in range(10)]
            futures[-2].add_done_callback(lambda future: called.append(future))
            if hurried:
                producer.flush(timeout=PATIENCE)
                assert all(future.done() for future in futures)
            else:
                ends(futures[-1])
                ends(futures[-2])  # so that one error cannot cost both rounds' callbacks
        delivered = [future for future in futures if ends(future)]
        wait_until(lambda: is_idle(producer), PATIENCE)
        # An error between a record's outcome and its callback costs the callback.
        assert set(called) <= {futures[8], futures[18]}
        wait_until(lambda: len(set(called)) >= 2 - interrupter.has_raised, PATIENCE)
        # The producer goes on. The error may also be raised only here.
        assert ends(producer.put_record("test", b"x", "k")) or ends(producer.put_record("test", b"x", "k"))
    finally:
        threading.setprofile(None)
    producer.close()
    assert len(service.sent("test")) >= len(delivered)
    if not interrupter.has_raised:
        assert delivered == futures


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[StubService]:
    monkeypatch.setattr(concurrency, "REST", 0.002)
    with caplog.at_level(logging.CRITICAL):
        yield install(monkeypatch, shards=2)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # raised where it cannot be passed on
def test_an_error_at_any_call_leaves_no_future_without_an_outcome(service: StubService, part: int) -> None:
    dry = Interrupter()
    for hurried in (False, True):
        live(service, dry, hurried)
    points = sorted(dry.met)
    assert len(points) > 200
    for number, point in list(enumerate(points))[part::PARTS]:
        error = ERRORS[number % len(ERRORS)]
        interrupter = Interrupter(point, 1 + number % min(2, dry.met[point]), error)
        began = time.monotonic()
        try:
            live(service, interrupter, hurried=number // PARTS % 2 == 0)
            assert time.monotonic() - began < PATIENCE / 3, "a wait was not woken, and lasted until its timeout"
        except BaseException as failure:
            raise AssertionError(f"{error.__name__} at {point}: {failure!r}") from failure
