"""Failed records whose future nobody looks at are counted."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from kplpy import RecordFailedError, RecordFuture
from kplpy.core.outcome import Failed, Reason
from kplpy.core.record import SendAttempt
from kplpy.futures.failures import UnseenFailures
from kplpy.futures.resolve import resolve, run_callbacks
from tests.future_helpers import PATIENCE, delivered, failed, log_error, pending, until
from tests.inside import threads_blocked_on


class Unseen:
    """Counts failures as a producer does, and reads what close() would log."""

    def __init__(self) -> None:
        self.failures = UnseenFailures(logging.getLogger("kplpy.test"), lambda seconds: None, threading.RLock())

    def fail(self, *futures: RecordFuture, outcome: Failed | None = None) -> None:
        run_callbacks(resolve(futures, outcome or failed(), self.failures), log_error)

    @property
    def codes(self) -> dict[str, int]:
        """The number of unseen failures by error code."""
        logged: list[logging.LogRecord] = []
        handler = logging.Handler()
        handler.emit = logged.append  # type: ignore[method-assign, assignment]
        logging.getLogger("kplpy.test").addHandler(handler)
        try:
            self.failures.close()
        finally:
            logging.getLogger("kplpy.test").removeHandler(handler)
        (fields,) = [each.kplpy for each in logged] or [{"codes": {}}]  # type: ignore[attr-defined]
        return dict(fields["codes"])


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    "look",
    [
        lambda future: None,
        repr,
        lambda future: future.done(),
        lambda future: future.cancel(),
        lambda future: concurrent.futures.wait([future]),
    ],
    ids=["nothing", "repr", "done", "cancel", "wait"],
)
def test_an_unseen_failure_is_counted_when_it_occurs(look: Callable[[RecordFuture], object], kept: bool) -> None:
    unseen = Unseen()
    futures = [pending()]
    gc.disable()  # futures need not be collected to be counted
    try:
        unseen.fail(*futures)
        look(futures[0])
        if not kept:
            futures.clear()
        assert unseen.codes == {"ValidationException": 1}
    finally:
        gc.enable()


def look_by_result(future: RecordFuture) -> None:
    with pytest.raises(RecordFailedError):
        future.result()


def look_by_await(future: RecordFuture) -> None:
    async def main() -> None:
        with pytest.raises(RecordFailedError):
            await future

    asyncio.run(main())


@pytest.mark.parametrize(
    "look",
    [
        lambda future: future.exception(),
        look_by_result,
        lambda future: future.add_done_callback(lambda it: it.exception()),
        look_by_await,
    ],
    ids=["exception", "result", "callback", "await"],
)
def test_a_seen_failure_is_not_counted(look: Callable[[RecordFuture], object]) -> None:
    unseen = Unseen()
    future = pending()
    unseen.fail(future)
    look(future)
    look(future)  # only the first look counts
    assert unseen.codes == {}


def test_a_failure_that_a_thread_waits_for_is_not_counted_unless_it_gave_up() -> None:
    unseen = Unseen()
    waited, given_up = pending(), pending()
    with pytest.raises(concurrent.futures.TimeoutError):
        given_up.result(0.001)
    thread = threading.Thread(target=waited.exception, daemon=True)
    thread.start()
    until(lambda: threads_blocked_on(waited) == 1)
    unseen.fail(waited, given_up)
    assert unseen.codes == {"ValidationException": 1}
    thread.join(PATIENCE)


def test_a_failure_that_a_task_awaits_is_not_counted_unless_it_was_cancelled() -> None:
    unseen = Unseen()
    awaited, cancelled = pending(), pending()

    async def main() -> None:
        task = asyncio.create_task(look())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(cancelled, 0.001)
        unseen.fail(awaited, cancelled)
        assert unseen.codes == {"ValidationException": 1}  # before the task runs
        await task

    async def look() -> None:
        with pytest.raises(RecordFailedError):
            await awaited

    asyncio.run(main())


def test_a_failure_with_a_callback_is_not_counted() -> None:
    unseen = Unseen()
    future = pending()
    future.add_done_callback(lambda _: None)
    unseen.fail(future)
    assert unseen.codes == {}


def test_failures_are_counted_by_code_and_successes_are_not() -> None:
    unseen = Unseen()
    futures = [pending() for _ in range(40)]
    resolve(futures[:10], delivered(), unseen.failures)
    unseen.fail(*futures[10:30])
    unseen.fail(*futures[30:37], outcome=Failed(Reason.EXPIRED, "expired"))
    futures[37].tries = (SendAttempt(1000.0, 50.0, 50.5, "InternalFailure", "told so"),)
    unseen.fail(*futures[37:], outcome=Failed(Reason.EXPIRED, "expired"))
    for future in futures[10:15]:
        future.exception()
    assert unseen.codes == {"ValidationException": 15, "Expired": 9, "Expired after InternalFailure": 1}


def test_looking_from_many_threads_counts_each_future_once(pool: ThreadPoolExecutor) -> None:
    unseen = Unseen()
    futures = [pending() for _ in range(500)]
    unseen.fail(*futures)
    for _ in pool.map(lambda number: futures[number % 400].exception(), range(1600)):
        pass
    assert unseen.codes == {"ValidationException": 100}


def test_looking_while_records_fail_counts_exactly_the_others(pool: ThreadPoolExecutor) -> None:
    """Some looks come before the failure, some after it."""
    unseen = Unseen()
    futures = [pending() for _ in range(2000)]
    looks = [pool.submit(lambda part: [each.exception(PATIENCE) for each in part], futures[n:1000:4]) for n in range(4)]
    for start in range(0, 2000, 10):
        unseen.fail(*futures[start : start + 10])
    assert all(len(look.result(PATIENCE)) == 250 for look in looks)
    assert unseen.codes == {"ValidationException": 1000}
