"""Wakes the tasks that wait for outcomes or buffer space.

One wake-up of an event loop serves all of its tasks that can go on. Tens of thousands of tasks may wait in one loop.
Each object of a single task makes Python's garbage collector stop the loop for longer. So the tasks share timers,
callbacks and wake-ups.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from kplpy.concurrency import WaitingThreads
from kplpy.errors import KplpyError

Helper = TypeVar("Helper")

AT_ONCE = 100
"""Tasks that are woken in one turn of the loop. More would block the loop for too long."""


def running_loop(awaited: str, instead: str) -> asyncio.AbstractEventLoop:
    """Return the running event loop. Raises KplpyError without one, as in trio.

    awaited: the caller, for the message.
    instead: what to call on a thread instead, for the message.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise KplpyError(
            f"{awaited} needs a running asyncio event loop (uvloop's is one). In trio go through a thread: "
            f"await trio.to_thread.run_sync({instead})"
        ) from None


class Arrivals:
    """The tasks of one event loop that can go on. `add` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[asyncio.Future[None]] = deque()
        self._scheduled = False
        self._patience: dict[float, Patience] = {}

    @property
    def closed(self) -> bool:
        """Return True if the loop is closed. Then none of its tasks waits."""
        return self._loop.is_closed()

    def patience(self, seconds: float) -> Patience:
        """Return the Patience for tasks that wait at most so many seconds."""
        if seconds not in self._patience:
            self._patience[seconds] = Patience(self._loop, seconds)
        return self._patience[seconds]

    def add(self, waiting: asyncio.Future[None]) -> None:
        """Have the loop set the result of `waiting`. On any thread."""
        self._arrived.append(waiting)
        if not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed, so none of its tasks waits
                self._arrived.clear()
            except BaseException:  # for example MemoryError: the next call tries again
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
            # Cleared before the deque is checked: a later add() schedules a call, an earlier one is in the deque.
            self._scheduled = False
            if arrived:
                self._scheduled = True
                self._loop.call_soon(self._deliver)


class Patience:
    """One timer for all tasks of a loop with the same timeout."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._deadlines: OrderedDict[asyncio.Future[None], float] = OrderedDict()  # the first is the earliest
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, waiting: asyncio.Future[None]) -> None:
        """Set the result of `waiting` in `seconds` from now."""
        self._deadlines[waiting] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._wake_due)

    def end(self, waiting: asyncio.Future[None]) -> None:
        """Forget `waiting`. Harmless if it is not known."""
        self._deadlines.pop(waiting, None)
        if not self._deadlines and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_due(self) -> None:
        self._timer = None
        while self._deadlines:
            waiting, deadline = next(iter(self._deadlines.items()))
            if deadline > self._loop.time():
                self._timer = self._loop.call_at(deadline, self._wake_due)
                break
            del self._deadlines[waiting]
            if not waiting.done():
                waiting.set_result(None)


class Waits:
    """The threads, tasks and callbacks that wait for one future.

    callbacks: called with the future when it is done.
    condition: made when concurrent.futures asks for it.
    waiters: those of concurrent.futures.wait and as_completed.
    threads: those that wait in result() or exception().
    """

    __slots__ = ("callbacks", "condition", "threads", "waiters")

    def __init__(self) -> None:
        self.callbacks: list[Callable[[Any], object]] = []
        self.condition: threading.Condition | None = None
        self.waiters: list[Any] = []
        self.threads = WaitingThreads()

    def will_be_seen(self, future: Awaited) -> bool:
        """Return True if a thread, a task or a callback will look at the future's outcome."""
        return bool(self.threads) or any(
            each.will_be_seen(future) if isinstance(each, (Awaits, Observer)) else True for each in self.callbacks
        )


class Observer:
    """Base of callbacks that look at an outcome without the application seeing it."""

    def will_be_seen(self, future: Awaited) -> bool:
        """Return False."""
        return False


class Awaited(Protocol):
    """What this module needs of a RecordFuture."""

    def done(self) -> bool: ...

    def add_done_callback(self, fn: Callable[[Any], object]) -> None: ...

    def _awaited_by(self, awaits: Awaits) -> bool:
        """Have `awaits` called when the future is done. False if it is done already."""
        ...


class Awaits(Waits):
    """The awaits of all futures in one event loop.

    It is the Waits of each future that is only awaited, and only in this loop. It is also the one callback of each
    awaited future, however many tasks await it there. Other callbacks are never added to it.
    """

    __slots__ = ("_arrivals", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.callbacks.append(self)
        self._loop = loop
        self._arrivals = arrivals_of(loop)
        self._waiting: dict[Awaited, asyncio.Future[None]] = {}

    def begin(self, future: Awaited) -> asyncio.Future[None]:
        """Return an asyncio future that ends when `future` is done. On the loop's thread."""
        waiting = self._loop.create_future()
        before = self._waiting.get(future)
        if before is not None and not before.done():  # another task awaits it too
            future.add_done_callback(lambda _: self._arrivals.add(waiting))
            return waiting
        self._waiting[future] = waiting
        # `before` was cancelled. An outcome that came just now may have been given to it.
        if future.done() if before is not None else not future._awaited_by(self):
            self(future)
        return waiting

    def will_be_seen(self, future: Awaited) -> bool:
        """Return True if a task awaits the future and was not cancelled."""
        waiting = self._waiting.get(future)
        return waiting is not None and not waiting.done() and not self._loop.is_closed()

    def __call__(self, future: Awaited) -> None:
        """Wake the task that awaits `future`, which is done. On any thread."""
        waiting = self._waiting.pop(future, None)
        if waiting is not None:
            self._arrivals.add(waiting)


def arrivals_of(loop: asyncio.AbstractEventLoop) -> Arrivals:
    """Return the loop's Arrivals, made on first use and kept as its attribute."""
    arrivals: Arrivals | None = getattr(loop, "_kplpy_arrivals", None)
    return arrivals or _keep(loop, "_kplpy_arrivals", Arrivals(loop))


def awaits_of(loop: asyncio.AbstractEventLoop) -> Awaits:
    """Return the loop's Awaits, kept as arrivals_of keeps Arrivals."""
    awaits: Awaits | None = getattr(loop, "_kplpy_awaits", None)
    return awaits or _keep(loop, "_kplpy_awaits", Awaits(loop))


def _keep(loop: asyncio.AbstractEventLoop, name: str, helper: Helper) -> Helper:
    try:
        setattr(loop, name, helper)
    except AttributeError:  # a loop without a __dict__ keeps nothing. A new helper for each call only costs time
        pass
    return helper
