"""RecordFuture: awaited in event loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kplpy import RecordFailedError, RecordFuture, RecordResult
from tests.future_helpers import PATIENCE, delivered, failed, give, in_thread, pending
from tests.inside import abandon, callbacks_of, is_waited_for, threads_blocked_on


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
        assert callbacks_of(future) == 0
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
    """An await is all that an awaited future has. A future with more gets its own Waits."""
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


def test_a_task_whose_wake_failed_is_woken_by_a_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = pending()
        task = asyncio.ensure_future(wait_for(future))
        await asyncio.sleep(0)
        wake = loop.call_soon_threadsafe

        def fail_once(*args: Any, **options: Any) -> asyncio.Handle:
            monkeypatch.setattr(loop, "call_soon_threadsafe", wake)
            raise MemoryError

        monkeypatch.setattr(loop, "call_soon_threadsafe", fail_once)
        give(delivered("shardId-0"), future)
        await asyncio.wait_for(task, PATIENCE)

    async def wait_for(future: RecordFuture) -> RecordResult:
        return await future

    asyncio.run(main())
