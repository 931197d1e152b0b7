"""The statistics of a span of time, and the samples made from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from kplpy.metrics.catalogue import DEPTHS, METRICS, ORDER
from kplpy.metrics.histogram import Histogram
from kplpy.metrics.sample import Dimensions, Sample

Key = tuple[str, str | None, str | None, str | None]
"""Metric, stream, shard and error code; None where not known."""
Update = tuple[Key, int, float, float, float, Histogram | None]
"""Values of one key: their number, sum, minimum and maximum, and a histogram if there is one."""


class Cell:
    """The statistics of one key."""

    __slots__ = ("count", "histogram", "latest", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.count = 0
        self.latest = 0.0  # average of the values that were added last
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
    """Cells by key. Each value is kept once, under its finest key; `samples` adds the values up."""

    __slots__ = ("cells",)

    def __init__(self) -> None:
        self.cells: defaultdict[Key, Cell] = defaultdict(Cell)

    def update(self, updates: Iterable[Update]) -> None:
        cells = self.cells
        for key, count, total, minimum, maximum, histogram in updates:
            cells[key].add(count, total, minimum, maximum, histogram)

    def merge(self, other: Frame) -> None:
        """Add the values of a later frame."""
        for key, cell in other.cells.items():
            self.cells[key].merge(cell)

    def samples(self, level: str, granularity: str) -> tuple[Sample, ...]:
        """Return the samples that `level` includes, in the catalogue's order.

        Each value counts for its shard, for its stream, and in all, down to the granularity.
        """
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
    """Return the dimensions under which a value counts, from none to the finest.

    As in the KPL, ErrorCode comes before the stream. The metric without dimensions is the sum of all values.
    """
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
