"""Work that other threads ask the scheduler to do between two visits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Command(Generic[T]):
    """One piece of work, and what became of it once `done` is set: `result`, or `error`."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self.done = threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work, on the scheduler's thread. Does not raise."""
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error
        finally:
            self.done.set()

    def outcome(self) -> T:
        """Return the result, or raise what the work raised. Call it once `done` is set."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set by run, as T


class Commands:
    """Commands in the order in which they were added. Any thread may add; one at a time runs each."""

    def __init__(self) -> None:
        self._waiting: deque[Command[object]] = deque()

    def add(self, command: Command[T]) -> None:
        self._waiting.append(command)  # type: ignore[arg-type]  # the result is not looked at here

    def run(self) -> None:
        """Run all that wait."""
        while self._waiting:
            try:
                command = self._waiting.popleft()
            except IndexError:  # another thread, which does the scheduler's work too, was faster
                return
            command.run()
