"""The threads of a producer: the callback thread, which runs callbacks for the scheduler."""

from __future__ import annotations

import threading

import pytest

from kplpy.runtime import threads as runtime_threads
from kplpy.runtime.threads import WorkerThreads
from tests.inside import callback_thread_of
from tests.integration.reading import wait_until
from tests.stub_service import PATIENCE


class Idle:
    """Work for WorkerThreads that is never due."""

    @property
    def sender(self) -> Idle:
        return self

    def send_one(self) -> bool:
        return False

    def has_work(self) -> bool:
        return False

    def visit_due(self) -> float:
        return float("inf")

    def request_visits(self) -> None:
        pass


def test_callbacks_run_on_a_thread_of_their_own_in_their_order() -> None:
    threads, seen = WorkerThreads(Idle(), 1), []
    for number in range(100):
        threads.run_on_callback_thread(lambda number=number: seen.append((number, threading.current_thread().name)))  # type: ignore[misc]
    wait_until(lambda: len(seen) == 100)
    assert seen == [(number, "kplpy-callbacks") for number in range(100)]
    threads.stop(set)


def test_stopping_runs_the_callbacks_behind_one_that_blocks() -> None:
    threads, seen = WorkerThreads(Idle(), 1), list[str]()
    begun, let_go = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        let_go.wait(PATIENCE)

    threads.run_on_callback_thread(block)
    assert begun.wait(PATIENCE)
    threads.run_on_callback_thread(lambda: seen.append(threading.current_thread().name))
    blocked = callback_thread_of(threads)
    assert blocked is not None
    threads.stop(lambda: {blocked.ident or 0})
    assert seen == [threading.current_thread().name]
    let_go.set()
    blocked.join(PATIENCE)
    assert not blocked.is_alive()


def test_a_callback_that_raises_does_not_stop_the_next() -> None:
    threads, seen = WorkerThreads(Idle(), 1), list[int]()

    def fail() -> None:
        raise ValueError("a bug")

    threads.run_on_callback_thread(fail)
    threads.run_on_callback_thread(lambda: seen.append(1))
    wait_until(lambda: seen == [1])
    threads.stop(set)


def test_a_sender_that_is_being_started_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """threading.Thread gives a thread its ident a moment before it counts as alive."""
    threads, started = WorkerThreads(Idle(), 2), list[threading.Thread]()

    class Starting(threading.Thread):
        @property
        def ident(self) -> int:
            return 1

        def is_alive(self) -> bool:
            return False

    def start(thread: threading.Thread) -> bool:
        started.append(thread)
        if len(started) < 5:
            threads.wake_sender()
        return True

    monkeypatch.setattr(threading, "Thread", Starting)
    monkeypatch.setattr(runtime_threads, "start_thread", start)
    monkeypatch.setattr(runtime_threads, "is_kplpy_thread", lambda: True)
    threads.wake_sender()
    assert len(started) == 2
