"""The bisection: parts that are sent together, large records first, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from kplpy.core import policy as rules
from kplpy.core.batching.shard_queue import Batch, ShardQueue, batch_of
from kplpy.core.record import PendingRecord
from kplpy.core.results.bisection import Bisection
from tests.core_helpers import item, queue

ROUND = 0.02  # seconds

IsBad = Callable[[PendingRecord], bool]


class Found:
    """The outcomes of one request's records."""

    def __init__(self) -> None:
        self.given_up: list[int] = []
        self.taken: list[int] = []
        self.requests = 1
        self.rounds = 0


def bisect(batches: list[Batch], is_bad: IsBad, ordered: bool = False) -> Found:
    """Play the service, which refuses requests with a bad record. A round sends all parts that may go."""
    bisection, found = Bisection(ordered), Found()
    found.given_up += numbers(bisection.refused(batches, 0.0, conclusive=True))
    while bisection:
        sent: list[list[Batch]] = []
        while bisection.has_part(len(sent), ahead := queues(sent if ordered else [])):
            sent.append(bisection.next_part(ahead, math.inf))
        assert sent
        assert len(sent) <= rules.BISECTION_PARTS
        found.rounds += 1
        found.requests += len(sent)
        for part in sent:
            if any(is_bad(each) for batch in part for each in batch.items):
                found.given_up += numbers(bisection.refused(part, found.rounds * ROUND, conclusive=True))
            else:
                bisection.reset()
                found.taken += numbers(part)
    return found


def queues(parts: list[list[Batch]]) -> set[ShardQueue]:
    return {batch.queue for part in parts for batch in part}


def numbers(batches: list[Batch]) -> list[int]:
    return [each.number for batch in batches for each in batch.items]


def some_batches(count: int, size: int, data: Callable[[int], bytes] = lambda number: b"%d" % number) -> list[Batch]:
    """Return `count` batches for as many shards, of `size` records each, with ascending numbers."""
    batches = []
    for first in range(0, count * size, size):
        items = [item(data(first + place)) for place in range(size)]
        for place, each in enumerate(items):
            each.number = first + place
        batches.append(batch_of(queue(), items))
    return batches


@pytest.mark.parametrize("bad", [0, 1, 250, 498, 499])
def test_one_invalid_record_is_found_in_a_few_rounds(bad: int) -> None:
    found = bisect(some_batches(500, 1), lambda each: each.number == bad)
    assert found.given_up == [bad]
    assert sorted(found.taken) == [number for number in range(500) if number != bad]
    assert found.rounds <= 4  # 3 with 512 records of the same size
    assert found.requests <= 1 + 4 * rules.BISECTION_PARTS


def test_an_invalid_record_is_found_within_an_aggregate() -> None:
    found = bisect(some_batches(20, 100), lambda each: each.number == 777)
    assert found.given_up == [777]
    assert len(found.taken) == 1999
    assert found.rounds <= 5
    assert found.requests <= 40


def test_a_large_record_is_suspected_first() -> None:
    def data(number: int) -> bytes:
        return bytes(900_000 if number == 321 else 300)

    found = bisect(some_batches(500, 1, data), lambda each: each.number == 321)
    assert found.given_up == [321]
    assert found.rounds == 1
    assert found.requests <= 4


def test_several_large_records_are_separated_from_small_ones_in_one_round() -> None:
    def data(number: int) -> bytes:
        return bytes(1_000_000 if number % 30 == 7 else 300)

    found = bisect(some_batches(120, 1, data), lambda each: each.number % 30 == 7)
    assert sorted(found.given_up) == [7, 37, 67, 97]
    assert found.rounds <= 2


@pytest.mark.parametrize("size", [1, 100])
def test_a_bisection_ends_when_everything_is_refused_for_the_grace(size: int) -> None:
    found = bisect(some_batches(500, size), lambda _: True)
    assert sorted(found.given_up) == list(range(500 * size))
    # At first several parts together, then one record at a time.
    assert found.requests <= 8 * rules.BISECTION_PARTS + rules.DENIED_GRACE / ROUND
    assert rules.DENIED_GRACE <= found.rounds * ROUND <= rules.DENIED_GRACE + 0.2


def test_a_request_that_is_refused_after_the_grace_costs_one_more() -> None:
    bisection = Bisection(ordered=False)
    now = 0.0
    while now < rules.DENIED_GRACE + 1:
        assert bisection.refused(some_batches(10, 1), now, conclusive=True) == []
        while bisection.has_part(0, set()):
            bisection.refused(bisection.next_part(set(), math.inf), now := now + ROUND, conclusive=True)
    batches = some_batches(10, 1)
    bisection.refused(batches, now, conclusive=True)
    assert len(bisection.refused(bisection.next_part(set(), math.inf), now + ROUND, conclusive=True)) == 10
    # Refusals so long ago do not count.
    bisection.refused(batches, now + 2 * rules.DENIED_MEMORY, conclusive=True)
    tried = bisection.next_part(set(), math.inf)
    assert bisection.refused(tried, now + 2 * rules.DENIED_MEMORY, conclusive=True) == tried


def test_a_row_of_bad_records_is_not_taken_for_a_fault_of_the_request() -> None:
    """Many large records are refused before any is accepted. The small ones after them are still tried."""
    batches = some_batches(64, 1, lambda number: bytes(300_000 - number)) + some_batches(5, 1)
    found = bisect(batches, lambda each: len(each.data) > 1000)
    assert len(found.given_up) == 64
    assert len(found.taken) == 5


def test_200_bad_records_in_a_row_cost_no_good_one() -> None:
    found = bisect(some_batches(230, 1, lambda _: b"of one size"), lambda each: 10 <= each.number < 210)
    assert sorted(found.given_up) == list(range(10, 210))
    assert len(found.taken) == 30


def test_while_all_is_refused_one_small_record_at_a_time_is_tried() -> None:
    bisection = Bisection(ordered=False)
    for batch in some_batches(rules.BISECTION_FAILURES, 1):
        assert bisection.refused([batch], 0.0, conclusive=True) == [batch]
    large, pair = some_batches(1, 1, lambda _: bytes(5000)) + some_batches(1, 2)
    assert bisection.refused([large, pair], 0.0, conclusive=True) == []
    assert bisection.has_part(0, set())
    assert not bisection.has_part(1, set())
    assert [each.items for each in bisection.next_part(set(), math.inf)] == [pair.items[:1]]
    bisection.reset()
    assert [batch.items for batch in bisection] == [large.items, pair.items[1:]]
    assert bisection.has_part(rules.BISECTION_PARTS - 1, set())
    assert not bisection.has_part(rules.BISECTION_PARTS, set())


def test_an_expected_refusal_says_nothing_about_other_records() -> None:
    bisection = Bisection(ordered=False)
    for batch in some_batches(3 * rules.BISECTION_FAILURES, 1):
        assert bisection.refused([batch], 0.0, conclusive=True, expected=True) == [batch]
    good, other = some_batches(2, 1)
    bisection.add_suspect(good)
    bisection.add_suspect(other)
    assert bisection.has_part(1, set())
    assert bisection.next_part(set(), math.inf) == [good]


def test_in_order_the_parts_of_an_aggregate_go_one_after_the_other() -> None:
    found = bisect(some_batches(3, 40), lambda each: each.number in (17, 18, 60), ordered=True)
    assert sorted(found.given_up) == [17, 18, 60]
    for first in range(0, 120, 40):  # the records of each shard
        own = [number for number in found.taken if first <= number < first + 40]
        assert own == sorted(own)
        assert len(own) == 40 - sum(first <= bad < first + 40 for bad in (17, 18, 60))


def test_in_order_a_small_record_is_tried_only_if_it_is_its_shards_first() -> None:
    bad = rules.BISECTION_FAILURES + 4
    found = bisect(some_batches(1, 50, lambda number: bytes(50 - number)), lambda each: each.number < bad, ordered=True)
    assert found.given_up == list(range(bad))
    assert found.taken == list(range(bad, 50))


def test_no_record_is_blamed_for_one_that_has_its_outcome() -> None:
    bisection = Bisection(ordered=False)
    batches = some_batches(1, 1)
    assert bisection.refused(batches, 0.0, conclusive=False) == []
    assert bisection.next_part(set(), math.inf) == batches


def test_a_part_above_the_limit_of_requests_goes_out_in_several() -> None:
    """The limit may be lower than when the part was made."""
    bisection = Bisection(ordered=False)
    batches = some_batches(4 * rules.BISECTION_PARTS, 1, lambda _: bytes(1000))
    bisection.refused(batches, 0.0, conclusive=True)
    size = batches[0].wire_size
    # Each part has four batches. Three fit, or two. One batch is always sent.
    assert [len(bisection.next_part(set(), limit * size)) for limit in (3, 3, 2.5, 2.5, 0.5, 4, 4)] == [
        3,
        1,
        2,
        2,
        1,
        3,
        4,
    ]
