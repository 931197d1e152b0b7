"""Tests the registry's seconds, windows and totals, and how values add up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kplpy.metrics.catalogue import METRICS
from kplpy.metrics.frame import Update
from kplpy.metrics.registry import Registry
from kplpy.metrics.sample import Window

WALL = 1_000_000.0


def put(value: float, stream: str = "orders", shard: str | None = "s0", name: str = "UserRecordsPut") -> Update:
    return (name, stream, shard, None), 1, value, value, value, None


def totals(window: Window, name: str = "UserRecordsPut") -> dict[str, tuple[int, float]]:
    return {
        "/".join(value for _, value in each.dimensions): (each.count, each.total)
        for each in window.samples
        if each.name == name
    }


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [
        ("global", {"": (3, 6.0)}),
        ("stream", {"": (3, 6.0), "orders": (2, 3.0), "other": (1, 3.0)}),
        (
            "shard",
            {
                "": (3, 6.0),
                "orders": (2, 3.0),
                "other": (1, 3.0),
                "orders/s0": (1, 1.0),
                "orders/s1": (1, 2.0),
                "other/s0": (1, 3.0),
            },
        ),
    ],
)
def test_values_add_up_to_every_ancestor(granularity: str, expected: dict[str, tuple[int, float]]) -> None:
    registry = Registry(granularity)
    registry.update([put(1), put(2, shard="s1"), put(3, "other")], 5.5)
    assert totals(registry.total(WALL)) == expected


def test_errors_have_their_code_before_the_stream_and_a_sum() -> None:
    registry = Registry("shard")
    registry.update([(("ErrorsByCode", "orders", "s0", "Throttled"), 2, 2, 1, 1, None)], 5.5)
    registry.update([(("ErrorsByCode", "orders", None, "Timeout"), 1, 1, 1, 1, None)], 5.5)
    found = {each.dimensions: each.count for each in registry.total(WALL).samples}
    stream, shard = ("StreamName", "orders"), ("ShardId", "s0")
    assert found == {
        (): 3,
        (("ErrorCode", "Throttled"),): 2,
        (("ErrorCode", "Throttled"), stream): 2,
        (("ErrorCode", "Throttled"), stream, shard): 2,
        (("ErrorCode", "Timeout"),): 1,
        (("ErrorCode", "Timeout"), stream): 1,
    }


def test_a_window_has_the_last_whole_seconds() -> None:
    registry = Registry("global")
    for second in (10.1, 10.9, 11.5, 12.0, 13.2):
        registry.update([put(second)], second)
    assert totals(registry.window(1, 13.3, WALL)) == {"": (1, 12.0)}
    assert totals(registry.window(2, 13.3, WALL)) == {"": (2, 23.5)}
    assert totals(registry.window(60, 13.3, WALL)) == {"": (4, 44.5)}
    window = registry.window(2, 13.3, WALL)
    assert (window.started_at, window.ended_at) == pytest.approx((WALL - 2.3, WALL - 0.3))
    assert totals(registry.window(60, 100.0, WALL)) == {}


def test_the_latest_value_is_known_in_every_sum() -> None:
    registry = Registry("stream")
    for second, value in enumerate((7, 3, 5)):
        registry.update([put(value, shard=None, name="UserRecordsPending")], 5.5 + second)
    sums = [registry.total(WALL), registry.window(10, 8.5, WALL), registry.cut("detailed", 8.5, WALL)]
    assert [sample.latest for window in sums for sample in window.samples] == [5] * 6


def test_every_value_is_in_one_cut() -> None:
    registry = Registry("global")
    registry.begin(WALL)
    registry.update([put(1)], 10.5)
    registry.update([put(2)], 11.5)
    first = registry.cut("detailed", 11.9, WALL + 2, up_to_now=False)
    registry.update([put(3)], 11.95)
    last = registry.cut("detailed", 12.5, WALL + 3, up_to_now=True)
    assert (totals(first), totals(last)) == ({"": (1, 1.0)}, {"": (2, 5.0)})
    assert first.ended_at == pytest.approx(WALL + 1.1)
    assert (first.started_at, last.started_at, last.ended_at) == (WALL, first.ended_at, WALL + 3)
    assert totals(registry.total(WALL)) == {"": (3, 6.0)}


def test_there_is_no_gap_where_a_window_is_empty() -> None:
    """Two cuts are in one second. The clocks are read one after the other, so the second begins at two near times."""
    registry = Registry("global")
    registry.begin(WALL)
    registry.update([put(1)], 10.5)
    first = registry.cut("detailed", 11.0, WALL + 1)
    empty = registry.cut("detailed", 11.1, WALL + 1.1001)
    registry.update([put(2)], 11.5)
    second = registry.cut("detailed", 12.0, WALL + 2)
    assert not empty.samples
    assert second.started_at == first.ended_at


def test_windows_do_not_overlap_when_the_clock_is_set_back() -> None:
    registry = Registry("global")
    registry.begin(WALL)
    registry.update([put(1)], 10.5)
    first = registry.cut("detailed", 11.0, WALL + 60)
    second = registry.cut("detailed", 71.0, WALL)
    assert first.ended_at == second.started_at == second.ended_at


def test_the_level_decides_what_a_sink_gets() -> None:
    registry = Registry("global")
    registry.update([put(1), put(2, name="UserRecordsDataPut")], 10.5)
    assert {each.name for each in registry.cut("summary", 11.5, WALL).samples} == {"UserRecordsPut"}
    assert {each.name for each in registry.total(WALL).samples} == {"UserRecordsPut", "UserRecordsDataPut"}


def test_the_kpls_metrics_are_all_there() -> None:
    summary = {"UserRecordsPut", "UserRecordExpired", "KinesisRecordsPut", "ErrorsByCode", "AllErrors", "BufferingTime"}
    assert {each.name for each in METRICS.values() if each.kpl and each.level == "summary"} == summary
    assert sum(each.kpl for each in METRICS.values()) == 15


def test_the_page_lists_all_metrics() -> None:
    page = (Path(__file__).parents[3] / "docs/metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (\w+) \| (.*) \|$", page, re.MULTILINE)
    expected = [(each.name, each.unit, each.level, each.finest, each.meaning) for each in METRICS.values()]
    assert rows == expected
