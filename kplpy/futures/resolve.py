"""Gives futures their outcomes, wakes the threads and tasks that wait, and runs callbacks.

Apart from RecordFuture, only this module sets `_outcome` and uses `_waits`. record_future.py has the rules of
the locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from kplpy.accelerator import compiled
from kplpy.core.outcome import Delivered, Failed, stays_spooled
from kplpy.futures import record_future
from kplpy.futures.asyncio_bridge import Arrivals, Await, Waits
from kplpy.futures.failures import UnseenFailures
from kplpy.futures.record_future import RecordFuture


def resolve(
    futures: Iterable[RecordFuture], outcome: Delivered | Failed, unseen: UnseenFailures | None = None
) -> list[RecordFuture]:
    """Give the futures one outcome. See resolve_all."""
    return resolve_all([(futures, outcome)], unseen)


def resolve_all(
    outcomes: Iterable[tuple[Iterable[RecordFuture], Delivered | Failed]],
    unseen: UnseenFailures | None = None,
) -> list[RecordFuture]:
    """Give futures their outcomes and wake the threads and tasks that wait for them.

    Returns the futures with callbacks, for run_callbacks. A future that has an outcome keeps it.
    unseen: counts the failures that the application may never look at. None: no failure is counted.
    """
    guarded: list[tuple[RecordFuture, Delivered | Failed]] = []
    with_callbacks: list[RecordFuture] = []
    waited_for: list[Waits] = []
    for futures, outcome in outcomes:
        delivered = outcome.__class__ is Delivered
        with record_future.LOCK:
            for future in deliver_plain(futures, outcome, with_callbacks) if delivered else futures:
                if future._outcome is not None:
                    continue
                waits = future._waits
                if waits is not None:
                    if waits.condition is not None:
                        guarded.append((future, outcome))
                        continue
                    if waits.callbacks:
                        with_callbacks.append(future)
                    if isinstance(waits, Waits):
                        waited_for.append(waits)
                if delivered:
                    future._outcome = outcome
                    future.data = b""  # a future that is kept must not keep the delivered payload
                else:
                    future._outcome = _count_unseen(future, outcome, unseen)
    for future, outcome in guarded:
        waits = future._waits
        assert isinstance(waits, Waits)
        assert waits.condition is not None
        delivered = outcome.__class__ is Delivered
        with waits.condition:
            if future._outcome is not None:
                continue
            waits.condition.notify_all()
            for waiter in waits.waiters:
                # Only waiters for FIRST_EXCEPTION treat the two differently.
                waiter.add_result(future) if delivered else waiter.add_exception(future)
            with record_future.LOCK:
                future._outcome = outcome if delivered else _count_unseen(future, outcome, unseen)
                if delivered:
                    future.data = b""
        waited_for.append(waits)
        if waits.callbacks:
            with_callbacks.append(future)
    for waits in waited_for:
        waits.threads.wake_all()
    return with_callbacks


@compiled
def deliver_plain(
    futures: Iterable[RecordFuture], outcome: Delivered | Failed, awaited: list[RecordFuture]
) -> Iterable[RecordFuture]:
    """Return the futures that still need the outcome, and append to `awaited` those that need only run_callbacks.

    Compiled code has given the outcome to those that nobody, or one task, waits for. Under LOCK.
    """
    return futures


@compiled
def take_awaits(futures: Iterable[RecordFuture]) -> tuple[dict[Arrivals, list[Await]], list[RecordFuture]]:
    """Take the awaits out of the futures, by loop. Return them, and the futures with other waits. Under LOCK."""
    awaits: dict[Arrivals, list[Await]] = {}
    others = []
    for future in futures:
        waits = future._waits
        if isinstance(waits, Await) and waits.arrivals is not None:
            awaits.setdefault(waits.arrivals, []).append(waits)
            future._waits = None
        else:
            others.append(future)
    return awaits, others


@compiled
def deliver_each(
    futures: Sequence[RecordFuture], outcomes: Sequence[Delivered]
) -> Iterable[tuple[RecordFuture, Delivered]]:
    """Return the futures that still need their outcome, with it, as deliver_plain does. Under LOCK."""
    return zip(futures, outcomes, strict=True)


@compiled
def first_pending(records: list[RecordFuture], start: int) -> int:
    """Return the index of the first record from `start` on without an outcome. If there is none, their number."""
    count = len(records)
    while start < count and records[start]._outcome is not None:
        start += 1
    return start


def resolve_each(
    futures: Sequence[RecordFuture], outcomes: Sequence[Delivered]
) -> list[tuple[list[RecordFuture], Delivered]]:
    """Give each future its own outcome, except those with waits, which are returned for resolve_all."""
    waited_for: list[tuple[list[RecordFuture], Delivered]] = []
    with record_future.LOCK:
        for future, outcome in deliver_each(futures, outcomes):
            if future._waits is not None:
                waited_for.append(([future], outcome))
            elif future._outcome is None:
                future._outcome = outcome
                future.data = b""
    return waited_for


def _count_unseen(
    future: RecordFuture, outcome: Delivered | Failed, unseen: UnseenFailures | None
) -> Delivered | Failed:
    """Count the failure as unseen if nobody waits for it, and return the outcome to set. Under LOCK."""
    if (
        unseen is None
        or not isinstance(outcome, Failed)
        or stays_spooled(outcome)
        or (future._waits is not None and future._waits.will_be_seen(future))
    ):
        return outcome
    return unseen.count(outcome, future.stream, future.tries)


def run_callbacks(futures: list[RecordFuture], raised: Callable[[str, BaseException], None]) -> None:
    """Run the callbacks of these futures. `raised` is called with the text and error of each one that raises."""
    with record_future.LOCK:
        awaits, others = take_awaits(futures)
    for arrivals, some in awaits.items():
        try:
            arrivals.add_all(some)
        except BaseException as error:
            raised(f"{type(error).__name__}: {error}", error)
            with suppress(Exception):
                arrivals.add_all(some)  # again, because nothing else would wake these tasks
    for future in others:
        waits = future._waits
        assert isinstance(waits, Waits)
        callbacks = waits.callbacks  # none is added after the outcome is set
        while callbacks:
            try:
                callbacks[0](future)
            except BaseException as error:  # whatever it is, this thread has callbacks of other futures to run
                raised(f"{type(error).__name__}: {error} (of {future!r})", error)
            del callbacks[0]
