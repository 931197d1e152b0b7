"""Threads that outlive whatever strikes them."""

from __future__ import annotations

import time
from collections.abc import Callable

REST = 0.1
"""Seconds: a thread whose work raised takes a rest, lest an error that stays keep a core busy."""


def outlive(turn: Callable[[], bool], recover: Callable[[BaseException], object], ended: Callable[[], bool]) -> None:
    """A thread's work: `turn` again and again, until it says False or `ended`.

    `recover` is told what it raised, and may be struck itself.
    """
    struck: BaseException | None = None
    while True:
        try:
            if ended():
                return
            if struck is not None:
                time.sleep(REST)
                recover(struck)
                struck = None
            if not turn():
                return
        except BaseException as error:
            struck = error
