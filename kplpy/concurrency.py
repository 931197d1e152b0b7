"""The main loop of kplpy's threads, which goes on after any exception."""

from __future__ import annotations

import time
from collections.abc import Callable

REST = 0.1
"""Seconds that a thread waits after its work raised, so that a lasting error does not keep a core busy."""


def outlive(turn: Callable[[], bool], recover: Callable[[BaseException], object], ended: Callable[[], bool]) -> None:
    """Call `turn` until it returns False or `ended` returns True. Any thread's main function.

    recover: called with what `turn` raised, after REST seconds. It may raise as well.
    """
    raised: BaseException | None = None
    while True:
        try:
            if ended():
                return
            if raised is not None:
                time.sleep(REST)
                recover(raised)
                raised = None
            if not turn():
                return
        except BaseException as error:
            raised = error
