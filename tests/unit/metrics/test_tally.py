"""Tests that sums over records are the same with and without their batches."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kplpy.core.batching.limiter import Limiter
from kplpy.core.batching.shard_queue import Batch, ShardQueue, batch_of
from kplpy.core.outcome import Completion, Delivered
from kplpy.core.record import PendingRecord, SendAttempt
from kplpy.metrics.histogram import Histogram
from kplpy.metrics.tally import Ages, Tally, tally
from tests.core_helpers import POLICY, item

NOW = 2000.0
QUEUE = ShardQueue(None, POLICY, Limiter(1.0, 0.0))
FINAL = SendAttempt(0.0, NOW - 0.5, NOW)


def items(records: list[tuple[float, int]]) -> list[PendingRecord]:
    return [item(b"x" * size, arrival=arrival) for arrival, size in records]


def completed(batches: list[list[PendingRecord]], known: bool) -> list[Completion]:
    outcome = Delivered("shardId-000000000000", "1", FINAL)
    return [Completion(each, outcome, 0, batches=[batch_of(QUEUE, each)] if known else ()) for each in batches]


def alone(batches: list[list[PendingRecord]]) -> list[Completion]:
    outcome = Delivered("shardId-000000000000", "1", FINAL)
    return [Completion(each, outcome, 0, batches=[Batch.alone(QUEUE, one) for one in each]) for each in batches]


def counted(group: list[Completion]) -> tuple[Tally, Histogram]:
    ages = Ages(NOW)
    return tally(group, ages), ages.histogram()


records = st.lists(st.tuples(st.floats(1000.0, NOW - 1), st.integers(0, 300)), min_size=1, max_size=20)


@given(st.lists(records, min_size=1, max_size=4), st.booleans())
def test_sums_and_extremes(batches: list[list[tuple[float, int]]], in_order: bool) -> None:
    groups = [items(sorted(each) if in_order else each) for each in batches]
    known, unknown = counted(completed(groups, known=True)), counted(completed(groups, known=False))
    assert known == unknown == counted(alone(groups))
    found, histogram = known
    arrivals = [arrival for each in batches for arrival, _ in each]
    assert found.arrival_sum == pytest.approx(sum(arrivals), rel=1e-12)
    assert (found.first, found.last, histogram.count) == (min(arrivals), max(arrivals), len(arrivals))


def test_times_to_answers_are_counted_alike_at_once_and_merged() -> None:
    arrivals = [NOW - 0.001 * n**1.5 for n in range(2 * Ages.MANY, 0, -1)]
    together, apart = Ages(NOW), Ages(NOW)
    together.add(array("d", arrivals))
    for start in range(7):
        apart.add(array("d", arrivals[start::7]))
    assert together.histogram() == apart.histogram()
    assert together.histogram().count == len(arrivals)


@given(records)
def test_records_that_were_sent_before_are_kept_apart(some: list[tuple[float, int]]) -> None:
    all_of_them = items(sorted(some))
    all_of_them[0].tries = (SendAttempt(0.0, NOW - 1, NOW - 1, "Throttled"),)
    found, _ = counted(completed([all_of_them], known=True))
    assert found.retried == all_of_them[:1]
    assert found.fresh == all_of_them[1:]
    assert found.records == len(some)


def test_the_data_of_lone_records_with_headers_counts_without_the_aggregate_around_it() -> None:
    group = [[item(b"x" * size, arrival=1.0, headers={"a": "b"}) for size in (3, 5)]]
    found, _ = counted(alone(group))
    assert (found.data, found.smallest, found.largest) == (8, 3, 5)
