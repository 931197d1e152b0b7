"""Aggregates and their exact sizes, and the order of a queue."""

from __future__ import annotations

import pytest

from kplpy.core import policy as rules
from kplpy.core.batching.shard_queue import batch_of
from kplpy.core.record import KEPT_ATTEMPTS, SendAttempt, add_attempt, add_attempts
from kplpy.wire.encode import encode_aggregate
from tests.core_helpers import item, policy, queue, sizes


def test_an_aggregate_closes_before_it_grows_above_its_size() -> None:
    home = queue(rules=policy(aggregation_max_size=1000))
    for number in range(100):
        each = item(b"x" * 90, f"key-{number}")
        each.number = number
        home.add([each])
    assert home.open is not None
    for batch in home.closed_batches:
        encoded = encode_aggregate(batch.items)
        assert batch.wire_size == len(encoded) + len("a")
        assert len(encoded) <= 1000 < len(encode_aggregate([*batch.items, item(b"x" * 90, "key-1")]))
    numbers = [each.number for batch in home.closed_batches for each in batch.items]
    assert numbers == sorted(numbers)


def test_counts_bound_an_aggregate() -> None:
    home = queue(rules=policy(aggregation_max_count=3))
    for _ in range(7):
        home.add([item()])
    assert sizes(list(home.closed_batches)) == [3, 3]
    assert home.open is not None


def test_a_few_records_that_wait_to_be_packed_count_everywhere() -> None:
    home = queue()
    home.add([item(arrival=9.0)])
    old, new = item(arrival=1.0), item(arrival=9.5)
    old.number, new.number = 1, 2
    home.few += [old, new]
    assert (home.oldest(), home.newest()) == (1.0, 2)
    assert home.expire(1.0) == [old]
    assert sizes([*home.closed_batches]) == [2]
    home.few.append(last := item(arrival=9.6))
    home.add([later := item(arrival=9.7)])
    assert home.take_all()[1:] == [new, last, later]


@pytest.mark.parametrize("alone", ["no shard", "switched off", "count of one", "suspended"])
def test_records_that_travel_alone(alone: str) -> None:
    home = queue(
        None if alone == "no shard" else queue().shard,
        policy(aggregate=alone != "switched off", aggregation_max_count=1 if alone == "count of one" else 10),
    )
    if alone == "suspended":
        home.suspend_aggregation(1.0)
    home.add([item(b"abc", "Ωmega")])
    home.add([item(b"", "k")])
    assert sizes(list(home.closed_batches)) == [1, 1]
    assert [batch.wire_size for batch in home.closed_batches] == [3 + 6, 1]


def test_a_record_above_the_aggregation_size_goes_alone() -> None:
    home = queue(rules=policy(aggregation_max_size=1000))
    home.add([item(b"x" * 2000)])
    assert home.open is None
    assert sizes(list(home.closed_batches)) == [1]


def test_the_outer_key() -> None:
    two = [item(key="first"), item(key="second")]
    assert batch_of(queue(), two).outer_key == "a"
    assert batch_of(queue(), two[:1]).outer_key == "first"
    assert batch_of(queue(rules=policy(first_key_outside=True)), two).outer_key == "first"


def test_a_batch_that_comes_back_goes_before_later_ones() -> None:
    home = queue(None)
    for number in range(6):
        each = item()
        each.number = number
        home.add([each])
    taken = [home.pop() for _ in range(4)]
    for number in (3, 1, 0, 2):
        home.put_back(taken[number])
    assert [batch.items[0].number for batch in home.closed_batches] == list(range(6))
    assert home.queue_bytes == sum(batch.wire_size for batch in home.closed_batches)


def test_held_records_are_counted_from_closing_to_the_outcome() -> None:
    home = queue()
    home.add([item(b"abc", "key")])
    assert (home.held, home.held_bytes) == (0, 0)
    home.close_open()
    assert (home.held, home.held_bytes) == (1, 6)
    home.add([item(b"abc", "key")])
    assert len(home.take_all()) == 2
    assert (home.held, home.held_bytes, home.queue_bytes, home.open) == (0, 0, 0, None)


def test_expiry_takes_records_out_of_their_aggregates() -> None:
    home = queue()
    for arrival in (1.0, 5.0, 2.0, 6.0):
        home.add([item(arrival=arrival)])
    assert home.oldest() == 1.0
    assert [each.arrival for each in home.expire(2.0)] == [1.0, 2.0]
    assert [each.arrival for batch in home.closed_batches for each in batch.items] == [5.0, 6.0]
    assert home.oldest() == 5.0
    assert home.held == 2
    assert home.queue_bytes == home.closed_batches[0].wire_size


def test_suspended_aggregation_resumes_after_hits_of_the_shard_itself() -> None:
    home = queue()
    home.suspend_aggregation(10.0)
    home.hit(9.0)  # sent before the suspension
    assert bool(home.aggregation_suspended) is True
    for _ in range(rules.HITS_TO_AGGREGATE_AGAIN):
        assert bool(home.aggregation_suspended) is True
        home.hit(11.0)
    assert bool(home.aggregation_suspended) is False
    home.add([item()])
    assert home.open is not None


def test_of_many_attempts_the_first_and_the_latest_are_kept() -> None:
    each = item()
    for number in range(100):
        add_attempt(each, SendAttempt(float(number), 0.0, 0.0, "Code"))
    assert len(each.tries) == KEPT_ATTEMPTS
    assert [kept.wall for kept in each.tries] == [0.0, *map(float, range(101 - KEPT_ATTEMPTS, 100))]


def test_records_with_the_same_history_share_their_attempts() -> None:
    together, other = [item(), item(), item()], item()
    add_attempt(other, SendAttempt(0.0, 0.0, 0.0, "Earlier"))
    for number in range(1, 2 * KEPT_ATTEMPTS):
        add_attempts([*together[:2], other, together[2]], SendAttempt(float(number), 0.0, 0.0, "Code"))
    assert together[0].tries is together[1].tries
    assert together[2].tries == together[0].tries
    assert [each.tries[0].code for each in (*together, other)] == ["Code"] * 3 + ["Earlier"]
    assert {len(each.tries) for each in (*together, other)} == {KEPT_ATTEMPTS}
