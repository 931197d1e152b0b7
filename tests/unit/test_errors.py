"""The errors of failed records, for callers, logs and other processes."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import pickle
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

import kplpy
from kplpy import (
    Attempt,
    BufferFullError,
    ConfigError,
    FlushTimeoutError,
    ForkedError,
    InvalidRecordError,
    KplpyError,
    ProducerClosedError,
    RecordExpiredError,
    RecordFailedError,
    RecordFuture,
    RejectedError,
    SetupError,
    ThrottledError,
    UserRecord,
)
from kplpy.core.outcome import Failed, Reason
from kplpy.core.record import SendAttempt
from kplpy.errors import RecordSpooledError
from kplpy.futures.record_future import Origin
from kplpy.futures.resolve import resolve

REASONS: dict[Reason, tuple[type[RecordFailedError], str]] = {
    Reason.EXPIRED: (RecordExpiredError, "expired"),
    Reason.THROTTLED: (ThrottledError, "throttled"),
    Reason.REJECTED: (RejectedError, "refused by the service"),
    Reason.SET_UP: (SetupError, "cannot be sent (Code: why)"),
    Reason.TOO_LARGE: (RejectedError, "is too large (Code: why)"),
    Reason.HEADERS: (RejectedError, "has headers that cannot be sent (Code: why)"),
    Reason.FORKED: (ForkedError, "parent process"),
    Reason.CLOSED: (RecordFailedError, "the producer was closed"),
    Reason.UNCLEAR: (RecordFailedError, "not delivered: Code: why"),
    Reason.SPOOLED: (RecordSpooledError, "not delivered: Code: why"),
    Reason.DROPPED: (RecordFailedError, "dropped as one of the oldest"),
    Reason.DAMAGED: (RecordFailedError, "damaged in the spool"),
    Reason.BROKEN: (RecordFailedError, "Code: why"),
}
LEAVES = [
    RecordExpiredError,
    ThrottledError,
    RejectedError,
    SetupError,
    ForkedError,
    RecordSpooledError,
    RecordFailedError,
]


def failure(
    reason: Reason, tries: tuple[SendAttempt, ...] = (), cause: BaseException | None = None
) -> RecordFailedError:
    future = RecordFuture(Origin("orders"), b"data", "key", "77", 77, time.monotonic())
    future.tries = tries
    message = {Reason.CLOSED: "the producer was closed", Reason.EXPIRED: "expired"}.get(reason, "Code: why")
    resolve([future], Failed(reason, message, cause))
    error = future.exception(0)
    assert isinstance(error, RecordFailedError)
    return error


def test_every_reason_has_its_case() -> None:
    # REFUSED raises the error of put_record: see futures/test_record_future.py
    assert {*REASONS, Reason.REFUSED} == set(Reason)


@pytest.mark.parametrize("reason", REASONS)
def test_class_and_text_by_reason(reason: Reason) -> None:
    kind, words = REASONS[reason]
    error = failure(reason)
    assert type(error) is kind
    assert words in str(error)
    assert "'orders'" in str(error)
    assert "0 attempts" in str(error)
    assert "data" not in str(error)
    assert error.stream == "orders"
    assert error.record == UserRecord(b"data", "key", "77")
    assert error.attempts == ()
    assert error.possible_duplicate is False
    assert error.cause is None
    assert error.__cause__ is None


def test_a_record_that_expired_unsent_names_what_it_waited_for() -> None:
    future = RecordFuture(Origin("orders"), b"data", "key", None, 77, time.monotonic())
    resolve([future], Failed(Reason.EXPIRED, "its shard shardId-000000000000 is throttled"))
    error = future.exception(0)
    assert isinstance(error, RecordExpiredError)
    assert str(error).endswith("0 attempts; its shard shardId-000000000000 is throttled")
    assert str(error.cause) == "its shard shardId-000000000000 is throttled"


@pytest.mark.parametrize("reason", REASONS)
def test_attempts_and_cause(reason: Reason) -> None:
    cause = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutRecords")
    tries = (
        SendAttempt(1.0, 1.0, 2.0, "InternalFailure", "oops"),
        SendAttempt(3.0, 3.0, 4.0, "AccessDenied", "you may not"),
    )
    error = failure(reason, tries, cause)
    assert [each.error_code for each in error.attempts] == ["InternalFailure", "AccessDenied"]
    assert "2 attempts, the last: AccessDenied: you may not" in str(error)
    assert error.cause is cause
    assert error.__cause__ is cause


@pytest.mark.parametrize("reason", sorted(set(REASONS) - {Reason.EXPIRED, Reason.CLOSED}, key=str))
def test_a_cause_that_is_also_the_last_attempts_is_shown_once(reason: Reason) -> None:
    error = failure(reason, (SendAttempt(1.0, 1.0, 2.0, "Other", "oops"), SendAttempt(3.0, 3.0, 4.0, "Code", "why")))
    assert str(error).count("Code: why") == 1
    assert "; 2 attempts" in str(error)


def test_without_an_exception_the_last_attempt_is_the_cause() -> None:
    error = failure(Reason.EXPIRED, (SendAttempt(1.0, 1.0, 2.0, "InternalFailure", "oops"),))
    assert isinstance(error.cause, KplpyError)
    assert str(error.cause) == "InternalFailure: oops"
    assert error.__cause__ is error.cause
    assert "1 attempt, " in str(error)


def test_a_possible_duplicate_is_shown() -> None:
    future = RecordFuture(Origin("orders"), b"data", "key", None, 0, time.monotonic())
    future.maybe_written = True
    resolve([future], Failed(Reason.EXPIRED, "expired"))
    error = future.exception(0)
    assert isinstance(error, RecordFailedError)
    assert error.possible_duplicate is True
    assert "it may have been written all the same" in str(error)


@pytest.mark.parametrize("kind", LEAVES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_everything(kind: type[RecordFailedError], protocol: int) -> None:
    class CannotBePickled(Exception):
        pass

    attempts = (Attempt(1.5, 0.25, False, "InternalFailure", "oops", 0.5),)
    record = UserRecord(b"data \xff", "ключ", "5")
    error = kind("what happened", "orders", record, attempts, True, CannotBePickled("deep down"))
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is kind
    assert str(back) == "what happened"
    assert (back.stream, back.record, back.attempts, back.possible_duplicate) == ("orders", record, attempts, True)
    assert isinstance(back.cause, KplpyError)
    assert str(back.cause) == "CannotBePickled: deep down"
    assert back.__cause__ is back.cause
    again = pickle.loads(pickle.dumps(back, protocol))
    assert "CannotBePickled: deep down" in str(again.cause)


def test_pickling_without_a_cause() -> None:
    back = pickle.loads(pickle.dumps(RejectedError("no", "orders")))
    assert back.cause is None
    assert back.__cause__ is None
    assert back.record is None


@pytest.mark.parametrize(
    "error",
    [
        FlushTimeoutError("7 records had no outcome within 1 s", 7),
        ConfigError("bad field"),
        InvalidRecordError("bad record"),
        BufferFullError("no room"),
        ProducerClosedError("closed"),
        KplpyError("any"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_pickling_of_the_others(error: KplpyError) -> None:
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(back) is type(error)
        assert str(back) == str(error) != ""
        assert back.__dict__ == error.__dict__


def raise_in_a_child() -> None:
    raise failure(Reason.REJECTED, (SendAttempt(1.0, 1.0, 2.0, "Code", "why"),), ValueError("root"))


def test_through_a_process_pool() -> None:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool, pytest.raises(RejectedError) as raised:
        pool.submit(raise_in_a_child).result(60)
    assert raised.value.record == UserRecord(b"data", "key", "77")
    assert "refused by the service" in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (ConfigError, ValueError),
        (InvalidRecordError, ValueError),
        (FlushTimeoutError, TimeoutError),
        (BufferFullError, KplpyError),
        (ProducerClosedError, KplpyError),
        (RecordFailedError, KplpyError),
        *((leaf, RecordFailedError) for leaf in LEAVES[:-1]),
    ],
)
def test_all_errors_have_one_base(kind: type[Exception], also: type[Exception]) -> None:
    assert issubclass(kind, KplpyError)
    assert issubclass(kind, also)


def test_every_public_error_is_a_kplpy_error() -> None:
    public: list[Any] = [getattr(kplpy, name) for name in kplpy.__all__]
    errors = [each for each in public if isinstance(each, type) and issubclass(each, BaseException)]
    assert len(errors) == 19
    assert all(issubclass(each, KplpyError) for each in errors)


def test_flush_timeout_says_how_many_are_left() -> None:
    error = FlushTimeoutError("7 records had no outcome within 1 s", 7)
    assert error.remaining == 7
    assert str(error) == "7 records had no outcome within 1 s"
