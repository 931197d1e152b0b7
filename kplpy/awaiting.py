"""Answers on their way into event loops: a loop is woken once for all that came meanwhile."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

AT_ONCE = 100
"""Answers in one turn of the loop, lest it stand still while thousands of tasks go on."""


class Arrivals:
    """Those of one event loop. `add` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[asyncio.Future[None]] = deque()
        self._scheduled = False
        self._patience: dict[float, Patience] = {}

    @property
    def closed(self) -> bool:
        """Is the loop? Then nobody waits there any longer."""
        return self._loop.is_closed()

    def patience(self, seconds: float) -> Patience:
        """For those who wait so long."""
        if seconds not in self._patience:
            self._patience[seconds] = Patience(self._loop, seconds)
        return self._patience[seconds]

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


class Patience:
    """Those who wait in one event loop, all for so many seconds at the most: one timer instead of one for each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._until: OrderedDict[asyncio.Future[None], float] = OrderedDict()  # the first one's is the earliest
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, waiting: asyncio.Future[None]) -> None:
        """Set its result in `seconds` from now."""
        self._until[waiting] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self, waiting: asyncio.Future[None]) -> None:
        """It waits no longer, if ever it did."""
        self._until.pop(waiting, None)
        if not self._until and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        while self._until:
            waiting, until = next(iter(self._until.items()))
            if until > self._loop.time():
                self._timer = self._loop.call_at(until, self._look)
                break
            del self._until[waiting]
            if not waiting.done():
                waiting.set_result(None)


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
