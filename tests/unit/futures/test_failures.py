"""Failed records are reported by on_failure, by their futures, and else in the log."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from kplpy import Producer, ProducerClosedError, RecordFailedError, RecordFuture, RejectedError, rate_limited_log
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.outcome import Failed, Reason
from kplpy.futures import failures
from kplpy.futures.failures import LOOK_GRACE, MAX_CODES, Unseen, UnseenFailures
from kplpy.rate_limited_log import INTERVAL, RateLimitedLog
from tests.stub_service import PATIENCE, StubService, install

REFUSAL = RequestError("InvalidArgumentException", "I do not like it", maybe_written=False)


class Lines(logging.Handler):
    """Collects what kplpy logs, and waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self._lines.append(f"{record.levelname} {record.getMessage()}")
            self._changed.notify_all()

    def wait_for(self, reached: Callable[[list[str]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: reached(self._lines), PATIENCE), self._lines

    def all(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    def first(self, count: int) -> list[str]:
        """Wait for so many lines, and return only these."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._lines) >= count, PATIENCE), self._lines
            assert len(self._lines) == count
            return list(self._lines)


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("kplpy")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> StubService:
    stub = install(monkeypatch)
    stub.refuse["bad"] = REFUSAL
    return stub


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (rate_limited_log, failures):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


# --- unseen failures ---

CAUSE = "WARNING bad: I do not like it (PutRecords: InvalidArgumentException; failed requests: {})"
UNSEEN = (
    "ERROR {}: {} records failed{}, and nobody has looked at their futures: {}; the most frequent: invalid: "
    "InvalidArgumentException: I do not like it"
)


@pytest.mark.parametrize("kept", [True, False])
def test_close_logs_unseen_failures_whether_or_not_futures_are_kept(
    service: StubService, lines: Lines, kept: bool
) -> None:
    futures: list[RecordFuture] = []
    gc.disable()
    try:
        with Producer(record_max_buffered_time_ms=0) as producer:
            for number in range(100):
                futures.append(producer.put_record("bad", b"secret", str(number)))
                producer.put_record("good", b"x", str(number))
                if not kept:
                    futures.clear()
    finally:
        gc.enable()
    expected = UNSEEN.format("bad", 100, " in total", "100 InvalidArgumentException")
    assert [line for line in lines.all() if line.startswith("ERROR")] == [expected]


def test_the_first_line_names_the_cause_and_the_first_error_the_records(service: StubService, lines: Lines) -> None:
    with Producer(record_max_buffered_time_ms=0) as producer:
        producer.put_record("bad", b"secret", "k")
        producer.flush(timeout=PATIENCE)
        assert lines.first(1) == [CAUSE.format(1)]  # unseen failures are not logged yet: somebody may look soon
    assert lines.first(2)[1] == UNSEEN.format("bad", 1, " in total", "1 InvalidArgumentException")


def test_unseen_failures_are_logged_while_the_producer_runs(
    service: StubService, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kplpy's own threads log it, without any other work."""
    monkeypatch.setattr(failures, "LOOK_GRACE", 0.05)
    monkeypatch.setattr(failures, "INTERVAL", 0.1)
    with Producer(record_max_buffered_time_ms=0) as producer:
        for number in range(7):
            producer.put_record("bad", b"secret", str(number))
        producer.flush(timeout=PATIENCE)
        lines.wait_for(lambda seen: sum(_counts(seen, "records failed, and")) == 7)
    assert _counts(lines.all(), "records failed in total") == [7]


def _counts(lines: list[str], text: str) -> list[int]:
    return [int(line.split()[2]) for line in lines if text in line]


def test_seen_failures_are_not_logged(service: StubService, lines: Lines) -> None:
    with Producer(record_max_buffered_time_ms=0) as producer:
        with pytest.raises(RejectedError):
            producer.put_record("bad", b"x", "k").result(PATIENCE)
        seen = threading.Event()
        producer.put_record("bad", b"x", "k").add_done_callback(lambda future: seen.set())
        assert seen.wait(PATIENCE)
        assert isinstance(producer.put_record("bad", b"x", "k").exception(PATIENCE), RejectedError)
        producer.put_record("good", b"x", "k")
        producer.flush(timeout=PATIENCE)
    assert not [line for line in lines.all() if line.startswith("ERROR")]


def test_records_that_put_records_refused_are_counted_too(service: StubService, lines: Lines) -> None:
    service.hold()
    with Producer(max_buffered_records=10, on_buffer_full="raise", on_failure=lambda error: None) as producer:
        producer.put_records("good", [(b"x", "k")] * 30)
        service.let_go()
    (error,) = [line for line in lines.all() if line.startswith("ERROR")]
    assert "records failed in total, and nobody has looked at their futures" in error
    assert "BufferFullError" in error


class Counted:
    """An UnseenFailures alone, with a clock that the test sets."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.reminders: list[float] = []
        self.failures = UnseenFailures(logging.getLogger("kplpy.test"), self.reminders.append, threading.RLock())
        self._failed = Failed(Reason.REJECTED, "AccessDenied: not you", code="AccessDenied")

    def give(self, count: int, stream: str = "orders") -> list[Unseen]:
        return [self.failures.count(self._failed, stream, ()) for _ in range(count)]

    def report_after(self, seconds: float) -> float:
        self.clock.now += seconds
        return self.failures.report()


def test_a_failure_has_time_to_be_looked_at_before_it_is_logged(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted(clock)
    assert counted.report_after(1) == float("inf")
    given = counted.give(5)
    assert counted.reminders == [LOOK_GRACE]
    assert counted.report_after(LOOK_GRACE - 1) == 1
    assert counted.report_after(1) == LOOK_GRACE
    for each in given[:2]:
        each.mark_seen()
    assert not caplog.messages
    assert counted.report_after(LOOK_GRACE) == float("inf")
    assert [(each.kplpy["count"], each.kplpy["codes"]) for each in caplog.records] == [(3, {"AccessDenied": 3})]  # type: ignore[attr-defined]


def test_failures_that_are_looked_at_in_time_are_never_logged(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted(clock)
    for _ in range(100):  # one after the other, each seen a second later
        (given,) = counted.give(1)
        counted.report_after(1)
        given.mark_seen()
    counted.report_after(LOOK_GRACE)
    counted.failures.close()
    assert not caplog.messages


def test_unseen_failures_are_logged_by_interval_and_in_total(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted(clock)
    for second in range(2 * int(INTERVAL)):
        counted.give(10, f"tenant-{second % 3}")
        seen = counted.give(1)
        counted.report_after(1)
        seen[0].mark_seen()
    assert len(caplog.records) == 2
    counted.failures.close()
    counted.failures.close()
    *lines, last = [each.kplpy for each in caplog.records]  # type: ignore[attr-defined]
    assert last["event"] == "closed_with_unseen_failures"
    assert last["count"] == 20 * INTERVAL
    assert last["stream"].endswith(" and 2 more streams")
    assert {each["event"] for each in lines} == {"records_failed_unseen"}
    assert sum(each["count"] for each in lines) <= last["count"]


def test_too_many_codes_are_counted_together(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted(clock)
    for number in range(3 * MAX_CODES):
        counted.failures.count(Failed(Reason.REJECTED, "no", code=f"Code{number}"), "orders", ())
    counted.failures.close()
    (line,) = caplog.records
    assert line.kplpy["count"] == 3 * MAX_CODES  # type: ignore[attr-defined]
    assert len(line.kplpy["codes"]) == MAX_CODES + 1  # type: ignore[attr-defined]


# --- causes ---


def test_many_streams_that_fail_for_one_cause_are_one_line(
    service: StubService, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        service.refuse[f"tenant-{number}"] = RequestError("AccessDeniedException", "not you", maybe_written=False)
    with Producer(record_max_buffered_time_ms=0, record_ttl_ms=500) as producer:
        for number in range(50):
            producer.put_record(f"tenant-{number}", b"x", "k").add_done_callback(lambda _: None)
        producer.flush(timeout=PATIENCE)
        (first,) = lines.first(1)
    (_, last) = lines.first(2)
    assert first.endswith(": not you (PutRecords: AccessDeniedException; failed requests: 1)")
    assert first.startswith("WARNING tenant-")
    assert " and 49 more streams: not you (PutRecords: AccessDeniedException; failed requests: " in last


def test_a_cause_is_logged_within_half_a_second_of_the_first_failing_request(
    service: StubService, caplog: pytest.LogCaptureFixture
) -> None:
    failed_at: list[float] = []
    put_records = service.put_records

    def failing(name: str, arn: str | None, request: Request) -> Exchange:
        exchange = put_records(name, arn, request)
        failed_at.append(time.time())
        return exchange

    service.put_records = failing  # type: ignore[method-assign]
    with Producer(record_max_buffered_time_ms=0) as producer:
        producer.put_record("bad", b"x", "k").exception(PATIENCE)
    assert caplog.records[0].levelname == "WARNING"
    assert caplog.records[0].created - failed_at[0] < 0.5


def test_events_held_back_are_logged_after_the_interval(
    service: StubService, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limited_log, "INTERVAL", 0.2)
    with Producer(record_max_buffered_time_ms=0) as producer:
        for number in range(5):
            producer.put_record("bad", b"secret", str(number)).exception(PATIENCE)
        lines.wait_for(lambda seen: sum(int(line.rsplit(" ", 1)[1][:-1]) for line in seen) == 5)


def test_a_services_message_cannot_forge_lines_or_show_passwords(service: StubService, lines: Lines) -> None:
    text = "no\nERROR forged \x1b[2J at http://me:secret@proxy:3128/"
    service.refuse["bad"] = RequestError("Invalid\nArgumentException", text, maybe_written=False)
    with Producer(record_max_buffered_time_ms=0, record_ttl_ms=300) as producer:
        error = producer.put_record("bad", b"x", "k").exception(PATIENCE)
    assert isinstance(error, RecordFailedError)
    shown = r"no\nERROR forged \x1b[2J at http://***@proxy:3128/"
    assert shown in str(error)
    assert shown in str(error.__cause__)
    assert {each.error_message for each in error.attempts} == {shown}
    assert all(shown in line and r"Invalid\nArgument" in line for line in lines.all())


# --- on_failure ---


def test_on_failure_gets_every_failed_record_and_nothing_is_logged(service: StubService, lines: Lines) -> None:
    failed: list[RecordFailedError] = []
    threads: set[str] = set()

    def on_failure(error: RecordFailedError) -> None:
        failed.append(error)
        threads.add(threading.current_thread().name)

    with Producer(on_failure=on_failure) as producer:
        for number in range(20):
            producer.put_record("bad", b"%d" % number, "k")
            producer.put_record("good", b"x", "k")
        producer.flush(timeout=PATIENCE)
        assert sorted(int(each.record.data) for each in failed if each.record) == list(range(20))  # when flush returns
    assert all(isinstance(each, RejectedError) for each in failed)
    assert {each.stream for each in failed} == {"bad"}
    assert all(each.attempts and str(each) for each in failed)
    assert all(name.startswith("kplpy-") for name in threads)
    assert not [line for line in lines.all() if line.startswith("ERROR")]


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_an_on_failure_that_raises_stops_nothing(service: StubService, lines: Lines, kind: type[BaseException]) -> None:
    calls = []

    def on_failure(error: RecordFailedError) -> None:
        calls.append(error)
        raise kind("the user's own mistake")

    with Producer(on_failure=on_failure, record_max_buffered_time_ms=0) as producer:
        for number in range(5):
            with pytest.raises(RejectedError):
                producer.put_record("bad", b"x", str(number)).result(PATIENCE)
        producer.put_record("good", b"x", "k").result(PATIENCE)
        producer.flush(timeout=PATIENCE)
        assert producer.outstanding_records == 0
    assert len(calls) == 5
    errors = [line for line in lines.all() if line.startswith("ERROR")]
    assert errors == [
        f"ERROR {n} calls of on_failure raised; the latest: {kind.__name__}: the user's own mistake" for n in (1, 4)
    ]


@pytest.mark.parametrize("flushed", [True, False], ids=["before close", "while closing"])
def test_on_failure_may_put_again(service: StubService, flushed: bool) -> None:
    """on_failure puts the failed record on another stream, on kplpy's own thread."""
    letters = []

    def on_failure(error: RecordFailedError) -> None:
        assert error.record is not None
        letters.append(producer.put_record("letters", error.record.data, error.record.partition_key))

    with Producer(on_failure=on_failure, max_buffered_records=100) as producer:
        for number in range(50):
            producer.put_record("bad", b"%d" % number, str(number))
        if flushed:
            producer.flush(timeout=PATIENCE)
    assert len(letters) == 50
    assert {each.result(0).shard_id for each in letters} == {"shard-0"}
    assert sorted(int(each.data) for each in service.sent("letters")) == list(range(50))
    assert producer.outstanding_records == 0


@pytest.mark.parametrize("close", [lambda producer: producer.close(), lambda producer: asyncio.run(producer.aclose())])
def test_a_chain_of_callbacks_may_put_while_it_closes(service: StubService, close: Callable[[Producer], None]) -> None:
    chain: list[RecordFuture] = []

    def next_one(future: RecordFuture) -> None:
        if len(chain) < 30:
            chain.append(producer.put_record("good", b"%d" % len(chain), "k"))
            chain[-1].add_done_callback(next_one)

    producer = Producer(record_max_buffered_time_ms=0)
    service.hold()
    producer.put_record("good", b"first", "k").add_done_callback(next_one)
    closing = threading.Thread(target=close, args=(producer,))
    closing.start()
    deadline = time.monotonic() + PATIENCE
    while True:  # until close() has begun, and puts of other threads are refused
        try:
            producer.put_record("good", b"late", "k")
        except ProducerClosedError:
            break
        assert time.monotonic() < deadline
        time.sleep(0.001)
    service.let_go()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert len(chain) == 30
    assert all(each.done() for each in chain)
    assert producer.outstanding_records == 0
    assert [each.data for each in service.sent() if each.data.isdigit()] == [b"%d" % n for n in range(30)]


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_done_callback_that_raises_stops_nothing(service: StubService, kind: type[BaseException]) -> None:
    def bad(_: object) -> None:
        raise kind("the user's own mistake")

    with Producer(record_max_buffered_time_ms=0) as producer:
        for name in ("good", "bad"):
            futures = [producer.put_record(name, b"x", str(number)) for number in range(30)]
            for future in futures:
                future.add_done_callback(bad)
        producer.flush(timeout=PATIENCE)
        producer.put_record("good", b"x", "k").result(PATIENCE)
        assert producer.outstanding_records == 0


# --- RateLimitedLog alone ---


def test_the_first_event_is_logged_at_once_and_the_rest_counted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    repeated = RateLimitedLog(logging.getLogger("kplpy.test"), "on_failure_raised")
    for number in range(3):
        repeated.say(f"n{number}")
    clock.now += INTERVAL
    repeated.say("n3")
    repeated.close()
    repeated.say("n4")
    repeated.close()
    repeated.close()
    assert caplog.messages == [
        "1 calls of on_failure raised; the latest: n0",
        "3 calls of on_failure raised; the latest: n3",
        "1 calls of on_failure raised; the latest: n4",
    ]
