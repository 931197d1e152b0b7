"""Gives futures their outcomes, wakes the threads and tasks that wait for them, and runs their callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kplpy.core.record import Delivered, Failed
from kplpy.futures import record_future
from kplpy.futures.asyncio_bridge import Awaits
from kplpy.futures.failures import UnseenFailures
from kplpy.futures.record_future import RecordFuture


def resolve(
    futures: Iterable[RecordFuture], outcome: Delivered | Failed, unseen: UnseenFailures | None = None
) -> list[RecordFuture]:
    """Give the futures their answer: see resolve_all."""
    return resolve_all([(futures, outcome)], unseen)


def resolve_all(
    answers: Iterable[tuple[Iterable[RecordFuture], Delivered | Failed]],
    unseen: UnseenFailures | None = None,
) -> list[RecordFuture]:
    """Give futures their answers and wake who waits. Returns those with callbacks, for run_callbacks.

    A future that has an answer keeps it. `unseen`: counts the failures that nobody is sure to look at.
    """
    guarded: list[tuple[RecordFuture, Delivered | Failed]] = []
    with_callbacks: list[RecordFuture] = []
    for futures, outcome in answers:
        delivered = outcome.__class__ is Delivered
        with record_future.LOCK:
            for future in futures:
                if future._outcome is not None:
                    continue
                waits = future._waits
                if waits is not None:
                    if waits.condition is not None:
                        guarded.append((future, outcome))
                        continue
                    if waits.callbacks:
                        with_callbacks.append(future)
                if delivered:
                    future._outcome = outcome
                    future.data = b""  # a delivered payload is not held by a future that somebody keeps
                else:
                    future._outcome = _counted(future, outcome, unseen)
    for future, outcome in guarded:
        waits = future._waits
        assert waits is not None
        assert waits.condition is not None
        delivered = outcome.__class__ is Delivered
        with waits.condition:
            if future._outcome is not None:
                continue
            # Those who wait come to look once this section is left.
            waits.condition.notify_all()
            for waiter in waits.waiters:
                # The waiter's own classes tell a result from an exception; only FIRST_EXCEPTION cares.
                waiter.add_result(future) if delivered else waiter.add_exception(future)
            with record_future.LOCK:
                future._outcome = outcome if delivered else _counted(future, outcome, unseen)
                if delivered:
                    future.data = b""
        if waits.callbacks:
            with_callbacks.append(future)
    return with_callbacks


def resolve_each(
    futures: Sequence[RecordFuture], outcomes: Sequence[Delivered]
) -> list[tuple[list[RecordFuture], Delivered]]:
    """Give each future its own answer, but those that somebody waits for, which are returned for resolve_all."""
    waited_for: list[tuple[list[RecordFuture], Delivered]] = []
    with record_future.LOCK:
        for future, outcome in zip(futures, outcomes, strict=True):
            if future._waits is not None:
                waited_for.append(([future], outcome))
            elif future._outcome is None:
                future._outcome = outcome
                future.data = b""
    return waited_for


def _counted(future: RecordFuture, outcome: Delivered | Failed, unseen: UnseenFailures | None) -> Delivered | Failed:
    """The outcome of a future whose record failed; it says whether somebody has looked at it. Under LOCK."""
    if unseen is None or not isinstance(outcome, Failed) or (future._waits is not None and future._waits.looks(future)):
        return outcome
    return unseen.count(outcome, future.stream, future.tries)


def run_callbacks(futures: list[RecordFuture], raised: Callable[[str, BaseException], None]) -> None:
    """`raised` is told of each callback that raises."""
    for future in futures:
        waits = future._waits
        assert waits is not None
        # Nobody adds to them once the outcome is there.
        callbacks = [*waits.callbacks] if waits.__class__ is Awaits else waits.callbacks
        while callbacks:
            try:
                callbacks[0](future)
            except BaseException as error:  # whatever it is, the sender that it is raised on has others to answer
                raised(f"{type(error).__name__}: {error} (of {future!r})", error)
            del callbacks[0]
