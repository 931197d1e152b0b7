"""Records without a key, and streams whose records the service places."""

from __future__ import annotations

from random import Random

import pytest

from kplpy.core import policy as rules
from kplpy.core.record import PLACEHOLDER
from kplpy.core.routing.placement import BY_KEY, Summary
from kplpy.core.shard_range import ShardRange
from kplpy.hash_keys import HashKeys
from tests.core_helpers import LEFT, RIGHT, TOP, Driver, item, keyless, policy, sizes
from tests.inside import queues_of, seed_sticky

SHARDS = tuple(ShardRange(f"shardId-{n:012d}", n << 122, ((n + 1) << 122) - 1) for n in range(64))


def test_keyless_records_fill_one_aggregate_and_get_keys_of_its_shard() -> None:
    driver = Driver(shards=SHARDS)
    items = [keyless() for _ in range(100)]
    driver.accept(*items)
    (batch,) = driver.request(1.1).batches
    assert batch.items == items
    assert batch.queue.shard is not None
    for each in items:
        assert batch.queue.shard.holds(each.hash_key)
        assert each.explicit_hash_key == str(each.hash_key)
        assert len(each.partition_key) == len(PLACEHOLDER)  # the buffer was charged for this
    assert len({each.partition_key for each in items}) == 1  # one entry in the aggregate's key table


def test_the_next_aggregate_goes_to_the_shard_that_can_take_most() -> None:
    driver = Driver(policy(aggregation_max_size=1000))
    driver.accept(*[item(b"x" * 500, arrival=1.0) for _ in range(2000)])  # all for the left shard
    items = [keyless(data=b"x" * 100) for _ in range(200)]
    driver.accept(*items)
    assert all(RIGHT.holds(each.hash_key) for each in items)


def test_unaggregated_keyless_records_change_their_shard_from_time_to_time() -> None:
    driver = Driver(policy(aggregate=False), shards=(*SHARDS[:4], ShardRange("shardId-9", 4 << 122, TOP)))
    seed_sticky(driver.pipeline, Random(1))
    items = [keyless(data=b"x" * 1000) for _ in range(10 * rules.STICKY_RECORDS)]
    driver.accept(*items)
    assert len({each.hash_key >> 122 for each in items}) >= 4


def test_keyless_records_get_a_new_shard_after_a_reshard() -> None:
    driver = Driver()
    unsent, again = keyless(), keyless(1.2)
    driver.accept(unsent)
    sent = driver.request(1.1)
    assert sent.batches[0].items == [unsent]
    driver.accept(again)
    keys = {id(each): each.partition_key for each in (unsent, again)}
    shards = tuple(ShardRange(f"shardId-{n + 2:012d}", n << 126, ((n + 1) << 126) - 1) for n in range(4))
    driver.pipeline.map.invalidate(1.15, None)
    driver.list(shards, 1.25)
    driver.respond(sent, ("InternalFailure", "once"), now=1.3)
    (batch,) = driver.request(4.0).batches  # both records in one batch
    assert {id(each) for each in batch.items} == set(keys)
    assert batch.queue.shard in shards
    for each in batch.items:
        assert batch.queue.shard.holds(each.hash_key)
        assert each.partition_key != keys[id(each)]


def test_only_some_of_very_many_shards_are_compared() -> None:
    shards = tuple(ShardRange(f"shardId-{n:012d}", n << 118, ((n + 1) << 118) - 1) for n in range(1024))
    driver = Driver(policy(aggregate=False), shards=shards)
    seed_sticky(driver.pipeline, Random(1))
    for turn in range(200):
        driver.accept(*[keyless(1.0 + turn / 1000) for _ in range(rules.STICKY_RECORDS)])
    used = {queue.shard for queue in queues_of(driver.pipeline) if queue.closed_batches}
    assert len(used) > 150


def test_a_queue_that_is_held_back_is_not_chosen() -> None:
    driver = Driver()
    left = queues_of(driver.pipeline)[0]
    left.not_before = 100.0
    items = [keyless(data=b"x" * 10_000) for _ in range(50)]
    driver.accept(*items)
    assert all(RIGHT.holds(each.hash_key) for each in items)


def test_without_a_map_keyless_records_still_get_keys() -> None:
    driver = Driver(shards=())
    first = keyless()
    driver.accept(first)
    assert first.hash_key == -1
    driver.pipeline.tick(1.0 + rules.MAP_PATIENCE)
    assert first.hash_key >= 0
    # If it is aggregated later, its explicit hash key must decide its shard, not the hash of its key.
    driver.list((LEFT, RIGHT), 3.1)
    assert first.explicit_hash_key == str(first.hash_key) != str(HashKeys().compute(first.partition_key))


def test_a_service_managed_stream_gets_single_records_in_full_requests() -> None:
    driver = Driver()
    driver.describe("AUTO", 1.0)
    driver.accept(*[item(arrival=1.0, hash_key=key) for key in (0, TOP) * 200], keyless())
    request = driver.request(1.1)
    assert sizes(request.batches) == [1] * 401
    driver.respond(request, *["shardId-000000000007"] * 401, now=1.2)
    assert sum(len(each.items) for each in driver.pipeline.take_completions()) == 401
    assert driver.pipeline.map.ready  # their landing does not contradict the map
    driver.accept(item(arrival=1.3))
    assert not driver.pipeline.wants_description(1.0 + rules.STRATEGY_POLL)
    assert driver.pipeline.wants_description(1.0 + 1.5 * rules.STRATEGY_POLL)  # the stream may be switched back


def test_a_stream_that_is_switched_back_is_placed_by_key_again() -> None:
    driver = Driver()
    driver.describe("AUTO", 1.0)
    waiting = [item(arrival=1.0), item(arrival=1.0)]
    driver.accept(*waiting)
    driver.describe("USER_PARTITION_KEY", 1.05)
    assert sizes(driver.request(1.2).batches) == [2]
    assert len(driver.pipeline.notices) == 2


def test_a_strategy_seen_in_records_is_not_undone_by_an_older_request() -> None:
    driver = Driver(strategy=None)
    now = rules.STRATEGY_POLL * 2
    driver.list((LEFT, RIGHT), now)
    driver.pipeline.description_started(now)
    driver.accept(item(arrival=now), item(arrival=now))
    driver.respond(driver.request(now + 0.1), RIGHT.shard_id, now=now + 0.2)
    driver.pipeline.described(Summary(BY_KEY), now + 0.3)
    driver.accept(item(arrival=now + 0.4), item(arrival=now + 0.4))
    assert set(sizes(driver.request(now + 0.6).batches)) == {1}


@pytest.mark.parametrize("assumed", ["AUTO", "USER_PARTITION_KEY", None])
def test_the_assumed_strategy_counts_without_the_permission_to_ask(assumed: str | None) -> None:
    driver = Driver(policy(assumed_strategy=assumed), strategy=None)
    driver.accept(item(arrival=1.0), item(arrival=1.0))
    request = driver.request(1.1)
    assert sizes(request.batches) == ([1, 1] if assumed == "AUTO" else [2])
    assert not driver.pipeline.notices  # records may fail for the same cause
    driver.respond(request, *[LEFT.shard_id] * len(request.batches), now=1.2)
    assert [each.fields for each in driver.pipeline.notices] == ([] if assumed else [{"reason": "AccessDenied"}])


@pytest.mark.parametrize("passes", [True, False])
def test_a_passing_problem_leads_to_another_request_and_no_advice(passes: bool) -> None:
    driver = Driver(strategy=None)
    driver.pipeline.description_started(0.0)
    driver.pipeline.described(Summary(None, problem="LimitExceededException", passes=passes), 0.0)
    driver.accept(item(arrival=1.0))
    driver.respond(driver.request(1.1), LEFT.shard_id, now=1.2)
    assert bool(driver.pipeline.notices) is not passes
    assert driver.pipeline.wants_description(1.5 * rules.STRATEGY_POLL) is passes
