"""Ctrl-C, twice: the first asks for an orderly end, the second for one at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """Raised in the main thread by the first signal while it only waits (see Stop.waiting)."""


class Stop:
    """What SIGINT and SIGTERM do while `handled()`.

    The first sets `signal`, and raises Interrupted if the main thread is `waiting`: for input, or for its turn. At
    any other moment it may be in the middle of a put, which is then done first. The second raises KeyboardInterrupt,
    wherever that is; the third ends the process.
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
