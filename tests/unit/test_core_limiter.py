"""Token buckets."""

from __future__ import annotations

import pytest

from kplpy.core.limiter import Bucket, Limiter
from kplpy.core.policy import SHARD_BYTES_PER_SECOND


def test_it_starts_full_and_grows_with_time() -> None:
    bucket = Bucket(100.0, 0.0)
    full = bucket.level
    assert full - bucket.reserve == pytest.approx(90)  # what goes at once
    bucket.take(full - bucket.reserve)
    assert bucket.ready_at(50, 0.0) == pytest.approx(0.5)
    assert bucket.ready_at(50, 0.5) == 0.5
    bucket.ready_at(0, 100.0)
    assert bucket.level == full


def test_a_large_cost_needs_a_full_bucket_and_drives_it_negative() -> None:
    bucket = Bucket(100.0, 0.0)
    full = bucket.level
    bucket.take(10)
    for cost in (500, 95):
        assert bucket.ready_at(cost, 0.0) == pytest.approx(0.1)
    assert bucket.ready_at(500, 0.1) == 0.1
    bucket.take(500)
    assert bucket.level == pytest.approx(full - 500)
    assert bucket.ready_at(1, 0.1) == pytest.approx(0.1 + (500 - full + 1 + bucket.reserve) / 100)


def test_it_never_says_later_for_what_is_only_rounding() -> None:
    bucket = Bucket(1000.0, 0.0)
    now = 0.0
    for _ in range(100_000):
        now = bucket.ready_at(1, now)
        assert bucket.ready_at(1, now) == now
        bucket.take(1)


def test_both_limits_hold() -> None:
    limiter = Limiter(1.0, 0.0)
    while limiter.ready_at(10, 0.0) == 0.0:
        limiter.take(10)
    assert limiter.ready_at(10, 0.0) == pytest.approx(0.001, abs=1e-6)
    limiter = Limiter(0.5, 0.0)
    limiter.take(SHARD_BYTES_PER_SECOND)
    assert limiter.ready_at(1, 0.0) > 1.0
