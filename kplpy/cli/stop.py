"""Handles Ctrl-C: the first ends the command in order, the second ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """The first signal came while the main thread was waiting (see Stop.waiting)."""


class Stop:
    """Handles SIGINT and SIGTERM inside `handled()`. Handlers run on the main thread.

    The first signal sets `signal`. It also raises Interrupted if `waiting` is set; otherwise the main thread may be
    inside a put, which is finished first. The second signal raises KeyboardInterrupt at any place. The third ends the
    process.

    signal: number of the first signal, 0 before it.
    waiting: True while the main thread waits for input, for the rate, or for outcomes.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.waiting = False
        self._count = 0

    @property
    def exit_code(self) -> int:
        return 128 + self.signal

    @contextmanager
    def handled(self) -> Iterator[Stop]:
        before = {each: signal.signal(each, self._handle) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self.signal = number
            if self.waiting:
                self.waiting = False
                raise Interrupted
        elif self._count == 2:
            raise KeyboardInterrupt
        else:
            os._exit(self.exit_code)
