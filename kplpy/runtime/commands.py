"""Commands: work that other threads have the scheduler do between two visits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from kplpy.concurrency import WakeSignal

T = TypeVar("T")


class Command(Generic[T]):
    """One piece of work. Made by an application thread, run by the scheduler thread.

    is_done: the result or the error is there. ended: wakes the thread that waits for that.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self.is_done = False
        self.ended = WakeSignal()
        self._calls: list[object] = []  # of run(); the first one does the work
        self._result: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work, unless another thread does. Raises only what interrupted it before the work began."""
        mine = object()
        try:
            self._calls.append(mine)
            if self._calls[0] is mine:
                self._result = self._work()
        except BaseException as error:
            if mine not in self._calls[:1]:
                raise
            self._error = error
        finally:
            if mine in self._calls[:1]:
                self.is_done = True
                self.ended.wake()

    def outcome(self) -> T:
        """Return the result, or raise what the work raised. Called once `is_done` is True."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set by run, as T


class Commands:
    """The commands in the order in which they were added. Any thread may add; the scheduler thread runs them."""

    def __init__(self) -> None:
        self._waiting: deque[Command[object]] = deque()

    def add(self, command: Command[T]) -> None:
        """Add a command for the scheduler's next turn."""
        self._waiting.append(command)  # type: ignore[arg-type]  # run() ignores the type of the result

    def run(self) -> None:
        """Run all waiting commands. One that is interrupted before it began waits for the next turn."""
        for command in list(self._waiting):
            command.run()
            with suppress(ValueError):  # another thread that does the scheduler's work removed it
                self._waiting.remove(command)
