"""RecordFuture: threads that wait for it, and the functions of concurrent.futures."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor
from typing import Any

import pytest

from kplpy import RecordFailedError, RecordFuture
from kplpy.core.outcome import Delivered, Failed
from kplpy.futures.resolve import resolve, run_callbacks
from tests.future_helpers import PATIENCE, delivered, failed, give, log_error, pending, until
from tests.inside import is_waited_for, threads_blocked_on


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Switch threads after a few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_wait_for_done_futures() -> None:
    futures = [pending() for _ in range(4)]
    give(delivered(), *futures[:2])
    for mode in (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED):
        done, not_done = concurrent.futures.wait(futures, timeout=0, return_when=mode)
        assert (done, not_done) == (set(futures[:2]), set(futures[2:]))
    give(failed(), futures[2])
    assert concurrent.futures.wait(futures, return_when=FIRST_EXCEPTION).not_done == {futures[3]}
    give(delivered(), futures[3])
    assert concurrent.futures.wait(futures).done == set(futures)


def test_wait_all_completed(pool: ThreadPoolExecutor) -> None:
    futures = [pending() for _ in range(3)]
    waiting = pool.submit(concurrent.futures.wait, futures, PATIENCE, ALL_COMPLETED)
    until(lambda: all(map(is_waited_for, futures)))
    give(delivered(), futures[0])
    give(failed(), futures[1])
    assert not waiting.done()
    give(delivered(), futures[2])
    assert waiting.result(PATIENCE) == (set(futures), set())


def test_wait_first_completed(pool: ThreadPoolExecutor) -> None:
    futures = [pending() for _ in range(3)]
    waiting = pool.submit(concurrent.futures.wait, futures, PATIENCE, FIRST_COMPLETED)
    until(lambda: all(map(is_waited_for, futures)))
    give(delivered(), futures[1])
    assert waiting.result(PATIENCE) == ({futures[1]}, {futures[0], futures[2]})


def test_wait_first_exception(pool: ThreadPoolExecutor) -> None:
    futures = [pending() for _ in range(4)]
    waiting = pool.submit(concurrent.futures.wait, futures, PATIENCE, FIRST_EXCEPTION)
    until(lambda: all(map(is_waited_for, futures)))
    give(delivered(), futures[0], futures[1])
    assert not waiting.done()
    give(failed(), futures[2])
    assert waiting.result(PATIENCE) == (set(futures[:3]), {futures[3]})


def test_wait_leaves_nothing_behind() -> None:
    future = pending()
    concurrent.futures.wait([future], timeout=0)
    assert not is_waited_for(future)


def test_as_completed(pool: ThreadPoolExecutor) -> None:
    futures = [pending() for _ in range(4)]
    give(delivered(), futures[3])
    completed: list[RecordFuture] = []
    more = threading.Semaphore(0)

    def collect() -> None:
        for future in concurrent.futures.as_completed(futures, PATIENCE):
            completed.append(future)  # type: ignore[arg-type]
            more.release()

    collecting = pool.submit(collect)
    assert more.acquire(timeout=PATIENCE)
    until(lambda: all(map(is_waited_for, futures[:3])))
    for position, outcome in ((1, failed()), (0, delivered()), (2, delivered())):
        give(outcome, futures[position])
        assert more.acquire(timeout=PATIENCE)
    collecting.result(PATIENCE)
    assert completed == [futures[3], futures[1], futures[0], futures[2]]


def test_as_completed_times_out() -> None:
    futures = [pending() for _ in range(2)]
    give(delivered(), futures[0])
    completed = concurrent.futures.as_completed(futures, timeout=0)
    assert next(completed) is futures[0]
    with pytest.raises(concurrent.futures.TimeoutError):
        next(completed)


def test_together_with_futures_of_an_executor(pool: ThreadPoolExecutor) -> None:
    future = pending()
    other = pool.submit(lambda: 5)
    give(delivered(), future)
    both: list[concurrent.futures.Future[Any]] = [future, other]
    assert concurrent.futures.wait(both, PATIENCE).done == set(both)


@pytest.mark.parametrize("outcome", [delivered(), failed()], ids=["delivered", "failed"])
def test_many_threads_wait_for_one_future(pool: ThreadPoolExecutor, outcome: Delivered | Failed) -> None:
    future = pending()
    waiting = [pool.submit(future.exception, PATIENCE) for _ in range(12)]
    until(lambda: threads_blocked_on(future) == 12)
    give(outcome, future)
    errors = [each.result(PATIENCE) for each in waiting]
    assert [isinstance(each, RecordFailedError) for each in errors] == [isinstance(outcome, Failed)] * 12


def test_a_wait_that_timed_out_can_be_repeated(pool: ThreadPoolExecutor) -> None:
    future = pending()
    for _ in range(3):
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(0.001)
    waiting = pool.submit(future.result, PATIENCE)
    until(lambda: threads_blocked_on(future) == 1)
    give(delivered(), future)
    assert waiting.result(PATIENCE).sequence_number == "4711"


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("seed", range(6))
def test_every_way_to_wait_while_outcomes_arrive(seed: int) -> None:
    """Threads wait for the same and for different futures in every way, while two threads set the outcomes."""
    chance = random.Random(seed)
    count = 600
    futures = [pending(key=str(n)) for n in range(count)]
    called = [0] * count
    called_lock = threading.Lock()

    def call_back(future: RecordFuture) -> None:
        assert future.done()
        check(future)
        with called_lock:
            called[int(future.partition_key)] += 1

    def check(future: RecordFuture) -> None:
        number = int(future.partition_key)
        error = future.exception(0)
        if number % 3 == 0:
            assert isinstance(error, RecordFailedError)
            assert error.record is not None
            assert error.record.partition_key == future.partition_key
        else:
            assert error is None
            assert future.result(0).sequence_number == future.partition_key

    def some(chance: random.Random) -> list[RecordFuture]:
        start = chance.randrange(count)
        return futures[start : start + chance.choice((1, 2, 10))]

    def by_exception(chance: random.Random) -> None:
        for future in some(chance):
            future.exception(PATIENCE)
            check(future)

    def by_wait(chance: random.Random) -> None:
        chosen = some(chance)
        mode = chance.choice((ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION))
        done, not_done = concurrent.futures.wait(chosen, PATIENCE, mode)
        assert len(done) + len(not_done) == len(chosen)
        assert len(done) >= (1 if mode != ALL_COMPLETED else len(chosen))
        for future in done:
            assert isinstance(future, RecordFuture)
            check(future)

    def by_as_completed(chance: random.Random) -> None:
        chosen = some(chance)
        completed = list(concurrent.futures.as_completed(chosen, PATIENCE))
        assert set(completed) == set(chosen)

    def by_await(chance: random.Random) -> None:
        async def one(future: RecordFuture) -> None:
            try:
                if chance.random() < 0.3:  # a short timeout first
                    await asyncio.wait_for(future, 0.0005)
            except (RecordFailedError, asyncio.TimeoutError):
                pass
            try:
                await asyncio.wait_for(asyncio.wrap_future(future) if chance.random() < 0.3 else future, PATIENCE)
            except RecordFailedError:
                pass
            check(future)

        async def main() -> None:
            await asyncio.gather(*map(one, some(chance)))

        asyncio.run(main())

    def wait(seed: int, *ways: Callable[[random.Random], None]) -> None:
        chance = random.Random(seed)
        start.wait(PATIENCE)
        for _ in range(40):
            turns.release()
            chance.choice(ways)(chance)

    def add_callbacks(half: int) -> None:
        start.wait(PATIENCE)
        for future in futures[half::2]:
            future.add_done_callback(call_back)

    def resolve_some(parts: list[list[RecordFuture]]) -> None:
        start.wait(PATIENCE)
        for part in parts:
            turns.acquire(timeout=0.05)  # not before a thread waits, unless all wait for outcomes already
            for future in part:
                number = int(future.partition_key)
                give(failed() if number % 3 == 0 else delivered(future.partition_key), future)
            run_callbacks(resolve(part, delivered("again")), log_error)  # these are done: nothing may change

    order = list(futures)
    chance.shuffle(order)
    parts = [order[at : at + 7] for at in range(0, count, 7)]
    start = threading.Barrier(10)
    turns = threading.Semaphore(0)
    with ThreadPoolExecutor(10) as threads:
        running = [threads.submit(add_callbacks, half) for half in (0, 1)]
        running += [
            threads.submit(wait, chance.randrange(1 << 30), by_exception, by_wait, by_as_completed) for _ in range(4)
        ]
        running += [threads.submit(wait, chance.randrange(1 << 30), by_await, by_exception) for _ in range(2)]
        running += [threads.submit(resolve_some, parts[half::2]) for half in (0, 1)]
        for each in running:
            each.result(2 * PATIENCE)
    for future in futures:
        check(future)
    assert called == [1] * count
