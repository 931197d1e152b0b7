"""A signal handler that raises at any moment, as that of Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """What the signal handler raises."""


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Raise Interrupted at each SIGALRM, and count in the list."""
    count = [0]

    def interrupt(_: int, __: FrameType | None) -> None:
        count[0] += 1
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        yield count
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
