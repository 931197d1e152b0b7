"""Token buckets."""

from __future__ import annotations

import pytest

from kplpy.core.batching.limiter import Bucket, Limiter
from kplpy.core.policy import SHARD_BYTES_PER_SECOND


def test_a_bucket_starts_full_and_grows_with_time() -> None:
    bucket = Bucket(100.0, 0.0)
    full = bucket.level
    assert full - bucket.reserve == pytest.approx(90)  # as much as may be sent at once
    bucket.level -= full - bucket.reserve
    assert bucket.ready_at(50, 0.0) == pytest.approx(0.5)
    assert bucket.ready_at(50, 0.5) == 0.5
    bucket.ready_at(0, 100.0)
    assert bucket.level == full


def test_a_large_cost_needs_a_full_bucket_and_makes_it_negative() -> None:
    bucket = Bucket(100.0, 0.0)
    full = bucket.level
    bucket.level -= 10
    for cost in (500, 95):
        assert bucket.ready_at(cost, 0.0) == pytest.approx(0.1)
    assert bucket.ready_at(500, 0.1) == 0.1
    bucket.level -= 500
    assert bucket.level == pytest.approx(full - 500)
    assert bucket.ready_at(1, 0.1) == pytest.approx(0.1 + (500 - full + 1 + bucket.reserve) / 100)


def test_a_rounding_error_never_delays_a_record() -> None:
    bucket = Bucket(1000.0, 0.0)
    now = 0.0
    for _ in range(100_000):
        now = bucket.ready_at(1, now)
        assert bucket.ready_at(1, now) == now
        bucket.level -= 1


def grown(scale: float = 1.0, shards: int = 1) -> Limiter:
    """Return a limiter in second 20, at its ceiling, that has sent and was never refused anything."""
    limiter = Limiter(scale, 0.0, shards)
    for _ in range(100):
        limiter.pay(0)
    limiter.grow(20.0)
    assert limiter.scale == scale * shards
    return limiter


def test_both_limits_hold() -> None:
    limiter = grown()
    while limiter.ready_at(10, 20.0) == 20.0:
        limiter.pay(10)
    assert limiter.ready_at(10, 20.0) == pytest.approx(20.001, abs=1e-6)
    limiter = grown(0.5)
    limiter.pay(SHARD_BYTES_PER_SECOND)
    assert limiter.ready_at(1, 20.0) > 21.0


def test_a_limiter_starts_below_its_limit_and_with_a_part_of_its_burst() -> None:
    limiter = Limiter(1.0, 0.0)
    burst = 0
    while limiter.ready_at(10_000, 0.0) == 0.0:
        limiter.pay(10_000)
        burst += 10_000
    assert 0.15 <= burst / SHARD_BYTES_PER_SECOND <= 0.25
    assert limiter.scale == pytest.approx(0.76)
    assert limiter.scale_at(1.0) == pytest.approx(0.86)
    assert limiter.scale_at(3.0) == 1.0


def test_the_first_decrease_is_the_part_that_was_refused() -> None:
    limiter = Limiter(1.0, 0.0)
    for _ in range(10):
        limiter.pay(50_000)
    for _ in range(6):
        limiter.refused(0.1, 0.5)
    assert limiter.scale == pytest.approx(0.81 * 0.4)  # one decrease, because they are in one response
    limiter.refused(0.2, 0.6)  # sent before the decrease, so part of the same overload
    assert limiter.scale == pytest.approx(0.81 * 0.3)
    limiter.pay(50_000)
    limiter.refused(0.7, 0.8)  # the first overload goes on
    assert limiter.scale < 0.81 * 0.25
    for number in range(20):
        limiter.pay(50_000)
        limiter.refused(0.9 + number / 10, 0.95 + number / 10)
    assert limiter.scale == pytest.approx(0.07)  # not less, because it is not yet known how many share


def test_a_later_decrease_is_larger_for_a_larger_share() -> None:
    limiter = grown()
    limiter.refused(20.1, 20.2)
    assert limiter.scale == pytest.approx(1 - 0.62 * 0.9)
    limiter.refused(20.5, 20.6)  # the same overload
    assert limiter.scale < 0.5
    before = limiter.scale_at(21.3)
    limiter.refused(21.25, 21.3)
    assert limiter.scale == pytest.approx(before * (1 - 0.62 * (before - 0.1)))
    for second in range(22, 40):
        limiter.refused(second + 0.5, second + 0.55)
    before = limiter.scale_at(40.55)
    limiter.refused(40.5, 40.55)
    assert limiter.scale == pytest.approx(before * (1 - 0.11))  # the least that a small share gives up


def test_a_limiter_of_many_shards_counts_its_share_of_all_of_them() -> None:
    limiter = grown(shards=4)
    limiter.refused(20.1, 20.2)
    assert limiter.scale == pytest.approx(4 * (1 - 0.62 * 0.9))


def test_the_rate_grows_slowly_at_first_then_faster_and_the_last_part_slowly() -> None:
    limiter = grown()
    limiter.refused(20.1, 20.2)
    low = limiter.scale
    gained = [limiter.scale_at(20.2 + second) - low for second in (1, 2, 4, 4.5)]
    assert gained[1] == pytest.approx(2 * gained[0])
    assert gained[3] - gained[2] > 4 * gained[0]
    times = [20.2 + n / 100 for n in range(1000)]
    reached = [next(each for each in times if limiter.scale_at(each) >= part) for part in (0.76, 0.86, 0.96)]
    assert reached[2] - reached[1] > 1.5 * (reached[1] - reached[0])
    assert limiter.scale == low  # reading changes nothing
    limiter.grow(20.2 + 8)
    assert limiter.scale == 1.0


def test_the_rate_grows_more_slowly_if_much_is_refused() -> None:
    gained = []
    for refused in (1, 30):
        limiter = grown()
        limiter.refused(20.1, 20.2)
        for _ in range(100):
            limiter.pay(50_000)
        for number in range(refused):
            limiter.refused(20.3 + number / 100, 20.4 + number / 100)  # the same overload
        limiter.refused(21.25, 21.3)
        gained.append(limiter.scale_at(24.3) - limiter.scale)
    assert gained[0] > 3 * gained[1] > 0


def test_a_decrease_is_followed_by_a_short_pause() -> None:
    limiter = grown()
    limiter.refused(20.1, 20.2)
    assert limiter.ready_at(1, 20.2) >= 20.2 + 0.05


def test_a_producer_that_had_nearly_all_for_long_gives_up_little_but_never_nothing() -> None:
    for taken, scale in ((20, 0.975), (10, 1 - 0.62 * 0.9)):
        limiter = grown()
        for number in range(taken):
            limiter.accepted(50_000, 20.0 + number / 20)
        limiter.refused(20.9, 20.95)
        assert limiter.scale == pytest.approx(scale)
    for wait, least, most in ((1.2, 0.4, 0.5), (2.5, 0.9, 0.97)):  # soon again, so others write to the shard
        limiter = grown()
        for number in range(100):
            limiter.accepted(50_000, 19.0 + number / 20)
        limiter.refused(20.9, 20.95)
        limiter.refused(20.9 + wait, 20.95 + wait)
        assert least < limiter.scale < most


def test_little_is_saved_up_during_a_backoff() -> None:
    limiter = Limiter(1.0, 0.0)
    while limiter.ready_at(50_000, 0.0) == 0.0:
        limiter.pay(50_000)
    limiter.rest(2.0)
    burst = 0
    while limiter.ready_at(50_000, 2.0) == 2.0:
        limiter.pay(50_000)
        burst += 50_000
    assert burst <= 0.15 * SHARD_BYTES_PER_SECOND


def test_spend_also_removes_the_tokens_that_a_new_bucket_withholds() -> None:
    """Otherwise a large record would take more than the slower bucket holds, right after a refusal."""
    bucket = Bucket(100.0, 0.0, filled=0.25)
    assert bucket.ready_at(1000, 0.0) == 0.0  # a large record gets the whole bucket
    refused = Bucket(100.0, 0.0, filled=0.25)
    refused.set_rate(50.0, 0.0)
    refused.spend()
    assert refused.ready_at(1000, 0.0) > 0.5
    assert refused.level <= refused.full
