"""Recovery of a stream: drained records without an outcome fail once, staged records wait for the new pipeline."""

from __future__ import annotations

import pytest

from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.pipeline import Pipeline
from kplpy.core.record import SendAttempt
from kplpy.errors import RecordFailedError
from kplpy.futures.record_future import RecordFuture
from kplpy.futures.resolve import resolve
from kplpy.hash_keys import HashKeys
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.delivery import Delivery
from kplpy.runtime.meter import NoMeter
from kplpy.runtime.put_target import RECORD_OVERHEAD
from kplpy.runtime.recent_errors import RecentErrors
from kplpy.runtime.recovery import recover
from kplpy.runtime.stream import Flush, Stream
from kplpy.validation import Checks
from tests.core_helpers import POLICY
from tests.inside import outcome_of

SIZE = 2 + RECORD_OVERHEAD


class Broken:
    """A broken stream: 100 records from two drains, of which the first is delivered, and one staged record."""

    def __init__(self) -> None:
        self.buffer = Buffer(10_000, 64 << 20)
        self.reported: list[RecordFailedError] = []
        self.delivery = Delivery(self.buffer, self.reported.append, NoMeter(), RecentErrors(), lambda _: None)
        self.stream = Stream("orders", None, Pipeline(POLICY, lambda: 0.5), Checks(1 << 20, HashKeys()), lambda: None)
        self.records = [RecordFuture(self.stream.origin, b"x", "k", None, 0, 1.0) for _ in range(101)]
        self.stage(self.records[:30])
        self.stage(self.records[30:100])
        resolve(self.records[:1], Delivered("shardId-000000000000", "1", SendAttempt(1.0, 1.0, 1.0)))
        self.buffer.release(self.stream, 1, SIZE)
        self.buffer.admit(self.stream, self.records[100], 0, SIZE)
        self.flush = Flush(lambda: None)
        self.stream.flushes.append(self.flush)
        self.stream.broken = ValueError("a bug")

    def stage(self, records: list[RecordFuture]) -> None:
        self.stream.staging.extend(records)
        taken = self.stream.take_staged()
        self.buffer.charge_drained(self.stream, len(taken), len(taken) * SIZE)
        self.stream.pipeline.accept(taken, 1.0)

    def recover(self) -> list[RecordFuture] | None:
        """Recover the stream. Return the records whose outcome this set; None: there was nothing to recover."""
        found = recover(self.stream, Pipeline(POLICY, lambda: 0.5), self.buffer, self.delivery)
        if found is None:
            return None
        results, callbacks = found
        self.delivery.complete(self.stream, results, callbacks)
        return [each for each in results.items() if isinstance(each, RecordFuture)]


def test_the_records_without_an_outcome_fail_in_their_order() -> None:
    broken = Broken()
    old = broken.stream.pipeline
    assert broken.recover() == broken.records[1:100]
    assert broken.stream.pipeline is not old
    assert [broken.records[0].exception(0), broken.records[100].done()] == [None, False]
    for each in broken.records[1:100]:
        outcome = outcome_of(each)
        assert isinstance(outcome, Failed)
        assert (outcome.reason, outcome.message) == (Reason.BROKEN, "an error within kplpy: ValueError: a bug")
        assert each.maybe_written, "it may have been sent"
    assert [each.record is not None for each in broken.reported] == [True] * 99


def test_staged_records_stay_charged_and_go_to_the_new_pipeline() -> None:
    broken = Broken()
    broken.recover()
    assert (broken.buffer.records, broken.buffer.bytes) == (1, SIZE)
    broken.stage([])
    assert broken.stream.pipeline.outstanding == 1
    assert (broken.buffer.records, broken.buffer.bytes) == (1, SIZE)


def test_flushes_that_waited_end() -> None:
    broken = Broken()
    broken.recover()
    assert broken.flush.ended


def test_a_flush_whose_caller_could_not_be_notified_is_notified_by_the_recovery() -> None:
    broken = Broken()
    notified: list[bool] = []

    def notify() -> None:
        notified.append(True)
        if len(notified) == 1:
            raise MemoryError

    broken.stream.flushes.append(Flush(notify))
    try:
        broken.recover()
    except MemoryError:
        pass
    assert broken.recover() == []
    assert notified == [True, True]
    assert broken.stream.flushes == []


def test_a_requested_flush_begins_with_the_drain_after_it_and_waits_for_its_records() -> None:
    broken = Broken()
    broken.recover()
    flush = Flush(lambda: None)
    broken.stream.request_flush(flush)
    broken.stage([])
    broken.stream.begin_flushes(1, 1.0)
    assert (flush.total, flush.remaining, flush.ended) == (1, 1, False)
    assert (list(broken.stream.requested_flushes), broken.stream.flushes) == ([], [flush])


def test_a_flush_whose_begin_failed_stays_requested() -> None:
    broken = Broken()
    broken.recover()
    flush = Flush(lambda: None)
    broken.stream.request_flush(flush)
    pipeline = broken.stream.pipeline
    broken.stream.pipeline = None  # type: ignore[assignment]  # so that the pipeline raises
    with pytest.raises(AttributeError):
        broken.stream.begin_flushes(1, 1.0)
    broken.stream.pipeline = pipeline
    assert list(broken.stream.requested_flushes) == [flush]
    broken.stream.abandon_flushes()
    assert flush.ended
    assert (list(broken.stream.requested_flushes), broken.stream.flushes) == ([], [])


def test_the_totals_go_on() -> None:
    broken = Broken()
    broken.recover()
    totals = broken.stream.pipeline.totals
    assert (totals.user_records_accepted, totals.user_records_failed) == (100, 99)


def test_a_stream_that_another_thread_recovered_is_left_alone() -> None:
    broken = Broken()
    broken.recover()
    fresh = broken.stream.pipeline
    assert broken.recover() is None
    assert broken.stream.pipeline is fresh


def test_an_error_that_interrupts_recovery_leaves_the_rest_to_the_next_one() -> None:
    broken = Broken()
    original = broken.delivery.resolve

    def interrupted(*args: object) -> list[RecordFuture]:
        broken.delivery.resolve = original  # type: ignore[method-assign]
        raise MemoryError

    broken.delivery.resolve = interrupted  # type: ignore[method-assign, assignment]
    try:
        broken.recover()
    except MemoryError:
        pass
    assert not broken.records[50].done()
    assert broken.recover() == broken.records[1:100]
    assert (broken.buffer.records, broken.buffer.bytes) == (1, SIZE)
