"""Await: what asyncio's tasks and other code call of it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from kplpy import RecordFailedError, RecordFuture
from kplpy.futures.asyncio_bridge import Await
from tests.future_helpers import PATIENCE, delivered, failed, give, in_thread, pending
from tests.inside import TaskInPython, callbacks_of


def await_of(future: RecordFuture) -> Any:
    made: Any = future.__await__()
    assert isinstance(made, Await)
    return made


def test_what_a_task_sees() -> None:
    future = pending()

    async def main() -> None:
        waiting = await_of(future)
        assert (waiting.get_loop(), waiting.done(), waiting.will_be_seen(future)) == (None, False, False)
        assert next(waiting) is waiting
        is_future: Any = asyncio.isfuture
        assert is_future(waiting)
        assert waiting.get_loop() is asyncio.get_running_loop()
        assert waiting.will_be_seen(future)
        assert callbacks_of(future) == 1
        with pytest.raises(asyncio.InvalidStateError):
            waiting.result()
        with pytest.raises(RuntimeError, match="was not used with a task"):
            next(waiting)
        called: list[Any] = []
        variable = contextvars.ContextVar("variable", default="outside")
        context = contextvars.copy_context()
        context.run(variable.set, "inside")
        waiting.add_done_callback(lambda each: called.append((each, variable.get())), context=context)
        with pytest.raises(RuntimeError, match="belongs to one task"):
            waiting.add_done_callback(called.append)
        await in_thread(lambda: give(delivered(), future))
        while not called:
            await asyncio.sleep(0.001)
        assert called == [(waiting, "inside")]
        assert (waiting.done(), waiting.cancelled(), waiting.cancel(), waiting.result()) == (True, False, False, None)
        with pytest.raises(StopIteration) as ended:
            next(waiting)
        assert ended.value.value.sequence_number == "4711"
        waiting.set_result(None)  # nothing happens
        assert len(called) == 1

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("message", [(), ("shutting down",)])
def test_a_cancelled_await(message: tuple[str, ...]) -> None:
    future = pending()

    async def main() -> None:
        called: list[Any] = []
        waiting = await_of(future)
        next(waiting)
        waiting.add_done_callback(called.append)
        assert waiting.cancel(*message)
        assert not waiting.cancel()
        assert callbacks_of(future) == 0
        assert not called  # later, as asyncio's futures do
        await asyncio.sleep(0)
        assert called == [waiting]
        assert (waiting.done(), waiting.cancelled(), waiting.will_be_seen(future)) == (True, True, False)
        with pytest.raises(asyncio.CancelledError) as error:
            waiting.result()
        assert error.value.args == message
        await in_thread(lambda: give(delivered(), future))
        await asyncio.sleep(0.01)
        assert called == [waiting]

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("task", [asyncio.Task, TaskInPython], ids=["in C", "in Python"])
@pytest.mark.parametrize("debug", [False, True])
def test_tasks_of_both_kinds(task: Any, debug: bool) -> None:
    futures = [pending() for _ in range(300)]

    async def one(future: RecordFuture) -> str:
        try:
            return (await future).sequence_number
        except RecordFailedError:
            return "failed"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks = [task(one(each), loop=loop) for each in futures]
        await asyncio.sleep(0)
        tasks[3].cancel("enough")
        await in_thread(lambda: give(delivered(), *futures[:200]))
        await in_thread(lambda: give(failed(), *futures[200:]))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results.pop(3), asyncio.CancelledError)
        assert results == ["4711"] * 199 + ["failed"] * 100
        assert await task(one(futures[0]), loop=loop) == "4711"  # done already

    asyncio.run(asyncio.wait_for(main(), PATIENCE), debug=debug)


def test_a_task_that_was_cancelled_before_it_waits() -> None:
    future = pending()

    async def one() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await future

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(one())
        assert callbacks_of(future) == 0

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_task_that_stops_the_loop_leaves_the_others_to_its_next_run(error: type[BaseException]) -> None:
    futures = [pending() for _ in range(5)]
    loop = asyncio.new_event_loop()

    async def one(future: RecordFuture, then: Callable[[], object]) -> str:
        number = (await future).sequence_number
        then()
        return number

    def stop() -> None:
        raise error

    tasks = [loop.create_task(one(each, stop if n == 1 else int)) for n, each in enumerate(futures)]
    loop.run_until_complete(asyncio.sleep(0))
    give(delivered(), *futures)
    with pytest.raises(error):
        loop.run_forever()
    with pytest.raises(error):
        tasks[1].result()
    rest = asyncio.gather(tasks[0], *tasks[2:])
    assert loop.run_until_complete(asyncio.wait_for(rest, PATIENCE)) == ["4711"] * 4
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_neither_tasks_nor_futures_stay_after_the_outcome() -> None:
    class Marked:
        pass

    gone: list[weakref.ref[Any]] = []

    async def one(future: RecordFuture, mark: Marked) -> None:
        gone.append(weakref.ref(mark))
        gone.append(weakref.ref(future))
        await future

    def run() -> None:
        loop = asyncio.new_event_loop()
        futures = [pending() for _ in range(3)]
        tasks = [loop.create_task(one(each, Marked())) for each in futures]
        loop.run_until_complete(asyncio.sleep(0))
        tasks[0].cancel()
        give(delivered(), futures[1])
        loop.run_until_complete(asyncio.wait_for(asyncio.wait(tasks[:2]), PATIENCE))
        loop.call_exception_handler = lambda context: None  # type: ignore[method-assign]  # of the task that is left
        loop.close()
        give(delivered(), futures[2])

    run()
    gc.collect()
    assert [each() for each in gone] == [None] * 6


def test_an_interrupt_in_cancel_does_not_leave_the_task_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C may come while cancel waits for the futures' lock."""

    class Interrupted:
        def __enter__(self) -> None:
            raise KeyboardInterrupt

        def __exit__(self, *_: object) -> None: ...

    async def main() -> None:
        async def wait() -> object:
            return await future

        future = pending()
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr("kplpy.futures.record_future.LOCK", Interrupted())
            with pytest.raises(KeyboardInterrupt):
                task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.cancelled()

    asyncio.run(main())
