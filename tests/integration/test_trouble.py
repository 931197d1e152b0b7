"""Errors on the way: what is retried, what is given up, and what the results and errors report."""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kplpy import (
    Producer,
    RecordExpiredError,
    RecordFailedError,
    RejectedError,
    ThrottledError,
    UserRecord,
)
from kplpy.core import policy
from kplpy.local import Fault, Limits
from tests.local_stream import PATIENCE, contents, local, producing, user_records

THROTTLED = "ProvisionedThroughputExceededException"

# --- errors that are retried ---

# (the fault, the attempt's code, whether the record may be there twice, how often it is there)
TROUBLES: list[tuple[str, Fault, str, bool, int]] = [
    ("500", Fault(code="InternalFailure", status=500), "InternalFailure", True, 1),
    ("503", Fault(code="ServiceUnavailable", status=503), "ServiceUnavailable", True, 1),
    ("throttled", Fault(code="LimitExceededException"), "LimitExceededException", False, 1),
    ("kms throttled", Fault(code="KMSThrottlingException"), "KMSThrottlingException", False, 1),
    ("denied for a moment", Fault(code="AccessDeniedException"), "AccessDeniedException", False, 1),
    ("expired token", Fault(code="ExpiredTokenException"), "ExpiredTokenException", False, 1),
    ("entry throttled", Fault(entry_code=THROTTLED), THROTTLED, False, 1),
    ("entry failed", Fault(entry_code="InternalFailure"), "InternalFailure", False, 1),
    ("cut before", Fault(transport="cut_before"), "ConnectionClosedError", True, 1),
    ("cut after", Fault(transport="cut_after"), "ConnectionClosedError", True, 2),
    ("cut within the answer", Fault(transport="cut_answer"), "", True, 2),
    ("no answer", Fault(transport="never"), "RequestTimeout", True, 2),
    ("late answer", Fault(delay=3600), "RequestTimeout", True, 2),
    ("empty answer", Fault(transport="empty"), "RecordCountMismatch", True, 2),
    ("garbage", Fault(transport="garbage"), "", True, 2),
    ("an entry short", Fault(transport="wrong_length"), "RecordCountMismatch", True, 2),
]


@pytest.mark.parametrize(
    ("fault", "code", "may_be_twice", "copies"), [each[1:] for each in TROUBLES], ids=[each[0] for each in TROUBLES]
)
def test_errors_are_retried_and_reported(fault: Fault, code: str, may_be_twice: bool, copies: int) -> None:
    with local(shards=2) as kinesis, producing(kinesis, request_timeout_ms=500) as producer:
        producer.put_record("orders", b"before", "k").result(PATIENCE)
        kinesis.faults.add(fault)
        futures = producer.put_records("orders", [(b"%d" % n, "key") for n in range(10)])
        for future in futures:
            result = future.result(PATIENCE)
            assert [each.success for each in result.attempts] == [False, True]
            failed = result.attempts[0]
            assert failed.error_code == (code or failed.error_code)
            assert failed.error_code
            assert failed.error_message
            assert result.possible_duplicate is may_be_twice
        assert contents(kinesis) == Counter({b"before": 1, **{b"%d" % n: copies for n in range(10)}})
        # the next record is not affected
        after = producer.put_record("orders", b"after", "k").result(PATIENCE)
        assert len(after.attempts) == 1
        assert after.possible_duplicate is False


def test_a_late_response_is_waited_for() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        kinesis.faults.delay(0.3)
        result = producer.put_record("orders", b"x", "k").result(PATIENCE)
        assert len(result.attempts) == 1
        assert result.attempts[0].duration >= 0.3
        assert result.possible_duplicate is False
        assert contents(kinesis) == Counter([b"x"])


def test_only_the_failed_entries_are_sent_again() -> None:
    with local(shards=2) as kinesis, producing(kinesis, aggregation_enabled=False) as producer:
        kinesis.faults.fail_entries(THROTTLED, entries=frozenset({1, 3}))
        futures = producer.put_records("orders", [(b"%d" % n, str(n)) for n in range(6)])
        attempts = sorted(len(each.result(PATIENCE).attempts) for each in futures)
        assert attempts == [1, 1, 1, 1, 2, 2]
        assert contents(kinesis) == Counter(b"%d" % n for n in range(6))
        assert producer.metrics()["orders"].entries_throttled == 2


def test_a_shard_over_its_limit_is_retried_until_it_takes_them() -> None:
    limits = Limits(shard_records_per_second=100)
    with local(limits=limits) as kinesis:
        # ten times the shard's limit, so the producer's limiter has no effect
        with producing(kinesis, aggregation_enabled=False, rate_limit=1000) as producer:
            futures = producer.put_records("orders", [(b"%d" % n, str(n)) for n in range(250)])
            for future in futures:
                result = future.result(PATIENCE)
                assert {each.error_code for each in result.attempts[:-1]} <= {THROTTLED}
                assert not result.possible_duplicate
            totals = producer.metrics()["orders"]
            assert totals.entries_throttled > 0
            assert totals.user_records_put == 250
        assert contents(kinesis) == Counter(b"%d" % n for n in range(250))


def test_fail_if_throttled() -> None:
    with local() as kinesis, producing(kinesis, fail_if_throttled=True) as producer:
        kinesis.faults.fail_entries(THROTTLED)
        futures = producer.put_records("orders", [(b"%d" % n, str(n)) for n in range(5)])
        for number, future in enumerate(futures):
            with pytest.raises(ThrottledError, match="was throttled, and fail_if_throttled is set") as raised:
                future.result(PATIENCE)
            error = raised.value
            assert error.record == UserRecord(b"%d" % number, str(number))
            assert [each.error_code for each in error.attempts] == [THROTTLED]
            assert not error.possible_duplicate
        assert contents(kinesis) == Counter()
        kinesis.faults.fail_entries("InternalFailure")
        assert len(producer.put_record("orders", b"x", "k").result(PATIENCE).attempts) == 2


def test_one_bad_record_fails_alone() -> None:
    """The service refuses a whole request because of one invalid record."""
    with local() as kinesis, producing(kinesis, max_user_record_size=2 << 20, rate_limit=1000) as producer:
        kinesis.faults.fail("AccessDeniedException", operation="DescribeStreamSummary", times=1000)
        futures = producer.put_records("orders", [(bytes(30_000), str(n)) for n in range(12)])
        too_large = producer.put_record("orders", bytes((1 << 20) + 1), "k")
        futures += producer.put_records("orders", [(bytes(30_000), str(n)) for n in range(12)])
        producer.flush(timeout=PATIENCE)
        with pytest.raises(RejectedError, match="larger than the maximum record size") as raised:
            too_large.result(0)
        assert isinstance(raised.value.cause, ClientError)
        for each in futures:
            assert not each.result(0).possible_duplicate
        assert sum(contents(kinesis).values()) == 24


# --- errors that are final ---


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "DENIED_GRACE", 0.3)
    monkeypatch.setattr(policy, "MAP_PATIENCE", 0.2)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.usefixtures("short_grace")
def test_a_dead_endpoint() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with Producer(endpoint_url=endpoint, region_name="us-east-1", record_ttl_ms=1000) as producer:
        # Making the client takes a part of the time to live, or all of it.
        while "client is still being made" in str(producer.put_record("orders", b"warm", "k").exception(PATIENCE)):
            pass
        future = producer.put_record("orders", b"x", "k")
        with pytest.raises(RecordExpiredError, match="expired: not delivered within its time to live") as raised:
            future.result(PATIENCE)
        error = raised.value
        # The record may have expired before the outage's next request. Its error then names the outage.
        assert {each.error_code for each in error.attempts} <= {"EndpointConnectionError"}
        assert f'EndpointConnectionError: Could not connect to the endpoint URL: "{endpoint}/"' in str(error)
        assert error.record == UserRecord(b"x", "k")
        assert error.stream == "orders"
        assert error.cause is error.__cause__
        assert not error.possible_duplicate  # the request never left
        assert producer.outstanding_records == 0


def test_an_expired_record_that_may_have_been_written() -> None:
    with local() as kinesis, producing(kinesis, request_timeout_ms=100, record_ttl_ms=1000) as producer:
        while producer.put_record("orders", b"warm", "k").exception(PATIENCE):
            pass  # making the client takes a part of the time to live
        kinesis.faults.add(Fault(transport="never"), times=1000)
        with pytest.raises(RecordExpiredError, match="it may have been written all the same") as raised:
            producer.put_record("orders", b"x", "k").result(PATIENCE)
        assert raised.value.possible_duplicate
        assert raised.value.attempts[0].error_code == "RequestTimeout"
        assert contents(kinesis)[b"x"] >= 1


@pytest.mark.usefixtures("short_grace")
def test_a_stream_that_is_not_there() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        future = producer.put_record("no-such-stream", b"x", "k")
        with pytest.raises(RejectedError, match="was refused by the service") as raised:
            future.result(PATIENCE)
        error = raised.value
        assert "no-such-stream" in str(error)
        assert {each.error_code for each in error.attempts} == {"ResourceNotFoundException"}
        assert len(error.attempts) >= 2  # retried, because the stream may have been created just now
        assert isinstance(error.cause, ClientError)
        assert not error.possible_duplicate
        # the other stream is not affected
        producer.put_record("orders", b"x", "k").result(PATIENCE)


@pytest.mark.usefixtures("short_grace")
def test_a_stream_that_is_there_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "DENIED_GRACE", 30.0)
    with local(stream=None) as kinesis, producing(kinesis) as producer:
        refused = threading.Event()

        def note(operation: str, params: Mapping[str, Any], now: float) -> None:
            if operation == "PutRecords":
                refused.set()

        kinesis.faults.plan = note
        future = producer.put_record("orders", b"x", "k")
        assert refused.wait(PATIENCE)
        kinesis.handle("CreateStream", {"StreamName": "orders", "ShardCount": 1})
        assert future.result(PATIENCE).attempts[0].error_code == "ResourceNotFoundException"
        assert contents(kinesis) == Counter([b"x"])


class Notices(logging.Handler):
    """A handler that keeps the messages of kplpy's loggers, and sets an event at an awaited text."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.seen = threading.Event()
        self._awaited = awaited

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if self._awaited in record.getMessage():
            self.seen.set()


@pytest.mark.usefixtures("short_grace")
def test_without_a_shard_listing_records_go_alone_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LISTING_BACKOFF_FIRST", 0.05)
    monkeypatch.setattr(policy, "LISTING_BACKOFF_MAX", 0.05)
    notices = Notices("listed again")
    logging.getLogger("kplpy").addHandler(notices)
    try:
        with local(shards=4) as kinesis, producing(kinesis) as producer:
            kinesis.faults.fail("AccessDeniedException", "not for you", operation="ListShards", times=1_000_000)
            for _ in range(3):
                futures = producer.put_records("orders", [(b"alone", str(n)) for n in range(50)])
                for future in futures:
                    assert len(future.result(PATIENCE).attempts) == 1
            assert len(kinesis.ledger("orders")) == 150
            first, warning = notices.lines
            assert first == "orders: not for you (ListShards: AccessDeniedException; failed requests: 1)"
            assert warning.startswith("orders: the shards cannot be listed")

            kinesis.call(lambda model: model.faults.clear())
            waiting = producer.put_record("orders", b"alone", "k")  # the shards are listed only while there are records
            waiting.result(PATIENCE)
            while not notices.seen.wait(0.01):  # bounded by the test's own timeout
                producer.put_record("orders", b"alone", "k").result(PATIENCE)
            before = len(kinesis.ledger("orders"))
            producer.put_records("orders", [(b"packed", str(n)) for n in range(200)])
            producer.flush(timeout=PATIENCE)
            assert len(kinesis.ledger("orders")) - before <= 8
            assert contents(kinesis)[b"packed"] == 200
            assert len(notices.lines) == 3
    finally:
        logging.getLogger("kplpy").removeHandler(notices)


def test_the_warning_of_a_failing_listing_names_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MAP_PATIENCE", 1.5)  # longer than the first listing takes
    notices = Notices("cannot be listed")
    logging.getLogger("kplpy").addHandler(notices)
    try:
        with local() as kinesis, producing(kinesis) as producer:
            producer.put_record("orders", b"warm", "k").result(
                PATIENCE
            )  # makes the client, so that a listing takes no time
            kinesis.handle("CreateStream", {"StreamName": "other", "ShardCount": 1})
            kinesis.faults.fail("AccessDeniedException", "not for you", operation="ListShards", times=1_000_000)
            producer.put_record("other", b"x", "k").result(PATIENCE)
        (warning,) = [line for line in notices.lines if "the shards cannot be listed" in line]
        assert warning.startswith("other: ")
        assert "AccessDeniedException: not for you" in warning
    finally:
        logging.getLogger("kplpy").removeHandler(notices)


def test_close_delivers_what_is_there_and_fails_the_rest() -> None:
    with local(streams={"good": 1, "dead": 1}) as kinesis:
        producer = producing(kinesis, close_timeout_ms=1500, record_max_buffered_time_ms=10 * 60_000)
        for name in ("good", "dead"):
            producer.put_record(name, b"warm", "k")
        producer.flush(timeout=PATIENCE)
        kinesis.faults.add(Fault(transport="never"), times=1000, stream="dead")
        good = producer.put_records("good", [(b"%d" % n, str(n)) for n in range(100)])
        dead = producer.put_records("dead", [(b"%d" % n, str(n)) for n in range(10)])
        producer.close()
        for future in good:
            future.result(0)
        for future in dead:
            with pytest.raises(RecordFailedError, match="the producer was closed") as raised:
                future.result(0)
            assert type(raised.value) is RecordFailedError
            assert raised.value.possible_duplicate
        assert producer.outstanding_records == 0
        assert len(user_records(kinesis, "good")) == 101


@pytest.mark.usefixtures("short_grace")
def test_a_certificate_of_nobody_s() -> None:
    with local(https=True) as kinesis, producing(kinesis, verify=True, record_ttl_ms=1000) as producer:
        # Making the client takes a part of the time to live, or all of it.
        while "client is still being made" in str(producer.put_record("orders", b"warm", "k").exception(PATIENCE)):
            pass
        with pytest.raises(RecordExpiredError) as raised:
            producer.put_record("orders", b"x", "k").result(PATIENCE)
        assert {each.error_code for each in raised.value.attempts} <= {"SSLError"}
        assert "SSLError: " in str(raised.value)
        assert not raised.value.possible_duplicate
        assert contents(kinesis) == Counter()
