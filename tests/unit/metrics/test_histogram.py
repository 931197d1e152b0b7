"""Tests that percentiles are within the promised error for any values, and that merging loses nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kplpy.metrics.histogram import ERROR, LARGEST, SMALLEST, Histogram
from kplpy.metrics.sample import Sample

values = st.lists(st.floats(SMALLEST, LARGEST), min_size=1, max_size=200)


def filled(numbers: list[float]) -> Histogram:
    histogram = Histogram()
    histogram.add_ages([-each / 1000 for each in sorted(numbers, reverse=True)], 0.0)
    return histogram


@given(values, st.floats(0, 100))
def test_percentiles_are_within_the_error(numbers: list[float], percent: float) -> None:
    exact = sorted(numbers)[max(0, math.ceil(percent / 100 * len(numbers)) - 1)]
    assert filled(numbers).percentile(percent) == pytest.approx(exact, rel=ERROR + 1e-9)


@given(values, values)
def test_merging_is_counting_together(some: list[float], others: list[float]) -> None:
    together = filled(some)
    together.merge(filled(others))
    assert together == filled(some + others)
    assert filled(some).count == len(some)


@given(values)
def test_buckets_hold_every_value_below_their_bound(numbers: list[float]) -> None:
    below = 0
    for bound, count in filled(numbers).buckets():
        below += count
        assert sum(each <= bound * (1 + 1e-9) for each in numbers) >= below
    assert below == len(numbers)


def test_the_smallest_values_share_a_bucket() -> None:
    [(bound, count)] = filled([0.0, 1e-9, SMALLEST]).buckets()
    assert bound == pytest.approx(SMALLEST, rel=0.03)
    assert count == 3


def test_the_largest_values_share_a_bucket() -> None:
    [(bound, count)] = filled([LARGEST, 2 * LARGEST, 1e30]).buckets()
    assert bound == pytest.approx(LARGEST, rel=0.03)
    assert count == 3


def test_many_values_take_few_buckets() -> None:
    assert len(filled([100 + each / 1000 for each in range(100_000)]).buckets()) < 40


def test_a_histogram_without_values_has_no_percentile_above_0() -> None:
    assert Histogram().percentile(99) == 0.0


@pytest.mark.parametrize("percent", [-1, 101, float("nan")])
def test_a_percentile_is_from_0_to_100(percent: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        Histogram().percentile(percent)


def test_a_samples_percentiles_stay_within_its_bounds() -> None:
    sample = Sample("TimeToAnswer", "Milliseconds", (), 3, 303.0, 100.0, 102.0, filled([100.0, 101.0, 102.0]))
    assert sample.percentile(0) == pytest.approx(100.0, rel=ERROR)
    assert sample.percentile(100) == 102.0
    assert sample.average == 101.0
    assert Sample("AllErrors", "Count", (), 1, 0.0, 0.0, 0.0).percentile(50) is None
