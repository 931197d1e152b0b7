"""RecordFuture: its result, its exception, and what it shows of itself."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import weakref
from collections.abc import Callable

import pytest

from kplpy import BufferFullError, RecordFailedError, RecordFuture, RecordResult
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.record import SendAttempt
from kplpy.futures.resolve import resolve_each
from tests.future_helpers import PATIENCE, delivered, failed, give, pending
from tests.inside import make_condition


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
