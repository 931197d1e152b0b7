"""A put, flush or close that strikes kplpy at work, on the same thread, does not wait for what it interrupted."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from kplpy import BufferFullError, KplpyError, Producer
from kplpy.runtime import midst
from kplpy.runtime.admission import Room
from tests.integration.reading import wait_until
from tests.stub_service import PATIENCE, install


class Struck:
    """A stream's lock. Right after it was taken, before anything can note that, the collector runs a __del__."""

    def __init__(self, strike: Any) -> None:
        self._lock = threading.Lock()
        self.strike = strike
        self.locked = self._lock.locked

    def __enter__(self) -> bool:
        taken = self._lock.acquire()
        if threading.current_thread() is threading.main_thread() and self.strike is not None:
            strike, self.strike = self.strike, None
            strike()
        return taken

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("look", ["drain", "outstanding", "flush"])
def test_right_after_a_lock_was_taken(monkeypatch: pytest.MonkeyPatch, look: str) -> None:
    """Else it would wait for room that nobody can make."""
    service = install(monkeypatch)
    service.hold("orders")

    def waited(*_: object) -> bool:
        raise AssertionError("it waits for room while its own thread has the stream's lock")

    with Producer(max_buffered_records=20, on_buffer_full="block", close_timeout_ms=0) as producer:
        for n in range(20):
            producer.put_record("orders", b"x", str(n))
        home = producer._engine.streams["orders"]
        refused: list[Exception] = []

        def strike() -> None:
            for doing in (lambda: producer.put_record("orders", b"x", "k"), producer.flush):
                try:
                    doing()
                except Exception as error:
                    refused.append(error)

        monkeypatch.setattr(Room, "wait_for", waited)
        wait_until(lambda: not home.lock.locked(), PATIENCE)
        monkeypatch.setattr(home, "lock", Struck(strike))
        if look == "drain":
            producer._engine.drain(home)
        elif look == "outstanding":
            producer._engine.overview.unsettled()
        else:
            with pytest.raises(KplpyError):
                producer.flush(timeout=0.01)
        assert [type(error) for error in refused] == [BufferFullError, KplpyError]
    service.let_go()


def test_whom_the_interpreters_end_calls_is_not_interrupted() -> None:
    name: dict[str, Any] = {"__name__": "kplpy.runtime.lifecycle", "is_below": midst.is_below}
    exec("def call():\n    return is_below()", name)
    assert name["call"]() is False
    name["__name__"] = "kplpy.runtime.stream"
    assert name["call"]() is True
    assert midst.is_below() is False


@pytest.mark.parametrize("owned", ["crew", "room"])
def test_who_owns_a_lock_does_not_wait_for_the_streams(monkeypatch: pytest.MonkeyPatch, owned: str) -> None:
    """Another thread has that, and waits for this one: it was free when it was looked at."""
    install(monkeypatch)
    with Producer(record_max_buffered_time_ms=60_000) as producer:
        first = producer.put_record("orders", b"x", "k")
        producer.flush(timeout=PATIENCE)
        home = producer._engine.streams["orders"]

        def strike() -> None:
            raise AssertionError("it takes the stream's lock")

        struck = Struck(strike)
        monkeypatch.setattr(home, "lock", struck)
        lock = producer._engine._crew.lock if owned == "crew" else producer._room.lock
        with lock:
            futures = [producer.put_record("orders", b"x", "k") for _ in range(1000)]
        struck.strike = None
        producer.flush(timeout=PATIENCE)
        assert all(future.exception() is None for future in [first, *futures])
