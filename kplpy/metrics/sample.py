"""What a window of metrics is made of, and what takes one in.

A `Sample` is CloudWatch's StatisticSet: the registry keeps nothing finer, but for the histograms that percentiles are
read from. Every sink gets the same windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from kplpy.metrics.histogram import Histogram

Unit = Literal["Count", "Bytes", "Milliseconds", "Seconds", "Percent", "Bytes/Second", "Count/Second"]
Dimensions = tuple[tuple[str, str], ...]
"""(name, value) in the KPL's order: ErrorCode, StreamName, ShardId. Empty: over everything."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric of one set of dimensions within one window."""

    name: str
    unit: Unit
    dimensions: Dimensions
    count: int
    """How many values; never 0."""
    total: float
    """Their sum."""
    minimum: float
    maximum: float
    histogram: Histogram | None = field(default=None, repr=False)
    """Of the same values, where percentiles are kept: TimeToAnswer, but not by shard."""
    latest: float = field(default=0.0, repr=False, compare=False)
    """Of a sampled metric, the last value; of one that is a sum, that of its last part."""

    @property
    def average(self) -> float:
        return self.total / self.count

    def percentile(self, percent: float) -> float | None:
        """The value that `percent` (0 to 100) of all are not above, within 1 % of it; None without a histogram."""
        if self.histogram is None:
            return None
        return min(max(self.histogram.percentile(percent), self.minimum), self.maximum)


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured from one moment to another, in seconds since the epoch. Windows do not overlap.

    A sample is there for every level that it adds up to: a stream's is also in the one over everything.
    """

    started_at: float
    ended_at: float
    samples: tuple[Sample, ...]

    def find(
        self, name: str, stream: str | None = None, shard: str | None = None, error_code: str | None = None
    ) -> Sample | None:
        """The sample of exactly these dimensions; None: nothing was counted there."""
        given = (("ErrorCode", error_code), ("StreamName", stream), ("ShardId", shard))
        dimensions = tuple((key, value) for key, value in given if value is not None)
        return next((each for each in self.samples if each.name == name and each.dimensions == dimensions), None)


class Sink(Protocol):
    """Takes windows to where somebody looks at them. Called from one thread of its own, one window at a time.

    What it raises is logged once an interval and costs nothing but this window.
    """

    def emit(self, window: Window) -> None: ...
