"""Who is told of a failed record: on_failure, the future's owner, and when neither looks, the log."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from kplpy import Producer, ProducerClosedError, RecordFailedError, RecordFuture, RejectedError, repeats
from kplpy.core.retry import RequestError
from kplpy.repeats import INTERVAL, Repeats
from tests.stub_service import PATIENCE, StubService, install

REFUSAL = RequestError("InvalidArgumentException", "I do not like it", maybe_written=False)


class Lines(logging.Handler):
    """What kplpy logs, and waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self._lines.append(f"{record.levelname} {record.getMessage()}")
            self._changed.notify_all()

    def first(self, count: int) -> list[str]:
        """Once there are so many; not more than these."""
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
    monkeypatch.setattr(repeats, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


# --- nobody looks ---


def fail_unseen(producer: Producer, count: int) -> None:
    """So many records fail, each in a request of its own, and their futures are dropped unread."""
    for number in range(count):
        future = producer.put_record("bad", b"secret", str(number))
        deadline = time.monotonic() + PATIENCE
        while not future.done():  # without wait(), which would count as looking
            assert time.monotonic() < deadline
            time.sleep(0.001)
        del future
    producer.flush(timeout=PATIENCE)


def test_unseen_failures_are_logged_once_an_interval_with_their_count(
    service: StubService, lines: Lines, clock: Clock
) -> None:
    latest = "the latest: rejected: InvalidArgumentException: I do not like it"
    with Producer(record_max_buffered_time_ms=0) as producer:
        fail_unseen(producer, 1)
        assert lines.first(1) == [f"ERROR 1 records failed, and nobody looked at their futures; {latest}"]
        clock.now += INTERVAL - 1
        fail_unseen(producer, 4)
        clock.now += 2
        fail_unseen(producer, 1)
        assert lines.first(2)[1] == f"ERROR 5 records failed, and nobody looked at their futures; {latest}"
        fail_unseen(producer, 3)
    # what is left unsaid is said at the end
    assert lines.first(3)[2] == f"ERROR 3 records failed, and nobody looked at their futures; {latest}"


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
    gc.collect()
    assert lines.first(0) == []


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
        assert sorted(int(each.record.data) for each in failed if each.record) == list(range(20))  # before flush ends
    assert {type(each) for each in failed} == {RejectedError}
    assert {each.stream for each in failed} == {"bad"}
    assert all(each.attempts and str(each) for each in failed)
    assert all(name.startswith("kplpy-") for name in threads)
    assert lines.first(0) == []


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
        assert lines.first(1) == [f"ERROR 1 on_failure raised; the latest: {kind.__name__}: the user's own mistake"]
    assert len(calls) == 5
    assert lines.first(2)[1] == f"ERROR 4 on_failure raised; the latest: {kind.__name__}: the user's own mistake"


@pytest.mark.parametrize("flushed", [True, False], ids=["before close", "while closing"])
def test_on_failure_may_put_again(service: StubService, flushed: bool) -> None:
    """Dead letters: the failed record goes to another stream, from kplpy's own thread."""
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
    while True:  # until the close has begun, which shows in that the others' puts are refused
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


# --- Repeats by itself ---


def test_repeats_says_the_first_at_once_and_counts_the_rest(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    repeated = Repeats(logging.getLogger("kplpy.test"), "on_failure_raised")
    for number in range(3):
        repeated.say(f"n{number}")
    clock.now += INTERVAL
    repeated.say("n3")
    repeated.close()
    repeated.say("n4")
    repeated.close()
    repeated.close()
    assert caplog.messages == [
        "1 on_failure raised; the latest: n0",
        "3 on_failure raised; the latest: n3",
        "1 on_failure raised; the latest: n4",
    ]
