"""A stretch of time's statistics, and the samples that they add up to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from kplpy.metrics.catalogue import DEPTHS, METRICS, ORDER
from kplpy.metrics.histogram import Histogram
from kplpy.metrics.sample import Dimensions, Sample

Key = tuple[str, str | None, str | None, str | None]
"""Metric, stream, shard, error code."""
Update = tuple[Key, int, float, float, float, Histogram | None]
"""Values of one key: how many, their sum, minimum and maximum."""


class Cell:
    """The statistics of one key."""

    __slots__ = ("count", "histogram", "latest", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.count = 0
        self.latest = 0.0  # of what was added last, the average
        self.total = 0.0
        self.minimum = float("inf")
        self.maximum = float("-inf")
        self.histogram: Histogram | None = None

    def add(self, count: int, total: float, minimum: float, maximum: float, histogram: Histogram | None) -> None:
        if count:
            self.latest = total / count
        self.count += count
        self.total += total
        if minimum < self.minimum:
            self.minimum = minimum
        if maximum > self.maximum:
            self.maximum = maximum
        if histogram is not None:
            if self.histogram is None:
                self.histogram = Histogram()
            self.histogram.merge(histogram)

    def merge(self, other: Cell) -> None:
        self.add(other.count, other.total, other.minimum, other.maximum, other.histogram)
        self.latest = other.latest


class Frame:
    """Cells by key. A value is kept once, for the finest key that it has; `samples` adds them up."""

    __slots__ = ("cells",)

    def __init__(self) -> None:
        self.cells: defaultdict[Key, Cell] = defaultdict(Cell)

    def update(self, updates: Iterable[Update]) -> None:
        cells = self.cells
        for key, count, total, minimum, maximum, histogram in updates:
            cells[key].add(count, total, minimum, maximum, histogram)

    def merge(self, other: Frame) -> None:
        """`other` is later."""
        for key, cell in other.cells.items():
            self.cells[key].merge(cell)

    def samples(self, level: str, granularity: str) -> tuple[Sample, ...]:
        """Each value counts in every ancestor that the granularity lets be seen: its shard, stream, and over all."""
        sums: defaultdict[tuple[str, Dimensions], Cell] = defaultdict(Cell)
        depth = DEPTHS[granularity]
        for (name, stream, shard, code), cell in self.cells.items():
            if level != "detailed" and METRICS[name].level == "detailed":
                continue
            for dimensions in _ancestors(stream, shard, code, depth):
                sums[name, dimensions].merge(cell)
        places = sorted(sums, key=lambda place: (ORDER[place[0]], place[1]))
        return tuple(_sample(name, dimensions, sums[name, dimensions]) for name, dimensions in places)


def _ancestors(stream: str | None, shard: str | None, code: str | None, depth: int) -> list[Dimensions]:
    """As in the KPL: ErrorCode comes before the stream, and the metric without any dimension is everything's sum."""
    found: list[Dimensions] = [()]
    dimensions: Dimensions = ()
    if code is not None:
        dimensions = (("ErrorCode", code),)
        found.append(dimensions)
    if stream is not None and depth >= 1:
        dimensions = (*dimensions, ("StreamName", stream))
        found.append(dimensions)
        if shard is not None and depth >= 2:
            found.append((*dimensions, ("ShardId", shard)))
    return found


def _sample(name: str, dimensions: Dimensions, cell: Cell) -> Sample:
    unit = METRICS[name].unit
    return Sample(
        name, unit, dimensions, cell.count, cell.total, cell.minimum, cell.maximum, cell.histogram, cell.latest
    )
