"""The threads of a producer: the one that runs callbacks for the scheduler."""

from __future__ import annotations

import threading

from kplpy.runtime.threads import Crew
from tests.integration.reading import wait_until
from tests.stub_service import PATIENCE


class Idle:
    """Work of which there is none."""

    @property
    def sending(self) -> Idle:
        return self

    def send_one(self) -> bool:
        return False

    def has_work(self) -> bool:
        return False

    def visit_due(self) -> float:
        return float("inf")

    def look_at_all(self) -> None:
        pass


def test_callbacks_run_on_a_thread_of_their_own_in_their_order() -> None:
    crew, seen = Crew(Idle(), 1), []
    for number in range(100):
        crew.call(lambda number=number: seen.append((number, threading.current_thread().name)))  # type: ignore[misc]
    wait_until(lambda: len(seen) == 100)
    assert seen == [(number, "kplpy-callbacks") for number in range(100)]
    crew.stop(set)


def test_stopping_runs_what_waits_behind_a_callback_that_blocks() -> None:
    crew, seen = Crew(Idle(), 1), list[str]()
    begun, let_go = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        let_go.wait(PATIENCE)

    crew.call(block)
    assert begun.wait(PATIENCE)
    crew.call(lambda: seen.append(threading.current_thread().name))
    blocked = crew._caller
    assert blocked is not None
    crew.stop(lambda: {blocked.ident or 0})
    assert seen == [threading.current_thread().name]
    let_go.set()
    blocked.join(PATIENCE)
    assert not blocked.is_alive()


def test_a_callback_that_raises_does_not_stop_the_next() -> None:
    crew, seen = Crew(Idle(), 1), list[int]()

    def fail() -> None:
        raise ValueError("a bug")

    crew.call(fail)
    crew.call(lambda: seen.append(1))
    wait_until(lambda: seen == [1])
    crew.stop(set)
