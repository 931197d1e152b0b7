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


def test_it_makes_room_for_others_and_comes_back_when_they_are_gone() -> None:
    limiter = Limiter(1.0, 0.0)
    for _ in range(10):
        limiter.take(50_000)
    limiter.accepted(50_000, 0.5)
    for _ in range(9):
        limiter.refused(0.1, 0.5)
    assert limiter.scale == pytest.approx(0.88)  # one decrease: the others are of the same answer
    limiter.refused(0.2, 0.6)  # sent before the decrease
    assert limiter.scale == pytest.approx(0.88)
    limiter.take(50_000)
    limiter.refused(0.7, 0.8)
    assert limiter.scale < 0.8
    limiter.grow(15.0)
    assert limiter.scale == 1.0


def test_what_the_shard_took_within_the_last_second_is_not_given_up_if_nobody_else_can_have_had_much() -> None:
    for taken, scale in ((20, 20 * 50_000 / SHARD_BYTES_PER_SECOND * 1.02), (10, 0.88)):
        limiter = Limiter(1.0, 0.0)
        for number in range(20):
            limiter.take(50_000)
            if number < taken:
                limiter.accepted(50_000, 0.5 + number / 50)
        limiter.refused(0.85, 0.95)
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
