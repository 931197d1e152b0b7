"""The page on the cost of metrics has the table that its script computes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_spec = importlib.util.spec_from_file_location("metrics_cost", ROOT / "scripts/metrics_cost.py")
assert _spec is not None
assert _spec.loader is not None
cost = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cost)


def test_the_page_has_the_scripts_table() -> None:
    assert f"\n{cost.table()}\n" in (ROOT / "docs/metrics-cost.md").read_text(encoding="utf-8")


def test_metrics_are_counted_with_their_dimensions() -> None:
    """Six of the KPL's summary metrics have all dimensions. ErrorsByCode adds one metric for its one code."""
    assert cost.metrics("summary", "global", 1) == 7
    assert cost.metrics("summary", "stream", 256) == 13
    assert cost.metrics("summary", "shard", 256) == 13 + 6 * 256


def test_prices_fall_by_tiers() -> None:
    assert cost.dollars(1000) == pytest.approx(300 + 43_200 * 0.01 / 1000)
    assert cost.dollars(20_000) == pytest.approx(3000 + 1000 + 20 * 43_200 * 0.01 / 1000)
    assert cost.calls(1001) == 2 * 43_200
