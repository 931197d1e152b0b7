"""With nothing to do, nothing is done: no thread that sends wakes up. (The one of the metrics samples each second.)"""

from __future__ import annotations

import threading

import pytest

from kplpy import Producer
from kplpy.runtime import crew
from kplpy.runtime.bell import Bell
from tests.integration.reading import wait_until
from tests.stub_service import PATIENCE, install


def test_no_thread_means_to_wake_up_without_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 50 streams were used each thread that is left waits for its bell, without end. (With a time to live the
    scheduler looks once more when that of the last records would have passed.)"""
    install(monkeypatch, shards=2)
    monkeypatch.setattr(crew, "IDLE_SENDER", 0.01)
    sleeping: dict[int, float] = {}  # thread → how long it means to sleep
    wait = Bell.wait

    def noted(self: Bell, timeout: float) -> bool:
        sleeping[threading.get_ident()] = timeout
        try:
            return wait(self, timeout)
        finally:
            sleeping.pop(threading.get_ident(), None)

    monkeypatch.setattr(Bell, "wait", noted)
    before = set(threading.enumerate())
    with Producer(record_max_buffered_time_ms=1, record_ttl_ms=None, metrics_level="none") as producer:
        futures = [producer.put_record(f"stream-{n % 50}", b"x", str(n)) for n in range(500)]
        assert all(future.exception(PATIENCE) is None for future in futures)

        def asleep() -> bool:
            ours = [each for each in set(threading.enumerate()) - before if each.name.startswith("kplpy")]
            return bool(ours) and all(sleeping.get(each.ident or 0) == crew.NEVER for each in ours)

        wait_until(asleep, PATIENCE)
        assert producer.put_record("stream-0", b"x", "k").exception(PATIENCE) is None  # and they wake up for work
