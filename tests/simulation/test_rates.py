"""Goodput and refusals under more load than the shards take, on a virtual clock; figures of issue 4."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core_helpers import policy
from tests.simulation.rates import Rates

# Five of these fill an aggregate as records of 1 KB do, and cost less time.
SIZE = 10_180


@pytest.mark.parametrize(
    ("load", "goodput", "throttled"),
    [
        ({}, 0.99, 0.01),
        ({"windows": True}, 0.95, 0.05),
        ({"producers": 2, "offered": 1.0}, 0.98, 0.05),
        ({"producers": 3, "offered": 1.0, "foreign": 0.25}, 0.97, 0.10),
    ],
    ids=["one", "one, fixed windows", "two", "three and a foreign loop"],
)
def test_overload(load: dict[str, Any], goodput: float, throttled: float) -> None:
    rates = Rates(policy(), record_size=SIZE, **load).run()
    assert rates.goodput >= goodput
    *ours, foreign = rates.measured
    assert sum(each.throttled for each in ours) <= throttled * sum(each.sent for each in ours)
    fair = (sum(each.taken_bytes for each in rates.measured) - foreign.taken_bytes) / len(ours)
    for each in ours:
        assert each.taken_bytes == pytest.approx(fair, rel=0.25)


# One case of scripts/rates.py each, which has 20 seeds of each size: one shard, where luck weighs most.
@pytest.mark.parametrize("size", [1_000, 5_000, 10_180])
@pytest.mark.parametrize(
    "load",
    [
        {"producers": 2},
        {"producers": 3},
        {"producers": 2, "joins": (0.0, 15.3)},
        {"producers": 3, "leaves": (20.0,)},
    ],
    ids=["two", "three", "a late joiner", "a leaver"],
)
def test_no_producer_gets_less_than_half_of_its_fair_share_for_long(load: dict[str, Any], size: int) -> None:
    rates = Rates(policy(), shards=1, offered=1.0, record_size=size, seconds=40.0, **load).run()
    assert rates.least_share() >= 0.5
    assert rates.throttled(10, 40) <= 0.08


@pytest.mark.parametrize(("producers", "seconds"), [(2, 3), (3, 3), (8, 6)])
def test_producers_that_start_together_are_soon_throttled_little(producers: int, seconds: int) -> None:
    runs = [Rates(policy(), producers, offered=1.0, record_size=SIZE, seconds=8.0, seed=n).run() for n in (1, 2)]
    # Of eight, each sends some three records a second to a shard, which is little to learn from.
    assert sum(each.throttled(seconds, seconds + 1) for each in runs) / len(runs) < (0.05 if producers < 8 else 0.09)


def test_what_a_producer_leaves_is_used_within_five_seconds() -> None:
    runs = [
        Rates(policy(), 2, 1, offered=1.0, record_size=SIZE, seconds=30.0, leaves=(15.0,), seed=n).run()
        for n in range(1, 9)
    ]
    assert sum(each.taken(20, 23) for each in runs) / len(runs) >= 0.5 + 0.95 * 0.5


@pytest.mark.parametrize("producers", [2, 3])
def test_a_small_room_costs_no_goodput(producers: int) -> None:
    rates = Rates(policy(), producers, offered=1.0, record_size=1_000, seconds=25.0, backlog=8e6).run()
    assert rates.goodput >= 0.98


def test_small_records_that_are_not_aggregated() -> None:
    rates = Rates(policy(aggregate=False), shards=1, offered=0.2, record_size=100, seconds=20.0).run()
    (ours, _) = rates.measured
    assert ours.sent - ours.throttled >= 0.99 * 10 * 1000
    assert ours.throttled <= 0.01 * ours.sent


def test_a_hot_shard_does_not_delay_the_others() -> None:
    rates = Rates(policy(), offered=1.5, shares=(10.0, 1.0, 1.0, 1.0), seconds=40.0, backlog=1e12).run()
    (ours, _) = rates.measured
    for shard in (1, 2, 3):
        latencies = sorted(ours.latencies[shard])
        assert latencies[len(latencies) * 99 // 100] < 0.25
    assert len(ours.latencies[0]) > 0.95 * 35 * 1048576 / 5000


def test_what_choosing_the_shard_gains_at_a_low_rate() -> None:
    """200 records a second on 64 shards: random keys leave nearly each of them alone."""
    packed = []
    for keyless in (False, True):
        load = 200 * 100 / (64 * 1048576)
        rates = Rates(policy(), shards=64, offered=load, record_size=100, seconds=20.0, keyless=keyless).run()
        packed.append(rates.measured[0].records / rates.pipelines[0].totals.kinesis_records_put)
    assert packed[0] < 2
    assert packed[1] > 15


def test_what_choosing_the_shard_gains_beside_a_busy_one() -> None:
    """Four shards, nine tenths of one of them taken by others, and as much offered as the rest can take."""
    goodput = []
    for keyless in (False, True):
        busy = (0.9, 0.0, 0.0, 0.0)
        rates = Rates(policy(), offered=0.75, busy=busy, keyless=keyless, backlog=4e6).run()
        goodput.append(rates.measured[0].taken_bytes / (50 * 3 * 1048576))
    assert goodput[1] > 0.97
    assert goodput[1] > goodput[0] + 0.2
