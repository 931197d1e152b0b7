"""The methods in C do what their twins in Python do, and look like them."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest

from kplpy import Producer, RecordFuture, RecordResult, accelerator
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.record import SendAttempt, untrack
from kplpy.errors import RecordFailedError
from kplpy.futures.record_future import Origin
from kplpy.futures.resolve import resolve
from kplpy.runtime.put_target import move_staged, new_staging

needs_accelerator = pytest.mark.skipif(not accelerator.accelerated, reason="the accelerator is off")


def future() -> RecordFuture:
    return RecordFuture(Origin("orders"), b"x", "k", None, 7, 1.0)


def test_the_methods_have_signatures_and_documentation() -> None:
    named: dict[Any, str] = {
        Producer.put_record: "(self, stream, data, partition_key=None, *, explicit_hash_key=None, headers=None)",
        RecordFuture.result: "(self, timeout=None)",
        RecordFuture.done: "(self)",
    }
    for method, expected in named.items():
        parameters = inspect.signature(method).parameters.values()
        plain = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
        positional = [
            each.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
            if each.kind is inspect.Parameter.POSITIONAL_ONLY
            else each
            for each in plain
        ]
        assert str(inspect.Signature(positional)) == expected
        assert inspect.getdoc(method)


@pytest.mark.parametrize("arguments", [(), (None,), (5.0,)])
def test_the_result_of_a_delivered_record(arguments: tuple[Any, ...]) -> None:
    made = future()
    assert not made.done()
    with pytest.raises(FutureTimeoutError):
        made.result(0)
    with pytest.raises(FutureTimeoutError):
        made.result(timeout=0)
    resolve([made], Delivered("shardId-0", "1", SendAttempt(1.0, 1.0, 2.0)))
    assert made.done()
    result = made.result(*arguments)
    assert type(result) is RecordResult
    assert (result.shard_id, result.sequence_number) == ("shardId-0", "1")
    with pytest.raises(TypeError):
        made.result(1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        made.done(1)  # type: ignore[call-arg]


def test_the_result_of_a_failed_record_raises() -> None:
    made = future()
    resolve([made], Failed(Reason.CLOSED, "closed"))
    assert made.done()
    with pytest.raises(RecordFailedError, match="closed"):
        made.result()


def test_a_subclass_may_have_its_own_result() -> None:
    class Own(RecordFuture):
        __slots__ = ()

        def result(self, timeout: float | None = None) -> RecordResult:
            return super().result(timeout)

    made = Own(Origin("orders"), b"x", "k", None, 7, 1.0)
    resolve([made], Delivered("shardId-0", "1", SendAttempt(1.0, 1.0, 2.0)))
    assert made.result().shard_id == "shardId-0"


def test_the_methods_have_no_documentation_without_docstrings() -> None:
    program = "import kplpy; print([kplpy.Producer.put_record.__doc__, kplpy.RecordFuture.done.__doc__])"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[None, None]"


@needs_accelerator
def test_the_methods_refuse_other_objects() -> None:
    put_record: Any = Producer.put_record
    with pytest.raises(TypeError):
        put_record(object(), "orders", b"x", "k")
    result: Any = RecordFuture.result
    with pytest.raises(TypeError):
        result(object())


@needs_accelerator
def test_the_garbage_collector_passes_over_lists_of_records() -> None:
    staging, moved, own = new_staging(), [future()], [future()]
    assert not gc.is_tracked(staging)
    staging.append(future())
    move_staged(staging, moved)
    untrack(own)  # type: ignore[arg-type]
    assert [*map(gc.is_tracked, (staging, moved, own))] == [False, False, False]
    untrack(own)  # type: ignore[arg-type]
    own.append(future())
    assert len(own) == 2
