"""Windows of metrics, their samples, and the protocol of the sinks that take windows.

A `Sample` is a StatisticSet of CloudWatch. The registry keeps nothing finer, except the histograms for percentiles.
Every sink gets the same windows.
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
"""(name, value) in the KPL's order: ErrorCode, StreamName, ShardId. Empty: the sum over all streams."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of one metric with one set of dimensions in one window.

    A sample without values is false. Its count is 0, and its average, extremes and percentiles are nan, because no
    value is not a value of 0. Only find() returns such a sample.
    """

    name: str
    unit: Unit
    dimensions: Dimensions
    count: int
    """The number of values."""
    total: float
    """The sum of the values."""
    minimum: float
    maximum: float
    histogram: Histogram | None = field(default=None, repr=False)
    """The same values in buckets, where percentiles are kept: TimeToAnswer in all and by stream, not by shard."""
    latest: float = field(default=0.0, repr=False, compare=False)
    """The last value of a sampled metric. Of other metrics, the average of the values that were added last."""

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def average(self) -> float:
        return self.total / self.count if self.count else nan

    def percentile(self, percent: float) -> float | None:
        """Return the value that `percent` (0 to 100) of all values do not exceed.

        It is within 1 % of the true value. None without a histogram; nan without values.
        ValueError: percent is not from 0 to 100.
        """
        if self.histogram is None:
            return None
        if not self.count:
            return nan
        return min(max(self.histogram.percentile(percent), self.minimum), self.maximum)


@dataclass(frozen=True, slots=True)
class Window:
    """All samples of one span of time. Windows of a sink do not overlap.

    A value counts in the sample of its shard, of its stream, and of all streams, down to `metrics_granularity`.

    started_at, ended_at: seconds since the epoch.
    """

    started_at: float
    ended_at: float
    samples: tuple[Sample, ...]

    def find(
        self, name: str, stream: str | None = None, shard: str | None = None, error_code: str | None = None
    ) -> Sample:
        """Return the sample of exactly these dimensions, or a sample without values.

        stream: a name or an ARN. Streams of one name count together.
        ValueError: there is no metric of this name.
        """
        stream_name = stream and name_of(stream)
        given = (("ErrorCode", error_code), ("StreamName", stream_name), ("ShardId", shard))
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
    """Exports windows. kplpy calls it on a thread of its own, with one window at a time.

    An exception that it raises is logged once an interval. Only that window is lost.
    """

    def emit(self, window: Window) -> None:
        """Export the window. May block: the next window grows meanwhile."""
        ...
