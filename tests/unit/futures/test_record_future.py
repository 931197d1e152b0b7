"""RecordFuture as a concurrent.futures.Future and as an awaitable."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor
from typing import Any

import pytest

from kplpy import BufferFullError, RecordFailedError, RecordFuture, RecordResult
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.record import SendAttempt
from kplpy.futures.failures import UnseenFailures
from kplpy.futures.record_future import Origin
from kplpy.futures.resolve import resolve, resolve_each, run_callbacks
from tests.inside import abandon, callbacks_of, is_waited_for, make_condition, threads_blocked_on

PATIENCE = 30.0
ORIGIN = Origin("orders")


def pending(data: bytes = b"secret payload", key: str = "customer-7", origin: Origin = ORIGIN) -> RecordFuture:
    return RecordFuture(origin, data, key, None, 7, time.monotonic())


def delivered(sequence_number: str = "4711") -> Delivered:
    return Delivered("shardId-000000000003", sequence_number, SendAttempt(1000.0, 50.0, 50.5))


def failed(reason: Reason = Reason.REJECTED) -> Failed:
    return Failed(reason, "ValidationException: no", code="ValidationException")


def log_error(text: str, error: BaseException) -> None:
    logging.getLogger("kplpy.test").error(text, exc_info=error)


def give(outcome: Delivered | Failed, *futures: RecordFuture) -> None:
    """Set the outcome and run the callbacks, as a sender does."""
    run_callbacks(resolve(futures, outcome), log_error)


def until(reached: Callable[[], bool]) -> None:
    """Wait for something within concurrent.futures, which gives no signal."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Switch threads after a few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# --- one future ---


def test_a_pending_future() -> None:
    future = pending()
    assert isinstance(future, concurrent.futures.Future)
    assert not future.done()
    assert not future.running()
    assert not future.cancelled()
    for ask in (future.result, future.exception):
        with pytest.raises(concurrent.futures.TimeoutError) as raised:
            ask(timeout=0)
        assert "orders" in str(raised.value)


def test_a_delivered_record() -> None:
    future = pending()
    give(delivered(), future)
    assert future.done()
    assert not future.running()
    assert future.exception() is None
    result = future.result()
    assert isinstance(result, RecordResult)
    assert (result.shard_id, result.sequence_number) == ("shardId-000000000003", "4711")
    assert result.possible_duplicate is False
    (attempt,) = result.attempts
    assert (attempt.started_at, attempt.duration, attempt.success) == (1000.0, 0.5, True)
    assert (attempt.error_code, attempt.error_message) == (None, None)


def test_attempts_and_their_delays() -> None:
    future = pending()
    future.arrival = 10.0
    future.tries = (
        SendAttempt(500.0, 11.0, 11.25, "InternalFailure", "oops"),
        SendAttempt(502.0, 13.25, 14.0, "Throttled", "slow"),
    )
    future.maybe_written = True
    give(Delivered("s", "1", SendAttempt(504.0, 14.5, 15.5)), future)
    result = future.result()
    assert result.possible_duplicate is True
    assert [each.delay for each in result.attempts] == [1.0, 2.0, 0.5]
    assert [each.duration for each in result.attempts] == [0.25, 0.75, 1.0]
    assert [each.error_code for each in result.attempts] == ["InternalFailure", "Throttled", None]
    assert [each.success for each in result.attempts] == [False, False, True]
    assert [each.started_at for each in result.attempts] == [500.0, 502.0, 504.0]


def test_the_first_outcome_stays() -> None:
    for waited in (False, True):
        future = pending()
        if waited:
            make_condition(future)
        give(delivered("1"), future)
        give(delivered("2"), future)
        give(failed(), future)
        assert future.result().sequence_number == "1"


def test_a_delivered_payload_is_dropped_and_a_failed_one_kept() -> None:
    for waited in (False, True):
        one, other = pending(), pending()
        if waited:
            make_condition(one)
            make_condition(other)
        give(delivered(), one)
        give(failed(), other)
        assert one.data == b""
        error = other.exception()
        assert isinstance(error, RecordFailedError)
        assert error.record is not None
        assert error.record.data == b"secret payload"


def test_it_cannot_be_cancelled() -> None:
    future = pending()
    assert future.cancel() is False
    assert not future.cancelled()
    assert not future.done()
    give(delivered(), future)
    assert future.cancel() is False
    assert future.result().sequence_number == "4711"


@pytest.mark.parametrize(
    "set_it",
    [
        lambda future: future.set_result(None),
        lambda future: future.set_exception(ValueError()),
        lambda future: future.set_running_or_notify_cancel(),
    ],
)
def test_only_the_producer_sets_the_outcome(set_it: Callable[[RecordFuture], object]) -> None:
    future = pending()
    with pytest.raises(RuntimeError, match="only the producer sets the outcome"):
        set_it(future)
    assert not future.done()


def test_repr_without_the_payload() -> None:
    one, other = pending(), pending()
    assert "pending" in repr(one)
    give(delivered(), one)
    give(failed(), other)
    assert "shardId-000000000003" in repr(one)
    assert "4711" in repr(one)
    assert "failed" in repr(other)
    assert "ValidationException: no" in repr(other)
    for future in (one, other, pending()):
        assert "orders" in repr(future)
        assert "'customer-7'" in repr(future)
        assert "secret" not in repr(future)


def test_a_failed_record_raises_a_new_error_each_time() -> None:
    future = pending()
    give(failed(), future)
    errors = []
    for _ in range(2):
        with pytest.raises(RecordFailedError) as raised:
            future.result()
        errors.append(raised.value)
    assert errors[0] is not errors[1]  # one shared error's traceback would grow with each raise
    assert future.exception() is not future.exception()


def test_the_error_does_not_keep_the_future() -> None:
    future = pending()
    give(failed(), future)
    kept = None
    try:
        future.result()
    except RecordFailedError as error:
        kept = error
    assert kept is not None
    gone = weakref.ref(future)
    del future
    assert gone() is None
    assert kept.__traceback__ is not None


def test_a_refused_record_raises_what_put_record_would_have() -> None:
    future = pending()
    give(Failed(Reason.REFUSED, "full", BufferFullError("no room, really")), future)
    with pytest.raises(BufferFullError, match="no room, really"):
        future.result()
    error = future.exception()
    assert isinstance(error, BufferFullError)
    assert str(error) == "no room, really"


IN_A_FORKED_CHILD = """
import concurrent.futures, logging, os
from kplpy import ForkedError, Producer

logging.getLogger("kplpy").addHandler(logging.NullHandler())  # for the failed requests
producer = Producer(endpoint_url="http://127.0.0.1:9", region_name="us-east-1", record_max_buffered_time_ms=600_000)
future = producer.put_record("orders", b"x", "k")
child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or future.done())
called = []
future.add_done_callback(called.append)
assert called == [future] and future.done()
assert concurrent.futures.wait([future], 10).done == {future}
assert isinstance(future.exception(10), ForkedError)
try:
    future.result(10)
except ForkedError as error:
    assert "parent process" in str(error) and error.record.data == b"x"
    os._exit(0)
os._exit(3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_child() -> None:
    """The future fails in the child and stays pending in the parent."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_A_FORKED_CHILD], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- callbacks ---


@pytest.mark.parametrize("outcome", [delivered(), failed()], ids=["delivered", "failed"])
@pytest.mark.parametrize("waited", [False, True])
def test_callbacks_run_once_in_their_order(outcome: Delivered | Failed, waited: bool) -> None:
    future = pending()
    called: list[tuple[str, RecordFuture, bool]] = []
    for name in ("one", "two", "three"):
        future.add_done_callback(lambda it, name=name: called.append((name, it, it.done())))  # type: ignore[misc]
    if waited:
        make_condition(future)
    assert called == []
    give(outcome, future)
    assert called == [(name, future, True) for name in ("one", "two", "three")]
    give(outcome, future)
    assert len(called) == 3


def test_a_future_that_is_kept_does_not_keep_its_callbacks() -> None:
    future = pending()

    def callback(_: RecordFuture) -> None:
        pass

    future.add_done_callback(callback)
    gone = weakref.ref(callback)
    del callback
    assert gone() is not None
    give(delivered(), future)
    gc.collect()
    assert gone() is None


def test_a_callback_of_a_done_future_runs_at_once() -> None:
    future = pending()
    give(delivered(), future)
    called: list[int] = []
    future.add_done_callback(lambda _: called.append(threading.get_ident()))
    assert called == [threading.get_ident()]


def test_a_callback_may_add_another_and_look_at_the_result() -> None:
    future = pending()
    called: list[str] = []

    def first(it: RecordFuture) -> None:
        called.append(it.result().sequence_number)
        it.add_done_callback(lambda it: called.append(it.result().shard_id))

    future.add_done_callback(first)
    give(delivered(), future)
    assert called == ["4711", "shardId-000000000003"]


@pytest.mark.parametrize("before", [True, False])
def test_a_callback_that_raises_is_logged_and_harms_no_other(before: bool, caplog: pytest.LogCaptureFixture) -> None:
    one, other = pending(), pending()
    called: list[object] = []

    def bad(_: RecordFuture) -> None:
        raise LookupError("the user's own mistake")

    if not before:
        give(delivered(), one, other)
    for future in (one, other):
        future.add_done_callback(bad)
        future.add_done_callback(called.append)
    if before:
        give(delivered(), one, other)
    assert called == [one, other]
    assert len(caplog.records) == 2
    for record in caplog.records:
        assert record.name.startswith("kplpy")
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], LookupError)
        assert "secret" not in record.getMessage()


def test_a_callback_that_was_cancelled_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    one, other = pending(), pending()
    called: list[object] = []

    def bad(_: RecordFuture) -> None:
        raise asyncio.CancelledError

    for future in (one, other):
        future.add_done_callback(bad)
        future.add_done_callback(called.append)
    try:
        give(delivered(), one, other)
    except asyncio.CancelledError:
        pytest.fail("it would have ended the sender")
    assert called == [one, other]


# --- concurrent.futures ---


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


# --- waiting threads ---


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


# --- asyncio ---


async def in_thread(call: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, call)


def test_await_of_a_done_future() -> None:
    one, other = pending(), pending()
    give(delivered(), one)
    give(failed(), other)

    async def main() -> None:
        assert (await one).sequence_number == "4711"
        assert (await one).sequence_number == "4711"
        with pytest.raises(RecordFailedError):
            await other

    asyncio.run(main())


def test_await_until_the_outcome() -> None:
    one, other = pending(), pending()

    async def main() -> None:
        waiting = [asyncio.ensure_future(each) for each in (one, one, other)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        await in_thread(lambda: give(delivered(), one))
        assert [each.sequence_number for each in await asyncio.gather(*waiting[:2])] == ["4711", "4711"]
        assert not waiting[2].done()
        await in_thread(lambda: give(failed(), other))
        with pytest.raises(RecordFailedError):
            await waiting[2]

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_gather() -> None:
    futures = [pending(key=str(n)) for n in range(50)]

    async def main() -> list[RecordResult | BaseException]:
        gathering = asyncio.gather(*futures, return_exceptions=True)
        for number, future in enumerate(futures):
            await in_thread(lambda n=number, f=future: give(failed() if n % 10 == 0 else delivered(str(n)), f))  # type: ignore[misc]
        return await gathering

    results = asyncio.run(asyncio.wait_for(main(), PATIENCE))
    for number, result in enumerate(results):
        if number % 10 == 0:
            assert isinstance(result, RecordFailedError)
        else:
            assert isinstance(result, RecordResult)
            assert result.sequence_number == str(number)


def test_wrap_future() -> None:
    one, other = pending(), pending()

    async def main() -> None:
        wrapped = asyncio.wrap_future(one), asyncio.wrap_future(other)
        await in_thread(lambda: give(delivered(), one))
        await in_thread(lambda: give(failed(), other))
        assert (await wrapped[0]).sequence_number == "4711"
        with pytest.raises(RecordFailedError):
            await wrapped[1]
        assert (await asyncio.wrap_future(one)).sequence_number == "4711"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("wrap", [asyncio.ensure_future, asyncio.wrap_future], ids=["await", "wrap_future"])
def test_a_cancelled_await_leaves_the_record_alone(
    wrap: Callable[[RecordFuture], asyncio.Future[RecordResult]],
) -> None:
    future = pending()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wrap(future), 0.001)
        waiting = wrap(future)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not future.done()
        assert not future.cancelled()
        await in_thread(lambda: give(delivered(), future))
        assert (await future).sequence_number == "4711"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert future.result(0).sequence_number == "4711"


def test_a_cancelled_await_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Their outcomes reach the loop together."""
    futures = [pending() for _ in range(5)]

    async def main() -> None:
        waiting = [asyncio.ensure_future(each) for each in futures]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[2].cancel()
        await in_thread(lambda: give(delivered(), *futures))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(each, RecordResult) for each in results] == [False, True, False, True, True]

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert not caplog.records


def test_repeated_awaits_of_a_future_add_no_callbacks() -> None:
    """A task may await a future with short timeouts, again and again."""
    future, other = pending(), pending()

    async def main() -> None:
        there = asyncio.ensure_future(other)
        for _ in range(50):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(future, 0.0005)
        assert callbacks_of(future) == 1
        last = [asyncio.ensure_future(future) for _ in range(3)]
        await asyncio.sleep(0)
        last[0].cancel()
        last.append(asyncio.ensure_future(future))
        await asyncio.sleep(0)
        await in_thread(lambda: give(delivered(), future))
        assert [(await each).sequence_number for each in last[1:]] == ["4711"] * 3
        assert not there.done()
        await in_thread(lambda: give(delivered("4712"), other))
        assert (await there).sequence_number == "4712"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_one_of_many_awaited_futures_may_have_more_waits(pool: ThreadPoolExecutor) -> None:
    """Futures that are only awaited share one Waits. A future with more gets its own."""
    one, *others = futures = [pending() for _ in range(5)]
    called: list[RecordFuture] = []

    async def main() -> None:
        waiting = [asyncio.ensure_future(each) for each in futures]
        await asyncio.sleep(0)
        one.add_done_callback(called.append)
        blocked = pool.submit(one.result, PATIENCE)
        completed = pool.submit(concurrent.futures.wait, [one], PATIENCE)
        while not (threads_blocked_on(one) and is_waited_for(one)):
            await asyncio.sleep(0.001)
        await in_thread(lambda: give(delivered(), *others))
        await asyncio.gather(*waiting[1:])
        assert (called, blocked.done(), completed.done(), waiting[0].done()) == ([], False, False, False)
        await in_thread(lambda: give(delivered("4712"), one))
        assert (await waiting[0]).sequence_number == blocked.result(PATIENCE).sequence_number == "4712"
        assert completed.result(PATIENCE).done == {one}

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert called == [one]


def test_one_future_awaited_in_several_loops(pool: ThreadPoolExecutor) -> None:
    future = pending()
    ready = threading.Semaphore(0)

    async def main() -> str:
        waiting = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        ready.release()
        return (await asyncio.wait_for(waiting, PATIENCE)).sequence_number

    loops = [pool.submit(asyncio.run, main()) for _ in range(5)]
    for _ in loops:
        assert ready.acquire(timeout=PATIENCE)
    give(delivered(), future)
    assert [each.result(PATIENCE) for each in loops] == ["4711"] * 5


def test_an_outcome_for_a_closed_loop(caplog: pytest.LogCaptureFixture) -> None:
    futures = [pending() for _ in range(3)]
    loop = asyncio.new_event_loop()

    async def one(future: RecordFuture) -> None:
        await future

    tasks = [loop.create_task(one(future)) for future in futures]
    loop.run_until_complete(asyncio.sleep(0))
    called: list[RecordFuture] = []
    for future in futures:
        future.add_done_callback(called.append)
    loop.close()
    give(delivered(), *futures[:2])
    give(failed(), futures[2])
    assert called == futures
    assert [each.done() for each in futures] == [True] * 3
    assert not caplog.records
    for task in tasks:  # asyncio would log that these tasks never ended
        abandon(task)


def test_many_outcomes_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    futures = [pending() for _ in range(1000)]
    woken = 0

    async def main() -> None:
        nonlocal woken
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def count(*args: Any, **kwargs: Any) -> asyncio.Handle:
            nonlocal woken
            woken += 1
            return wake(*args, **kwargs)

        gathering = asyncio.gather(*futures)
        await asyncio.sleep(0)
        monkeypatch.setattr(loop, "call_soon_threadsafe", count)
        answering = threading.Thread(target=give, args=(delivered(), *futures))
        answering.start()
        answering.join(PATIENCE)  # the loop is blocked meanwhile
        assert woken == 1
        await gathering

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


# --- unseen failures ---


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


def test_resolve_each_returns_the_futures_with_waits() -> None:
    plain, called, answered = pending(), pending(), pending()
    called.add_done_callback(lambda future: None)
    give(delivered("first"), answered)
    ((others, outcome),) = resolve_each([plain, called, answered], [delivered("1"), delivered("2"), delivered("3")])
    assert plain.result().sequence_number == "1"
    assert not plain.data
    assert others == [called]
    assert not called.done()
    assert isinstance(outcome, Delivered)
    assert outcome.sequence_number == "2"
    assert answered.result().sequence_number == "first"
