"""Answers on their way into event loops: a loop is woken once for all that came meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque

AT_ONCE = 100
"""Answers in one turn of the loop, lest it stand still while thousands of tasks go on."""


class Arrivals:
    """Those of one event loop. `add` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    def add(self, waiting: asyncio.Future[None]) -> None:
        """Have the loop set the result of `waiting`, soon."""
        self._arrived.append(waiting)
        if not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody waits there any longer
                self._arrived.clear()
            except BaseException:  # memory ran out, say: whoever comes next is to try again
                self._scheduled = False
                raise

    def _deliver(self) -> None:
        arrived = self._arrived
        try:
            for _ in range(min(AT_ONCE, len(arrived))):
                waiting = arrived.popleft()
                if not waiting.done():
                    waiting.set_result(None)
        finally:
            # Lowered first: what is added from now on schedules for itself, what was added before is in the deque.
            self._scheduled = False
            if arrived:
                self._scheduled = True
                self._loop.call_soon(self._deliver)


def arrivals_of(loop: asyncio.AbstractEventLoop) -> Arrivals:
    """The loop's, made on first use and kept with the loop."""
    arrivals: Arrivals | None = getattr(loop, "_kplpy_arrivals", None)
    if arrivals is None:
        arrivals = Arrivals(loop)
        try:
            loop._kplpy_arrivals = arrivals  # type: ignore[attr-defined]
        except AttributeError:  # a loop without a __dict__ keeps no helper; one a call costs only speed
            pass
    return arrivals
