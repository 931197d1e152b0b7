"""Wakes the tasks that wait for outcomes or buffer space.

One wake-up of an event loop serves all of its tasks that can go on. Tens of thousands of tasks may wait in one loop.
Each object of a single task makes Python's garbage collector stop the loop for longer. So the tasks share timers,
callbacks and wake-ups.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from typing import Any, Protocol, TypeVar

from kplpy.accelerator import compiled, native
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


class Woken(Protocol):
    """What a loop's Arrivals wake."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> object: ...


class Arrivals:
    """The tasks of one event loop that can go on. `add` and `add_all` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._arrived: deque[Woken] = deque()
        self._scheduled = False
        self._patience: dict[float, Patience] = {}

    @property
    def closed(self) -> bool:
        """Return True if the loop is closed. Then none of its tasks waits."""
        return self.loop.is_closed()

    def patience(self, seconds: float) -> Patience:
        """Return the Patience for tasks that wait at most so many seconds."""
        if seconds not in self._patience:
            self._patience[seconds] = Patience(self.loop, seconds)
        return self._patience[seconds]

    def add(self, waiting: Woken) -> None:
        """Have the loop set the result of `waiting`. On any thread."""
        self.add_all((waiting,))

    def add_all(self, waiting: Iterable[Woken]) -> None:
        """Have the loop set the result of each. On any thread."""
        self._arrived.extend(waiting)
        if not self._scheduled:
            self._scheduled = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed, so none of its tasks waits
                self._arrived.clear()
            except BaseException:  # for example MemoryError: the next call tries again
                self._scheduled = False
                raise

    def _deliver(self) -> None:
        arrived = self._arrived
        # Cleared before the deque is checked: a later add() schedules a call, an earlier one is in the deque.
        self._scheduled = False
        for _ in range(AT_ONCE):
            if not arrived:
                break
            waiting = arrived.popleft()
            # Scheduled before a task runs, which may raise KeyboardInterrupt, or run the loop within itself.
            if arrived and not self._scheduled:
                self._scheduled = True
                self.loop.call_soon(self._deliver)
            if not waiting.done():
                waiting.set_result(None)


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
            each.will_be_seen(future) if isinstance(each, (Await, Observer)) else True for each in self.callbacks
        )


class Observer:
    """Base of callbacks that look at an outcome without the application seeing it."""

    def will_be_seen(self, future: Awaited) -> bool:
        """Return False."""
        return False


class Awaited(Protocol):
    """What this module needs of a RecordFuture."""

    def done(self) -> bool: ...

    def result(self) -> object: ...

    def _awaited_by(self, waiting: Await) -> bool:
        """Have `waiting` called when the future is done. False if it is done already."""
        ...

    def _not_awaited_by(self, waiting: Await) -> None:
        """Do not have `waiting` called."""
        ...


@compiled
class Await:
    """One await of a RecordFuture: the await's iterator, and what asyncio's Task waits for.

    It is also the Waits of a future that only one task awaits. It is one object, instead of a generator, an
    asyncio.Future and its iterator, because tens of thousands of tasks may wait. A task calls it as it calls an
    asyncio.Future, on the loop's thread.

    arrivals: the loop's. None before the task waits.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_future", "_state", "_text", "arrivals")

    # Those of a Waits without anything else.
    condition: threading.Condition | None = None
    waiters: Sequence[Any] = ()

    def __init__(self, future: Awaited) -> None:
        self._future = future
        self._asyncio_future_blocking = False
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._state = WAITS
        self._text: object = None  # of the CancelledError
        self.arrivals: Arrivals | None = None

    @property
    def callbacks(self) -> list[Callable[[Any], object]]:
        """The callbacks of the future: this await alone."""
        return [self]

    def __iter__(self) -> Await:
        return self

    def __next__(self) -> Await:
        future = self._future
        if self.arrivals is None and not future.done():
            self.arrivals = begin_await(future, self)
            if self.arrivals is not None:
                self._asyncio_future_blocking = True
                return self
        if not future.done():
            raise RuntimeError("await was not used with a task of asyncio")
        raise StopIteration(future.result())

    def __call__(self, future: Awaited) -> None:
        """Wake the task, because the future is done. On any thread."""
        if self.arrivals is not None:
            self.arrivals.add(self)

    def will_be_seen(self, future: Awaited) -> bool:
        """Return True if the task waits, and was not cancelled."""
        return self._state == WAITS and self.arrivals is not None and not self.arrivals.closed

    def get_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the task's loop. None before it waits."""
        return None if self.arrivals is None else self.arrivals.loop

    def done(self) -> bool:
        """Return True if the task was woken or cancelled."""
        return self._state != WAITS

    def cancelled(self) -> bool:
        """Return True if the task was cancelled while it waited."""
        return self._state == CANCELLED

    def result(self) -> None:
        """Raise CancelledError if the task was cancelled. The record's result comes out of the await."""
        if self._state == CANCELLED:
            raise asyncio.CancelledError() if self._text is None else asyncio.CancelledError(self._text)
        if self._state == WAITS:
            raise asyncio.InvalidStateError("the record has no outcome yet")

    def add_done_callback(self, fn: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call `fn(self)` once the await is done. There may be one such callback, the task's."""
        if self._state != WAITS or self._callback is not None:
            raise RuntimeError("an await of a RecordFuture belongs to one task")
        self._callback, self._context = fn, context

    def set_result(self, result: None, /) -> None:
        """Run the task, because the future is done. Nothing happens if the task was cancelled."""
        if self._state == WAITS:
            self._state = WOKEN
            callback, context = self._callback, self._context
            self._callback = self._context = None
            if callback is not None:
                callback(self) if context is None else context.run(callback, self)

    def cancel(self, msg: object = None) -> bool:
        """Have the task go on with a CancelledError. False: it was woken or cancelled already."""
        if self._state != WAITS:
            return False
        self._state, self._text = CANCELLED, msg
        callback, context = self._callback, self._context
        self._callback = self._context = None
        try:  # the task first: end_await takes a lock, where a KeyboardInterrupt may come
            if callback is not None and self.arrivals is not None:
                self.arrivals.loop.call_soon(callback, self, context=context)
        finally:
            end_await(self._future, self)
        return True


WAITS, WOKEN, CANCELLED = range(3)


def begin_await(future: Awaited, waiting: Await) -> Arrivals | None:
    """Have the future wake the await, and return the loop's Arrivals. None: the future is done."""
    loop = running_loop("await future", "future.result, abandon_on_cancel=True")
    arrivals = waiting.arrivals = arrivals_of(loop)
    return arrivals if future._awaited_by(waiting) else None


def end_await(future: Awaited, waiting: Await) -> None:
    """Forget the await, which was cancelled."""
    future._not_awaited_by(waiting)


if native is not None:
    native.register_await(begin_await, end_await, asyncio)


def arrivals_of(loop: asyncio.AbstractEventLoop) -> Arrivals:
    """Return the loop's Arrivals, made on first use and kept as its attribute."""
    arrivals: Arrivals | None = getattr(loop, "_kplpy_arrivals", None)
    return arrivals or _keep(loop, "_kplpy_arrivals", Arrivals(loop))


def _keep(loop: asyncio.AbstractEventLoop, name: str, helper: Helper) -> Helper:
    try:
        setattr(loop, name, helper)
    except AttributeError:  # a loop without a __dict__ keeps nothing. A new helper for each call only costs time
        pass
    return helper
