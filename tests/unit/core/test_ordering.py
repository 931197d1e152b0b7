"""Ordered mode: one Kinesis record in flight a shard, and later records wait, whatever happens to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kplpy.core import policy as rules
from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch
from kplpy.core.outcome import Delivered
from kplpy.core.record import PendingRecord
from kplpy.core.results.retry_policy import THROTTLED
from kplpy.core.shard_range import ShardRange
from tests.core_helpers import HALF, LEFT, NEVER, RIGHT, TOP, WHOLE, Driver, item, policy

ZERO, ONE = LEFT.shard_id, RIGHT.shard_id
MERGED = ShardRange("shardId-000000000002", 0, TOP)
CHILDREN = (ShardRange("shardId-000000000002", 0, HALF - 1), ShardRange("shardId-000000000003", HALF, TOP))
ORDERED = policy(ordered=True, linger=0.0, aggregation_max_count=2)


def numbers(request: Request) -> list[list[int]]:
    return [[each.number for each in batch.items] for batch in request.batches]


def left(count: int = 1, arrival: float = 1.0) -> list[PendingRecord]:
    return [item(arrival=arrival) for _ in range(count)]


def right(count: int = 1, arrival: float = 1.0) -> list[PendingRecord]:
    return [item(arrival=arrival, hash_key=TOP) for _ in range(count)]


def nothing_to_send(driver: Driver, now: float) -> bool:
    return driver.pipeline.next_request(now) is None and driver.pipeline.next_wakeup(now) > now


def test_one_kinesis_record_a_shard_is_in_flight() -> None:
    driver = Driver(ORDERED)
    driver.accept(*left(4), *right(4))
    request = driver.request(1.0)
    assert numbers(request) == [[0, 1], [4, 5]]
    assert nothing_to_send(driver, 1.0)
    driver.respond(request, ZERO, ONE, now=1.1)
    assert driver.pipeline.next_wakeup(1.1) == 1.1
    assert numbers(driver.request(1.1)) == [[2, 3], [6, 7]]


def test_without_order_a_queue_sends_all_it_has() -> None:
    driver = Driver(replace(ORDERED, ordered=False))
    driver.accept(*left(4))
    assert numbers(driver.request(1.0)) == [[0, 1], [2, 3]]


def test_a_failed_record_goes_before_later_ones_and_holds_up_no_other_shard() -> None:
    driver = Driver(ORDERED)
    driver.accept(*left(4), *right(4))
    driver.respond(driver.request(1.0), (THROTTLED, "slow down"), ONE, now=1.1)
    other = driver.request(1.1)
    assert numbers(other) == [[6, 7]]
    again = driver.request(driver.pipeline.next_wakeup(1.1))
    assert numbers(again) == [[0, 1]]
    driver.respond(again, ZERO, now=3.0)
    assert numbers(driver.request(3.0)) == [[2, 3]]


def test_after_a_failed_record_the_later_ones_go_on() -> None:
    driver = Driver(replace(ORDERED, fail_if_throttled=True))
    driver.accept(*left(4))
    driver.respond(driver.request(1.0), (THROTTLED, "slow down"), now=1.1)
    assert len(driver.pipeline.take_completions()) == 1
    assert numbers(driver.request(2.1)) == [[2, 3]]


def test_waiting_records_fill_one_aggregate_instead_of_making_small_ones() -> None:
    driver = Driver(policy(ordered=True, linger=0.01))
    driver.accept(*left())
    first = driver.request(1.01)
    for number in range(10):
        driver.accept(*left(arrival=1.02 + number / 50))
        driver.pipeline.tick(1.02 + number / 50)
    assert nothing_to_send(driver, 1.5)
    driver.respond(first, ZERO, now=1.6)
    assert numbers(driver.request(1.6)) == [list(range(1, 11))]


def test_a_flush_sends_held_back_records_as_soon_as_they_may_go() -> None:
    driver = Driver(policy(ordered=True, linger=50.0))
    driver.accept(*left())
    mark = driver.pipeline.flush(1.0)
    first = driver.request(1.0)
    driver.accept(*left())
    driver.pipeline.flush(1.0)
    assert nothing_to_send(driver, 1.0)
    driver.respond(first, ZERO, now=1.1)
    assert driver.pipeline.unflushed(mark) == 1  # it has an outcome, but is not settled
    assert numbers(driver.request(1.1)) == [[1]]


@pytest.mark.parametrize("which", ["split", "merge"])
def test_the_next_shard_waits_for_the_one_before(which: str) -> None:
    before, after = ((WHOLE,), CHILDREN) if which == "split" else ((LEFT, RIGHT), (MERGED,))
    driver = Driver(ORDERED, shards=before)
    driver.accept(*left(), *right())
    request = driver.request(1.0)
    driver.pipeline.map.seen_missing()
    driver.accept(*left(), *right())
    driver.list(after, 1.1)
    assert nothing_to_send(driver, 1.1)
    driver.respond(request, *(after[0].shard_id for _ in request.batches), now=1.2)
    # The aggregate was sent before the split, and landed where consumers would drop it.
    assert numbers(driver.request(1.2)) == ([[2, 3]] if which == "merge" else [[0, 2], [1, 3]])


def test_a_merged_shard_waits_for_both_parents() -> None:
    driver = Driver(replace(ORDERED, collection_max_count=1))
    driver.accept(*left(), *right())
    first, second = driver.request(1.0), driver.request(1.0)
    driver.pipeline.map.seen_missing()
    driver.accept(*left(), *right())
    driver.list((MERGED,), 1.1)
    driver.respond(first, MERGED.shard_id, now=1.2)
    assert nothing_to_send(driver, 1.2)
    driver.respond(second, ("InternalFailure", "try again"), now=1.3)
    assert numbers(driver.request(driver.pipeline.next_wakeup(1.3))) == [[1, 2]]


def test_records_of_a_closed_shard_go_before_later_ones_of_the_next() -> None:
    driver = Driver(replace(ORDERED, collection_max_count=1), shards=(WHOLE,))
    driver.accept(*left(), *right())
    request = driver.request(1.0)
    driver.accept(*left(), *left(), *right())
    driver.respond(request, CHILDREN[0].shard_id, now=1.1)  # after a split, so consumers would drop it
    driver.list(CHILDREN, 1.2)
    sent = []
    for _ in range(3):
        request = driver.request(driver.pipeline.next_wakeup(1.2))
        sent += numbers(request)
        driver.respond(request, *(each.queue.shard.shard_id for each in request.batches if each.queue.shard), now=1.2)
    assert sent == [[0, 2], [1, 4], [3]] or sent == [[1, 4], [0, 2], [3]]


def test_later_records_wait_for_an_aggregate_that_waits_to_be_judged() -> None:
    driver = Driver(ORDERED, shards=(WHOLE,))
    driver.accept(*left(), *right())
    request = driver.request(1.0)
    driver.accept(*left())
    driver.respond(request, CHILDREN[0].shard_id, now=1.1)
    driver.list((WHOLE,), 1.2)  # the listing does not show that shard yet
    assert nothing_to_send(driver, 1.2)
    driver.list(CHILDREN, 3.0)
    assert numbers(driver.request(3.0)) == [[0, 2], [1]]


def test_without_a_map_one_record_a_key_is_in_flight() -> None:
    driver = Driver(ORDERED, shards=())
    pipeline = driver.pipeline
    driver.accept(*left(), *right(), *left(), *right())
    pipeline.listing_started(1.0)
    pipeline.listing_failed("denied", 1.1)
    now = 1.0 + rules.MAP_PATIENCE
    request = driver.request(now)
    assert numbers(request) == [[0], [1]]
    driver.respond(request, (THROTTLED, "slow down"), ONE, now=now)
    pipeline.listing_started(now)
    again = driver.request(pipeline.next_wakeup(now))
    assert numbers(again) == [[0]]
    # records routed by the map wait for records sent without it
    driver.accept(*left(arrival=now))
    driver.list((LEFT, RIGHT), now + 0.1)
    other = driver.request(now + 0.1)
    assert numbers(other) == [[3]]
    driver.respond(again, ZERO, now=now + 0.2)
    assert numbers(driver.request(now + 0.2)) == [[2, 4]]


def test_a_lost_request_holds_its_shard_back_only_until_it_is_given_up() -> None:
    driver = Driver(replace(ORDERED, request_timeout=1.0))
    driver.accept(*left(4))
    late = driver.request(1.0)
    lost = driver.pipeline.next_wakeup(1.0)
    assert lost == pytest.approx(2.0 + rules.REQUEST_SLACK)
    driver.pipeline.tick(lost)
    again = driver.request(driver.pipeline.next_wakeup(lost))
    assert numbers(again) == [[0, 1]]
    driver.respond(late, ZERO, now=lost + 1)
    assert nothing_to_send(driver, lost + 1)
    driver.respond(again, ZERO, now=lost + 2)
    assert numbers(driver.request(lost + 2)) == [[2, 3]]


def test_a_bisection_keeps_the_order_whatever_fails_in_it() -> None:
    driver = Driver(replace(ORDERED, aggregation_max_count=8))
    driver.accept(*left(16))
    driver.fail(driver.request(1.0), "InvalidArgumentException", now=1.1)
    part = driver.request(1.1)
    assert numbers(part) == [[0, 1]]
    assert nothing_to_send(driver, 1.1)
    driver.respond(part, ("InternalFailure", "try again"), now=1.2)
    sent: list[int] = []
    now = 1.2
    while len(sent) < 16:
        now = max(now, driver.pipeline.next_wakeup(now))
        request = driver.request(now)
        assert len(request.batches) == 1
        if any(each.number == 3 for each in request.batches[0].items):
            driver.fail(request, "InvalidArgumentException", now=now)
            sent += [3] if len(request.batches[0].items) == 1 else []
        else:
            driver.respond(request, ZERO, now=now)
            sent += [each.number for each in request.batches[0].items]
    assert sent == list(range(16))
    delivered = [each for each in driver.pipeline.take_completions() if isinstance(each.outcome, Delivered)]
    assert sum(len(each.items) for each in delivered) == 15


def test_a_batch_whose_numbers_are_mixed_with_waiting_ones_is_packed_again() -> None:
    driver = Driver(policy(ordered=True, linger=0.0))
    queue = driver.pipeline._router.queues[0]
    first = left(4)
    for number, each in enumerate(first):
        each.number = number
    back = Batch(queue, first[0])
    assert back.add([first[3]], 1000, 10) == 1
    back.close()
    for each in first[1:3]:
        queue.add([each])
    queue.close_open()
    assert not queue.put_back(back)
    driver.pipeline._router.reroute(back.items, 1.0)
    assert numbers(driver.request(1.0)) == [[0, 1, 2, 3]]


def test_where_the_service_places_the_records_nothing_is_held_back() -> None:
    driver = Driver(ORDERED, shards=())
    driver.accept(*left(4))
    driver.describe("AUTO", 1.0)
    driver.list((LEFT, RIGHT), 1.0)
    assert numbers(driver.request(1.1)) == [[0], [1], [2], [3]]
    driver.accept(*left(2))
    second = driver.request(1.2)
    # order counts again, so later records wait for records in flight
    driver.describe("USER_PARTITION_KEY", 1.2)
    driver.accept(*left(1))
    assert nothing_to_send(driver, 1.3)
    driver.respond(second, ZERO, ZERO, now=1.4)
    assert nothing_to_send(driver, 1.4)


def test_a_record_that_expires_behind_another_says_so() -> None:
    driver = Driver(replace(ORDERED, ttl=1.0))
    driver.accept(*left(4))
    driver.request(1.0)
    driver.pipeline.tick(2.5)
    (completion,) = driver.pipeline.take_completions()
    assert [each.number for each in completion.items] == [2, 3]
    assert f"an earlier record for shard {ZERO} has no outcome" in str(completion.outcome)


def test_everything_ends_with_nothing_left() -> None:
    driver = Driver(ORDERED)
    driver.accept(*left(5), *right(3))
    now = 1.0
    while driver.pipeline.outstanding:
        now = max(now, driver.pipeline.next_wakeup(now))
        request = driver.request(now)
        driver.respond(request, *(each.queue.shard.shard_id for each in request.batches if each.queue.shard), now=now)
        for completion in driver.pipeline.take_completions():
            driver.pipeline.settled(completion.items)
    assert driver.pipeline.next_wakeup(now) == NEVER
    assert not any(driver.pipeline.leftovers().values())
