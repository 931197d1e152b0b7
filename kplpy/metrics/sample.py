"""What a window of metrics is made of, and what takes one in.

A `Sample` is CloudWatch's StatisticSet: the registry keeps nothing finer, but for the histograms that percentiles are
read from. Every sink gets the same windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from math import nan
from typing import Protocol

from kplpy.metrics.catalogue import METRICS, Unit
from kplpy.metrics.histogram import Histogram
from kplpy.stream_names import name_of

Dimensions = tuple[tuple[str, str], ...]
"""(name, value) in the KPL's order: ErrorCode, StreamName, ShardId. Empty: over everything."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric of one set of dimensions within one window."""

    name: str
    unit: Unit
    dimensions: Dimensions
    count: int
    """How many values; 0 only where find() has nothing to find. Such a Sample is false, and has nan for its average,
    its extremes and percentiles: no value is not a value of 0."""
    total: float
    """Their sum."""
    minimum: float
    maximum: float
    histogram: Histogram | None = field(default=None, repr=False)
    """Of the same values, where percentiles are kept: TimeToAnswer, but not by shard."""
    latest: float = field(default=0.0, repr=False, compare=False)
    """Of a sampled metric, the last value; of one that is a sum, that of its last part."""

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def average(self) -> float:
        return self.total / self.count if self.count else nan

    def percentile(self, percent: float) -> float | None:
        """The value that `percent` (0 to 100) of all are not above, within 1 % of it; None without a histogram."""
        if self.histogram is None:
            return None
        if not self.count:
            return nan
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
    ) -> Sample:
        """The sample of exactly these dimensions; one of no values where nothing was counted.

        ValueError: there is no metric of this name.
        """
        name_of_stream = stream and name_of(stream)  # streams of one name count together
        given = (("ErrorCode", error_code), ("StreamName", name_of_stream), ("ShardId", shard))
        dimensions = tuple((key, value) for key, value in given if value is not None)
        for each in self.samples:
            if each.name == name and each.dimensions == dimensions:
                return each
        return _no_values(name, dimensions)


def _no_values(name: str, dimensions: Dimensions) -> Sample:
    if name not in METRICS:
        near = " or ".join(get_close_matches(name, METRICS, n=3))
        raise ValueError(f"there is no metric {name!r}{near and f'; did you mean {near}?'}")
    metric = METRICS[name]
    by_shard = any(key == "ShardId" for key, _ in dimensions)
    histogram = Histogram() if metric.percentiles and not by_shard else None
    return Sample(name, metric.unit, dimensions, 0, 0.0, nan, nan, histogram)


class Sink(Protocol):
    """Takes windows to where somebody looks at them. Called from one thread of its own, one window at a time.

    What it raises is logged once an interval and costs nothing but this window.
    """

    def emit(self, window: Window) -> None: ...
