"""Records without a key, and streams where the service places the records."""

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


def test_they_fill_one_aggregate_and_have_keys_of_its_shard() -> None:
    driver = Driver(shards=SHARDS)
    items = [keyless() for _ in range(100)]
    driver.accept(*items)
    (batch,) = driver.request(1.1).batches
    assert batch.items == items
    assert batch.queue.shard is not None
    for each in items:
        assert batch.queue.shard.holds(each.hash_key)
        assert each.explicit_hash_key == str(each.hash_key)
        assert len(each.partition_key) == len(PLACEHOLDER)  # room was charged for this
    assert len({each.partition_key for each in items}) == 1  # one entry in the tables


def test_the_next_aggregate_goes_where_most_room_is() -> None:
    driver = Driver(policy(aggregation_max_size=1000))
    driver.accept(*[item(b"x" * 500, arrival=1.0) for _ in range(2000)])  # all for the left one
    items = [keyless(data=b"x" * 100) for _ in range(200)]
    driver.accept(*items)
    assert all(RIGHT.holds(each.hash_key) for each in items)


def test_unaggregated_ones_change_their_shard_now_and_then() -> None:
    driver = Driver(policy(aggregate=False), shards=(*SHARDS[:4], ShardRange("shardId-9", 4 << 122, TOP)))
    seed_sticky(driver.pipeline, Random(1))
    items = [keyless(data=b"x" * 1000) for _ in range(10 * rules.STICKY_RECORDS)]
    driver.accept(*items)
    assert len({each.hash_key >> 122 for each in items}) >= 4


def test_a_reshard_has_them_chosen_anew() -> None:
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
    driver.answer(sent, ("InternalFailure", "once"), now=1.3)
    (batch,) = driver.request(4.0).batches  # both in one
    assert {id(each) for each in batch.items} == set(keys)
    assert batch.queue.shard in shards
    for each in batch.items:
        assert batch.queue.shard.holds(each.hash_key)
        assert each.partition_key != keys[id(each)]


def test_of_very_many_shards_some_are_looked_at() -> None:
    shards = tuple(ShardRange(f"shardId-{n:012d}", n << 118, ((n + 1) << 118) - 1) for n in range(1024))
    driver = Driver(policy(aggregate=False), shards=shards)
    seed_sticky(driver.pipeline, Random(1))
    for turn in range(200):
        driver.accept(*[keyless(1.0 + turn / 1000) for _ in range(rules.STICKY_RECORDS)])
    used = {queue.shard for queue in queues_of(driver.pipeline) if queue.closed_batches}
    assert len(used) > 150


def test_one_that_is_held_back_is_left_out() -> None:
    driver = Driver()
    left = queues_of(driver.pipeline)[0]
    left.not_before = 100.0
    items = [keyless(data=b"x" * 10_000) for _ in range(50)]
    driver.accept(*items)
    assert all(RIGHT.holds(each.hash_key) for each in items)


def test_without_a_map_they_get_keys_all_the_same() -> None:
    driver = Driver(shards=())
    first = keyless()
    driver.accept(first)
    assert first.hash_key == -1
    driver.pipeline.tick(1.0 + rules.MAP_PATIENCE)
    assert first.hash_key >= 0
    # Aggregated later, it must be where its explicit hash key says, not where its key's hash would be.
    driver.list((LEFT, RIGHT), 3.1)
    assert first.explicit_hash_key == str(first.hash_key) != str(HashKeys().compute(first.partition_key))


def test_a_managed_stream_gets_singles_in_full_requests() -> None:
    driver = Driver()
    driver.describe("AUTO", 1.0)
    driver.accept(*[item(arrival=1.0, hash_key=key) for key in (0, TOP) * 200], keyless())
    request = driver.request(1.1)
    assert sizes(request.batches) == [1] * 401
    driver.answer(request, *["shardId-000000000007"] * 401, now=1.2)
    assert sum(len(each.items) for each in driver.pipeline.take_completions()) == 401
    assert driver.pipeline.map.ready  # where they landed says nothing
    driver.accept(item(arrival=1.3))
    assert not driver.pipeline.wants_description(1.0 + rules.STRATEGY_POLL)
    assert driver.pipeline.wants_description(1.0 + 1.5 * rules.STRATEGY_POLL)  # it may be switched back


def test_switched_back() -> None:
    driver = Driver()
    driver.describe("AUTO", 1.0)
    waiting = [item(arrival=1.0), item(arrival=1.0)]
    driver.accept(*waiting)
    driver.describe("USER_PARTITION_KEY", 1.05)
    assert sizes(driver.request(1.2).batches) == [2]
    assert len(driver.pipeline.notices) == 2


def test_what_records_show_is_not_undone_by_an_older_question() -> None:
    driver = Driver(strategy=None)
    now = rules.STRATEGY_POLL * 2
    driver.list((LEFT, RIGHT), now)
    driver.pipeline.description_started(now)
    driver.accept(item(arrival=now), item(arrival=now))
    driver.answer(driver.request(now + 0.1), RIGHT.shard_id, now=now + 0.2)
    driver.pipeline.described(Summary(BY_KEY), now + 0.3)
    driver.accept(item(arrival=now + 0.4), item(arrival=now + 0.4))
    assert set(sizes(driver.request(now + 0.6).batches)) == {1}


@pytest.mark.parametrize("assumed", ["AUTO", "USER_PARTITION_KEY", None])
def test_what_is_assumed_without_the_permission(assumed: str | None) -> None:
    driver = Driver(policy(assumed_strategy=assumed), strategy=None)
    driver.accept(item(arrival=1.0), item(arrival=1.0))
    request = driver.request(1.1)
    assert sizes(request.batches) == ([1, 1] if assumed == "AUTO" else [2])
    assert not driver.pipeline.notices  # while records may fail for the same cause
    driver.answer(request, *[LEFT.shard_id] * len(request.batches), now=1.2)
    assert [each.fields for each in driver.pipeline.notices] == ([] if assumed else [{"reason": "AccessDenied"}])


@pytest.mark.parametrize("passes", [True, False])
def test_a_problem_that_passes_is_no_reason_for_advice_but_for_asking_again(passes: bool) -> None:
    driver = Driver(strategy=None)
    driver.pipeline.description_started(0.0)
    driver.pipeline.described(Summary(None, problem="LimitExceededException", passes=passes), 0.0)
    driver.accept(item(arrival=1.0))
    driver.answer(driver.request(1.1), LEFT.shard_id, now=1.2)
    assert bool(driver.pipeline.notices) is not passes
    assert driver.pipeline.wants_description(1.5 * rules.STRATEGY_POLL) is passes
