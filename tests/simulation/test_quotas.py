"""Delivery streams whose quota is learnt from refusals, on a virtual clock."""

from __future__ import annotations

import pytest

from tests.simulation.quotas import Quotas


@pytest.mark.parametrize(("quota", "producers"), [(0.3, 1), (1, 1), (1, 4), (5, 2)])
def test_producers_use_the_quota_share_it_and_are_throttled_little(quota: float, producers: int) -> None:
    """The start is too fast for a small quota, or for many producers; then few records are refused."""
    found = Quotas(quota, producers, seconds=25.0).run()
    assert isinstance(found, Quotas)
    assert found.used(5, 15) >= 0.8
    assert found.used(15, 25) >= 0.8
    assert found.throttled(15, 25) <= 0.08
    assert found.least_share() >= 0.5


def test_a_large_quota_is_in_use_within_seconds() -> None:
    found = Quotas(20, 1, seconds=8.0)
    found.run()
    assert found.used(0, 1) < 0.1
    assert found.used(5, 8) >= 0.8


@pytest.mark.parametrize(("first", "then"), [(2, 8), (5, 1)], ids=["raised", "lowered"])
def test_another_quota_is_learnt_later(first: float, then: float) -> None:
    found = Quotas(first, 1, offered=6.0, seconds=40.0)
    found.change_quota(10.0, then)
    found.run()
    assert found.used(30, 40) >= 0.9 * min(then / first, 1.4)
    assert found.throttled(35, 40) <= 0.25
