"""The states of the shard map, and how listings are spaced."""

from __future__ import annotations

import pytest

from kplpy.core import policy as rules
from kplpy.core.routing.shard_map import ShardMap
from kplpy.core.shard_range import ShardRange
from tests.core_helpers import HALF, LEFT, RIGHT, TOP, WHOLE


def listed(*shards: ShardRange, at: float = 0.0) -> ShardMap:
    shard_map = ShardMap()
    shard_map.listing_started(at)
    shard_map.update(shards, at)
    return shard_map


def test_prediction() -> None:
    shard_map = listed(RIGHT, LEFT)
    assert [shard_map.index_of(key) for key in (0, HALF - 1, HALF, TOP)] == [0, 0, 1, 1]
    gap = listed(LEFT, ShardRange("shardId-9", HALF + 10, TOP))
    assert gap.index_of(HALF + 5) == -1
    assert listed(LEFT).index_of(HALF) == -1
    assert ShardMap().index_of(0) == -1


def test_the_first_listing_is_wanted_at_once() -> None:
    shard_map = ShardMap()
    assert not shard_map.trusted(5.0)
    assert shard_map.wants_listing(5.0)
    shard_map.listing_started(5.0)
    assert not shard_map.wants_listing(6.0)
    shard_map.update([WHOLE], 6.0)
    assert shard_map.trusted(6.0)
    assert not shard_map.wants_listing(6.0)
    assert shard_map.updated_at == 5.0


def test_failed_listings_back_off_until_a_good_one() -> None:
    shard_map = ShardMap()
    now, waits = 0.0, []
    for _ in range(12):
        shard_map.listing_started(now)
        shard_map.listing_failed(now)
        waits.append(shard_map.next_listing() - now)
        now = shard_map.next_listing()
    assert waits[:3] == pytest.approx([1.0, 1.5, 2.25])
    assert waits[-1] == rules.LISTING_BACKOFF_MAX
    shard_map.list_soon(now - 10)
    assert shard_map.wants_listing(now - 10)
    shard_map.update([], now)  # a stream without shards is no map
    assert not shard_map.ready
    assert shard_map.next_listing() > now


def test_only_newer_responses_invalidate() -> None:
    shard_map = listed(LEFT, RIGHT, at=10.0)
    assert not shard_map.invalidate(9.0, LEFT.shard_id)
    assert shard_map.invalidate(11.0, LEFT.shard_id)
    assert not shard_map.trusted(11.0)
    assert not shard_map.invalidate(12.0, LEFT.shard_id)  # already invalid


def test_responses_about_a_closed_shard_do_not_invalidate() -> None:
    shard_map = listed(WHOLE)
    shard_map.listing_started(1.0)
    shard_map.update([ShardRange("shardId-1", 0, HALF - 1), ShardRange("shardId-2", HALF, TOP)], 1.0)
    assert not shard_map.invalidate(2.0, WHOLE.shard_id)
    assert shard_map.range_of(WHOLE.shard_id) == WHOLE  # late responses can be judged
    shard_map.listing_started(200.0)
    shard_map.update(shard_map.open, 200.0)
    assert shard_map.range_of(WHOLE.shard_id) is None


def test_a_map_that_was_idle_is_not_trusted() -> None:
    shard_map = listed(WHOLE)
    assert shard_map.trusted(9.0)
    assert shard_map.trusted(18.0)
    assert not shard_map.trusted(18.0 + rules.MAP_IDLE_TRUST + 0.1)
    assert shard_map.wants_listing(40.0)


def test_stale_listings_are_spaced() -> None:
    shard_map = listed(WHOLE)
    now, waits = 1.0, []
    for _ in range(8):
        shard_map.relist(now)
        shard_map.relist(now)  # already requested
        waits.append(shard_map.next_listing() - now)
        now = shard_map.next_listing()
        assert shard_map.trusted(now)  # meanwhile the last listing counts
        shard_map.listing_started(now)
        shard_map.update([WHOLE], now)
    assert waits[:2] == pytest.approx([1.0, 1.5])
    assert waits[-1] == rules.RELISTING_BACKOFF_MAX
    shard_map.update([LEFT, RIGHT], now)
    shard_map.relist(now)
    assert shard_map.next_listing() == pytest.approx(now + 1.0)


def test_a_listing_with_a_gap_is_used_until_the_next_one_which_is_requested() -> None:
    shard_map = listed(LEFT)
    now, waits = 0.0, []
    for _ in range(8):
        assert shard_map.trusted(now)
        waits.append(shard_map.next_listing() - now)
        now = shard_map.next_listing()
        shard_map.listing_started(now)
        shard_map.update([LEFT], now)
    assert waits[:2] == pytest.approx([1.0, 1.5])
    assert waits[-1] == rules.RELISTING_BACKOFF_MAX
    shard_map.update([LEFT, RIGHT], now)
    assert shard_map.next_listing() == float("inf")


def test_ids_are_valid_as_long_as_the_stream_cannot_have_been_recreated() -> None:
    shard_map = listed(WHOLE, at=100.0)
    assert shard_map.ids_valid_at(109.9)
    assert not shard_map.ids_valid_at(110.0)
    shard_map.seen_alive(105.0)
    assert shard_map.ids_valid_at(114.9)
    shard_map.seen_missing()
    assert not shard_map.ids_valid_at(106.0)
    assert not shard_map.trusted(106.0)
