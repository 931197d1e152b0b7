"""RecordFuture: its callbacks."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref

import pytest

from kplpy import RecordFuture
from kplpy.core.outcome import Delivered, Failed
from tests.future_helpers import delivered, failed, give, pending
from tests.inside import make_condition


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
