"""The rate to a delivery stream, whose quota only refusals show."""

from __future__ import annotations

import pytest

from kplpy.core import policy as rules
from kplpy.core.batching.quota_limiter import QuotaLimiter

MIB = 1 << 20


def test_the_rate_starts_below_the_smallest_default_quota_and_doubles_each_second() -> None:
    limiter = QuotaLimiter(100.0)
    assert limiter.scale == rules.START
    assert [limiter.scale_at(100.0 + seconds) for seconds in (1, 3)] == pytest.approx(
        [2 * rules.START, 8 * rules.START]
    )


def test_doubling_has_an_end_after_a_pause_of_any_length() -> None:
    limiter = QuotaLimiter(0.0)
    limiter.grow(1e9)
    assert limiter.scale == rules.QUOTA_MOST


def test_small_records_are_limited_by_bytes_and_not_as_for_a_shard() -> None:
    limiter = QuotaLimiter(0.0)
    limiter.grow(10.0)
    assert limiter.backlog(20_000, 20_000 * 40, 10.0) < 0  # twenty shards' worth of records


@pytest.mark.parametrize("seconds", [4.0, 1000.0])
def test_the_first_refusal_shows_the_quota_however_far_doubling_went(seconds: float) -> None:
    limiter = QuotaLimiter(0.0)
    limiter.accepted(5 * MIB, seconds, 50)
    for _ in range(50):
        limiter.refused(seconds - 0.1, seconds)
    assert limiter.shards == pytest.approx(5.0)
    assert limiter.scale == pytest.approx(5.0 * (1 - rules.ALONE_DECREASE))


def test_the_quota_is_never_taken_for_less_than_the_smallest_default() -> None:
    """Others may have used the rest of it."""
    limiter = QuotaLimiter(0.0)
    limiter.accepted(1000, 1.0)
    limiter.refused(0.9, 1.0)
    assert limiter.shards == 1


def test_the_rate_may_grow_beyond_what_was_learnt() -> None:
    limiter = QuotaLimiter(0.0)
    limiter.refused(0.9, 1.0)
    assert limiter.scale < 1
    assert limiter.scale_at(30.0) > 2
