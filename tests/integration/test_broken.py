"""An exception in any step of kplpy, or the end of a thread: every future ends, and the producer goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kplpy import Producer, RecordFailedError, RecordFuture
from kplpy.aws.kinesis.transport import KinesisTransport
from kplpy.core.pipeline import Pipeline
from kplpy.local import LocalKinesis
from kplpy.runtime.scheduler import Scheduler
from kplpy.runtime.sender import Sender
from kplpy.runtime.stream import Stream
from tests.inside import answer_step, call_after_recovery, is_idle, scheduler_of, the_stream, threads_of
from tests.integration.reading import read_all, wait_until
from tests.stub_service import install

PATIENCE = 30.0
STEPS = [
    *(
        (Pipeline, name)
        for name in "accept next_request request_ended tick next_wakeup take_completions settled".split()
    ),
    *((Pipeline, name) for name in "wants_listing listing_started listing_succeeded flush".split()),
    answer_step(),
    (KinesisTransport, "put_records"),
    (KinesisTransport, "list_shards"),
    (Sender, "send_one"),
    (Scheduler, "visit_due"),
]


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=2, limits=False) as running:
        yield running


def break_step(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, error: BaseException, when: Callable[[int], bool]
) -> list[int]:
    """Raise in the calls for whose number `when` returns True, alternately before and after the step is done."""
    original = getattr(owner, name)
    calls: list[int] = []

    def broken(*args: Any, **kwargs: Any) -> Any:
        calls.append(len(calls) + 1)
        number = len(calls)
        if when(number) and number % 2:
            raise error
        result = original(*args, **kwargs)
        if when(number):
            raise error
        return result

    monkeypatch.setattr(owner, name, broken)
    return calls


@pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError()], ids=["bug", "memory"])
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_an_error_anywhere_fails_what_is_in_the_pipeline_at_most(
    kinesis: LocalKinesis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    name: str,
    at: int,
    error: BaseException,
) -> None:
    if at > 1 and name in ("listing_started", "listing_succeeded", "list_shards"):
        pytest.skip("shards are listed once")
    calls = break_step(monkeypatch, owner, name, error, lambda number: number == at)
    with caplog.at_level(logging.ERROR), Producer(endpoint_url=kinesis.endpoint_url) as producer:
        futures: list[RecordFuture] = []
        # Until the step has raised, because some steps run once a burst.
        while len(calls) < at or len(futures) < 300:
            futures += [
                producer.put_record("test", b"%d" % n, f"key {n}") for n in range(len(futures), len(futures) + 100)
            ]
            producer.flush(timeout=PATIENCE)
            assert len(futures) < 10_000
        for future in futures:
            failure = future.exception(PATIENCE)
            assert failure is None or f"an error within kplpy: {type(error).__name__}" in str(failure)
        wait_until(lambda: is_idle(producer))
        delivered = {b"%d" % n for n, future in enumerate(futures) if future.exception(0) is None}
        producer.put_record("test", b"afterwards", "k").result(PATIENCE)
    assert {record.data for record in read_all(kinesis)} >= delivered
    if owner not in (Pipeline, answer_step()[0]):  # the pipeline is not broken
        assert len(delivered) == len(futures)
    if name != "list_shards":
        # Logged by the thread that was interrupted, which the test does not wait for.
        wait_until(lambda: f"{type(error).__name__}: {error}" in caplog.text)


def raise_a_bug(*_: object) -> None:
    raise ValueError("a bug")


@pytest.mark.parametrize("name", ["accept", "request_ended", "next_wakeup", "take_completions", "tick"])
def test_an_error_that_stays_fails_the_records(
    kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    monkeypatch.setattr(Pipeline, name, raise_a_bug)
    producer = Producer(endpoint_url=kinesis.endpoint_url, close_timeout_ms=2000)
    with caplog.at_level(logging.ERROR):
        futures = [producer.put_record("test", b"x", f"key {n}") for n in range(200)]
        for future in futures:
            assert isinstance(future.exception(PATIENCE), Exception)
        producer.close()
    lines = [record for record in caplog.records if "internal errors of kplpy" in record.message]
    assert 1 <= len(lines) <= 3  # the first, and one for those since; not one for each
    assert lines[0].exc_info


@pytest.mark.parametrize("name", ["accept", "flush", "unflushed", "next_wakeup"])
def test_a_flush_ends_though_an_error_stays(
    kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    monkeypatch.setattr(Pipeline, name, raise_a_bug)
    with caplog.at_level(logging.ERROR), Producer(endpoint_url=kinesis.endpoint_url, close_timeout_ms=2000) as producer:
        futures = [producer.put_record("test", b"x", f"key {n}") for n in range(200)]
        producer.flush(timeout=PATIENCE)
        assert all(future.done() for future in futures)


@pytest.mark.parametrize("name", ["fail_all", "next_wakeup"])
def test_a_close_fails_the_rest_though_an_error_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    service = install(monkeypatch)
    service.hold()
    with caplog.at_level(logging.CRITICAL):
        producer = Producer(record_max_buffered_time_ms=60_000, close_timeout_ms=10)
        futures = [producer.put_record(stream, b"x", "k") for stream in ("one", "two")]
        monkeypatch.setattr(Pipeline, name, raise_a_bug)
        producer.close()
    for future in futures:
        assert "an error within kplpy: ValueError: a bug" in str(future.exception(0))
    service.let_go()


def test_a_put_never_runs_the_pipeline(kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a signal, a Ctrl-C or a `__del__` on an application thread cannot interrupt the pipeline half-way."""
    seen: set[str] = set()
    for owner, name in [step for step in STEPS if step[0] is Pipeline]:
        original = getattr(owner, name)

        def noted(*args: Any, original: Callable[..., Any] = original, **kwargs: Any) -> Any:
            seen.add(threading.current_thread().name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)
    with Producer(endpoint_url=kinesis.endpoint_url, max_buffered_records=2500, hot_partition_keys=10) as producer:
        for _ in range(5000):
            producer.put_record("test", b"x", "k")
        producer.put_records("test", [(b"x", "k")] * 3000)
        producer.hot_keys()
        producer.flush(timeout=PATIENCE)
        producer.put_record("test", b"x", "k")
    assert seen <= {"kplpy-scheduler", "kplpy-sender", "kplpy-callbacks"}


def test_a_scheduler_that_dies_is_started_again(kinesis: LocalKinesis) -> None:
    """Exceptions do not end the scheduler thread. If it ends all the same, a put starts it again."""
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:
        producer.put_record("test", b"0", "k").result(PATIENCE)
        threads, first = threads_of(producer), scheduler_of(producer)
        threads.stopping = True
        threads.wake()
        first.join(PATIENCE)
        assert not first.is_alive()
        threads.stopping = False
        assert producer.put_record("test", b"1", "k").result(PATIENCE).shard_id
        assert scheduler_of(producer) is not first
    assert [record.data for record in read_all(kinesis)] == [b"0", b"1"]


def test_a_failed_record_says_what_broke(kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "request_ended", raise_a_bug)
    with Producer(endpoint_url=kinesis.endpoint_url, close_timeout_ms=2000) as producer:
        error = producer.put_record("test", b"x", "k").exception(PATIENCE)
    assert isinstance(error, RecordFailedError)
    assert isinstance(error.cause, ValueError)
    assert "ValueError: a bug" in str(error)
    assert error.possible_duplicate
    assert error.record is not None
    assert error.record.data == b"x"


@pytest.mark.parametrize("ending", ["flush", "close"])
def test_a_flush_and_an_end_cover_what_is_staged_though_the_stream_breaks_then(
    kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Another thread marks it as broken between the recovery and the drain."""
    broken: list[str] = []

    def mark_as_broken(stream: Stream) -> None:
        if stream.staging and not broken:
            broken.append(stream.name)
            stream.mark_broken(ValueError("a bug"))

    with kinesis.producer(record_max_buffered_time_ms=3_600_000, record_ttl_ms=None, close_timeout_ms=0) as producer:
        producer.connect("test")  # a sender that lists the shards would drain, and recovers nothing
        first = producer.put_record("test", b"first", "k")
        stream = the_stream(producer)
        wait_until(lambda: not stream.staging and not stream.wake_requested and not stream.ready, PATIENCE)
        call_after_recovery(monkeypatch, mark_as_broken)
        second = producer.put_record("test", b"second", "k")
        if ending == "flush":
            producer.flush(timeout=PATIENCE)
            assert first.done()
            assert second.done()
    assert broken
    assert first.done()
    assert second.done()
