"""Whatever raises within kplpy, and whichever thread dies: every future ends, and the producer goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kplpy import Producer, RecordFailedError, RecordFuture
from kplpy.aws.transport import KinesisTransport
from kplpy.core.pipeline import Pipeline
from kplpy.local import LocalKinesis
from kplpy.runtime.answering import Answering
from kplpy.runtime.engine import Engine
from kplpy.runtime.sending import Sending
from tests.integration.reading import read_all, wait_until

PATIENCE = 30.0
STEPS = [
    *((Pipeline, name) for name in "accept next_request answered tick next_wakeup take_completions settled".split()),
    *((Pipeline, name) for name in "wants_listing listing_started listed flush".split()),
    (Answering, "_answer"),
    (KinesisTransport, "put_records"),
    (KinesisTransport, "list_shards"),
    (Sending, "send_one"),
    (Engine, "visit_due"),
]


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=2, limits=False) as running:
        yield running


def break_step(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, error: BaseException, when: Callable[[int], bool]
) -> list[int]:
    """Raise in the calls for whose number `when` is true, before or after the step has been done, in turn."""
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


def in_order(producer: Producer) -> bool:
    (stream,) = producer._engine.streams.values()
    return (
        producer.outstanding_records == producer.outstanding_bytes == 0
        and stream.held_records == stream.held_bytes == 0
        and not stream.senders
        and not stream.being_answered
        and stream.broken is None
        and stream.pipeline.outstanding == 0
        and not any(stream.pipeline.leftovers().values())
    )


@pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError()], ids=["bug", "memory"])
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_an_error_anywhere_costs_no_record(
    kinesis: LocalKinesis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    name: str,
    at: int,
    error: BaseException,
) -> None:
    if at > 1 and name in ("listing_started", "listed", "list_shards"):
        pytest.skip("shards are listed once")
    calls = break_step(monkeypatch, owner, name, error, lambda number: number == at)
    with caplog.at_level(logging.ERROR), Producer(endpoint_url=kinesis.endpoint_url) as producer:
        futures: list[RecordFuture] = []
        # Until the step has been broken: some are taken once for each burst.
        while len(calls) < at or len(futures) < 300:
            futures += [
                producer.put_record("test", b"%d" % n, f"key {n}") for n in range(len(futures), len(futures) + 100)
            ]
            producer.flush(timeout=PATIENCE)
            assert len(futures) < 10_000
        assert all(future.result(PATIENCE).shard_id for future in futures)
        wait_until(lambda: in_order(producer))
    assert {record.data for record in read_all(kinesis)} == {b"%d" % n for n in range(len(futures))}
    if name != "list_shards":
        # Said by the thread that it struck, which nobody waits for.
        wait_until(lambda: f"{type(error).__name__}: {error}" in caplog.text)


def raise_a_bug(*_: object) -> None:
    raise ValueError("a bug")


@pytest.mark.parametrize("name", ["accept", "answered", "next_wakeup", "take_completions", "tick"])
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
    lines = [record for record in caplog.records if "errors within kplpy" in record.message]
    assert 1 <= len(lines) <= 3  # at first, and what has come since; not each one
    assert lines[0].exc_info


def test_ctrl_c_while_records_are_drained(kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised from the put; the records staged before it are delivered."""
    putting = threading.current_thread()
    original = Pipeline.accept
    struck: list[bool] = []

    def accept(self: Pipeline, items: Any, now: float) -> None:
        if threading.current_thread() is putting and len(struck) < 5:
            struck.append(True)
            if len(struck) % 2:
                original(self, items, now)
            raise KeyboardInterrupt
        original(self, items, now)

    monkeypatch.setattr(Pipeline, "accept", accept)
    futures: list[RecordFuture] = []
    interrupted = 0
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:
        while len(struck) < 5:
            try:
                futures.append(producer.put_record("test", b"%d" % len(futures), "k"))
            except KeyboardInterrupt:
                interrupted += 1
        assert interrupted == 5
        assert all(future.result(PATIENCE).shard_id for future in futures)
        wait_until(lambda: in_order(producer))
    assert {record.data for record in read_all(kinesis)} >= {b"%d" % n for n in range(len(futures))}


def test_a_scheduler_that_dies_is_started_again(kinesis: LocalKinesis) -> None:
    """It outlives what strikes it; even so, should it end, a put sees to it."""
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:
        producer.put_record("test", b"0", "k").result(PATIENCE)
        crew = producer._engine._crew
        first = crew._scheduler
        assert first is not None
        crew.stopping = True
        crew.ring()
        first.join(PATIENCE)
        assert not first.is_alive()
        crew.stopping = False
        assert producer.put_record("test", b"1", "k").result(PATIENCE).shard_id
        assert crew._scheduler is not first
    assert [record.data for record in read_all(kinesis)] == [b"0", b"1"]


def test_a_failed_record_says_what_broke(kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "answered", raise_a_bug)
    with Producer(endpoint_url=kinesis.endpoint_url, close_timeout_ms=2000) as producer:
        error = producer.put_record("test", b"x", "k").exception(PATIENCE)
    assert isinstance(error, RecordFailedError)
    assert isinstance(error.cause, ValueError)
    assert "ValueError: a bug" in str(error)
    assert error.possible_duplicate
    assert error.record is not None
    assert error.record.data == b"x"
