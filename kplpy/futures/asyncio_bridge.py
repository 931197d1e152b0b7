"""Who waits for an answer or for room; answers on their way into event loops, which are woken once for all that came.

Tens of thousands may wait in one loop, and each object that one of them has of its own makes Python's garbage collector
stop the loop for longer: so they share what they can.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from kplpy.errors import KplpyError

Helper = TypeVar("Helper")

AT_ONCE = 100
"""Answers in one turn of the loop, lest it stand still while thousands of tasks go on."""


def running_loop(awaited: str, instead: str) -> asyncio.AbstractEventLoop:
    """The running event loop. KplpyError where asyncio has none, as in trio: `instead` is what to call on a thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise KplpyError(
            f"{awaited} needs a running asyncio event loop (uvloop's is one). In trio go through a thread: "
            f"await trio.to_thread.run_sync({instead})"
        ) from None


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


class Waits:
    """What somebody attached to a future."""

    __slots__ = ("blocked", "callbacks", "condition", "waiters")

    def __init__(self) -> None:
        self.callbacks: list[Callable[[Any], object]] = []
        self.condition: threading.Condition | None = None
        self.waiters: list[Any] = []
        self.blocked = 0  # threads that wait for the answer

    def looks(self, future: Awaited) -> bool:
        """Return True if somebody is sure to look at the future's answer: a thread, a task, or a callback."""
        return self.blocked > 0 or any(
            each.looks(future) if isinstance(each, Awaits) else True for each in self.callbacks
        )


class Awaited(Protocol):
    """A RecordFuture."""

    def done(self) -> bool: ...

    def add_done_callback(self, fn: Callable[[Any], object]) -> None: ...

    def _awaited_by(self, awaits: Awaits) -> bool:
        """Have `awaits` called with the answer. False: it is there."""
        ...


class Awaits(Waits):
    """The awaits of futures in one event loop. What is attached to those that are awaited in it, and nothing else; and
    the callback that each of them has, once, however often it is awaited there. Nobody attaches more to it."""

    __slots__ = ("_arrivals", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.callbacks.append(self)
        self._loop = loop
        self._arrivals = arrivals_of(loop)
        self._waiting: dict[Awaited, asyncio.Future[None]] = {}

    def begin(self, future: Awaited) -> asyncio.Future[None]:
        """What ends when the future's answer is there. On the loop's thread."""
        waiting = self._loop.create_future()
        before = self._waiting.get(future)
        if before is not None and not before.done():  # another task awaits it, too
            future.add_done_callback(lambda _: self._arrivals.add(waiting))
            return waiting
        self._waiting[future] = waiting
        # `before` was cancelled; an answer that came just now may have found it still in its place.
        if future.done() if before is not None else not future._awaited_by(self):
            self(future)
        return waiting

    def looks(self, future: Awaited) -> bool:
        """Return True if a task awaits the future, and was not cancelled."""
        waiting = self._waiting.get(future)
        return waiting is not None and not waiting.done() and not self._loop.is_closed()

    def __call__(self, future: Awaited) -> None:
        """The answer is there. On any thread."""
        waiting = self._waiting.pop(future, None)
        if waiting is not None:
            self._arrivals.add(waiting)


def arrivals_of(loop: asyncio.AbstractEventLoop) -> Arrivals:
    """The loop's, made on first use and kept with the loop."""
    arrivals: Arrivals | None = getattr(loop, "_kplpy_arrivals", None)
    return arrivals or _kept(loop, "_kplpy_arrivals", Arrivals(loop))


def awaits_of(loop: asyncio.AbstractEventLoop) -> Awaits:
    """As arrivals_of."""
    awaits: Awaits | None = getattr(loop, "_kplpy_awaits", None)
    return awaits or _kept(loop, "_kplpy_awaits", Awaits(loop))


def _kept(loop: asyncio.AbstractEventLoop, name: str, helper: Helper) -> Helper:
    try:
        setattr(loop, name, helper)
    except AttributeError:  # a loop without a __dict__ keeps no helper; one a call costs only speed
        pass
    return helper
