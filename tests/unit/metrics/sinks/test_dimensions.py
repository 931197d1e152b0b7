"""Tests the place of added dimensions: as in the KPL's chain (metrics_manager.h), each beginning a metric."""

from __future__ import annotations

import pytest

from kplpy.metrics.sample import Dimensions, Sample, Window
from kplpy.metrics.sinks.dimensions import WithDimensions

CODE, STREAM, SHARD = ("ErrorCode", "Slow"), ("StreamName", "orders"), ("ShardId", "shardId-000000000000")
ALL, ALL_TOO = ("Fleet", "blue"), ("Zone", "a")
STREAMS, SHARDS = ("HostName", "web-1"), ("Process", "7")
ADDED = (
    (*SHARDS, "shard"),
    (*ALL, "global"),
    (*STREAMS, "stream"),
    (*ALL_TOO, "global"),
)


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        ((), [(), (ALL,), (ALL, ALL_TOO)]),
        ((CODE,), [(ALL, ALL_TOO, CODE)]),
        ((STREAM,), [(ALL, ALL_TOO, STREAM), (ALL, ALL_TOO, STREAM, STREAMS)]),
        ((CODE, STREAM), [(ALL, ALL_TOO, CODE, STREAM), (ALL, ALL_TOO, CODE, STREAM, STREAMS)]),
        (
            (STREAM, SHARD),
            [(ALL, ALL_TOO, STREAM, STREAMS, SHARD), (ALL, ALL_TOO, STREAM, STREAMS, SHARD, SHARDS)],
        ),
    ],
)
def test_the_chain(dimensions: Dimensions, expected: list[Dimensions]) -> None:
    windows: list[Window] = []

    class Keeping:
        def emit(self, window: Window) -> None:
            windows.append(window)

    sample = Sample("ErrorsByCode", "Count", dimensions, 3, 3.0, 1.0, 1.0)
    WithDimensions(Keeping(), ADDED).emit(Window(1.0, 2.0, (sample,)))
    (window,) = windows
    assert (window.started_at, window.ended_at) == (1.0, 2.0)
    assert [each.dimensions for each in window.samples] == expected
    assert {(each.name, each.count, each.total) for each in window.samples} == {("ErrorsByCode", 3, 3.0)}
