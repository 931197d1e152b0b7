"""Token buckets."""

from __future__ import annotations

import pytest

from kplpy.core.limiter import Bucket, Limiter
from kplpy.core.policy import SHARD_BYTES_PER_SECOND


def test_it_starts_full_and_grows_with_time() -> None:
    bucket = Bucket(100.0, 0.0)
    full = bucket.level
    assert full - bucket.reserve == pytest.approx(90)  # what goes at once
    bucket.level -= full - bucket.reserve
    assert bucket.ready_at(50, 0.0) == pytest.approx(0.5)
    assert bucket.ready_at(50, 0.5) == 0.5
    bucket.ready_at(0, 100.0)
    assert bucket.level == full


def test_a_large_cost_needs_a_full_bucket_and_drives_it_negative() -> None:
    bucket = Bucket(100.0, 0.0)
    full = bucket.level
    bucket.level -= 10
    for cost in (500, 95):
        assert bucket.ready_at(cost, 0.0) == pytest.approx(0.1)
    assert bucket.ready_at(500, 0.1) == 0.1
    bucket.level -= 500
    assert bucket.level == pytest.approx(full - 500)
    assert bucket.ready_at(1, 0.1) == pytest.approx(0.1 + (500 - full + 1 + bucket.reserve) / 100)


def test_it_never_says_later_for_what_is_only_rounding() -> None:
    bucket = Bucket(1000.0, 0.0)
    now = 0.0
    for _ in range(100_000):
        now = bucket.ready_at(1, now)
        assert bucket.ready_at(1, now) == now
        bucket.level -= 1


def test_both_limits_hold() -> None:
    limiter = Limiter(1.0, 0.0)
    while limiter.ready_at(10, 0.0) == 0.0:
        limiter.take(10)
    assert limiter.ready_at(10, 0.0) == pytest.approx(0.001, abs=1e-6)
    limiter = Limiter(0.5, 0.0)
    limiter.take(SHARD_BYTES_PER_SECOND)
    assert limiter.ready_at(1, 0.0) > 1.0


def settled(scale: float = 1.0, shards: int = 1) -> Limiter:
    """A limiter whose first overload is over, and whose next refusals come after second 20."""
    limiter = Limiter(scale, 0.0, shards)
    limiter.take(50_000)
    limiter.refused(0.1, 0.15)
    limiter.grow(20.0)
    assert limiter.scale == scale * shards
    return limiter


def test_it_sends_only_a_part_of_its_burst_at_first() -> None:
    limiter = Limiter(1.0, 0.0)
    burst = 0
    while limiter.ready_at(10_000, 0.0) == 0.0:
        limiter.take(10_000)
        burst += 10_000
    assert 0.2 <= burst / SHARD_BYTES_PER_SECOND <= 0.25


def test_at_first_it_gives_up_the_part_that_was_refused() -> None:
    limiter = Limiter(1.0, 0.0)
    for _ in range(10):
        limiter.take(50_000)
    for _ in range(6):
        limiter.refused(0.1, 0.5)
    assert limiter.scale == pytest.approx(0.4)  # one decrease: they are of one answer
    limiter.refused(0.2, 0.6)  # sent before the decrease: of the same overload
    assert limiter.scale == pytest.approx(0.3)
    limiter.take(50_000)
    limiter.refused(0.7, 0.8)  # the first overload goes on
    assert limiter.scale < 0.3


def test_later_it_gives_up_a_larger_part_the_larger_its_share() -> None:
    limiter = settled()
    limiter.refused(20.1, 20.2)
    assert limiter.scale == pytest.approx(1 - 0.40)
    limiter.refused(20.5, 20.6)  # the same overload
    assert limiter.scale < 0.62
    before = limiter.scale_at(21.3)
    limiter.refused(21.25, 21.3)
    assert limiter.scale == pytest.approx(before * (1 - 0.05 - 0.35 * before))


def test_a_lane_for_many_shards_counts_its_share_of_all_of_them() -> None:
    limiter = settled(shards=4)
    limiter.refused(20.1, 20.2)
    assert limiter.scale == pytest.approx(4 * (1 - 0.40))


def test_it_comes_back_slowly_at_first_and_then_faster_and_faster() -> None:
    limiter = settled()
    limiter.refused(20.1, 20.2)
    limiter.refused(21.25, 21.3)
    low = limiter.scale
    gained = [limiter.scale_at(21.3 + second) - low for second in (1, 2, 4, 5)]
    assert gained[1] == pytest.approx(2 * gained[0])
    assert gained[3] - gained[2] > 4 * gained[0]
    assert limiter.scale == low  # to ask changes nothing
    limiter.grow(21.3 + 8)
    assert limiter.scale == 1.0


def test_a_decrease_is_followed_by_a_short_pause() -> None:
    limiter = settled()
    limiter.refused(20.1, 20.2)
    assert limiter.ready_at(1, 20.2) >= 20.2 + 0.15


def test_a_shard_that_took_nearly_all_of_its_limit_is_given_up_little_of_but_never_nothing() -> None:
    for taken, scale in ((20, 0.9), (10, 0.6)):
        limiter = settled()
        for number in range(taken):
            limiter.accepted(50_000, 20.0 + number / 20)
        limiter.refused(20.9, 20.95)
        assert limiter.scale == pytest.approx(scale)


def test_a_backoff_saves_up_next_to_nothing() -> None:
    limiter = Limiter(1.0, 0.0)
    while limiter.ready_at(50_000, 0.0) == 0.0:
        limiter.take(50_000)
    limiter.rest(2.0)
    burst = 0
    while limiter.ready_at(50_000, 2.0) == 2.0:
        limiter.take(50_000)
        burst += 50_000
    assert burst <= 0.15 * SHARD_BYTES_PER_SECOND
