"""Removes the roll-ups from a window. Each value remains once, with its most specific dimensions.

CloudWatch needs the roll-ups of stream and of all streams. Prometheus and OpenTelemetry add up themselves, and would
count each value three times.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from kplpy.metrics.catalogue import METRICS
from kplpy.metrics.histogram import Histogram
from kplpy.metrics.sample import Sample, Window

Place = tuple[str, str | None, str | None, str | None]
"""Metric, error code, stream and shard; None where the sample has no such dimension."""


@dataclass(frozen=True, slots=True)
class LeafSample:
    """Values of one metric that no more specific sample has.

    name: the metric.
    stream, shard, error_code: empty where unknown, or where the metric is not counted by them.
    count, total: number and sum of the values.
    maximum: of the whole sample, so of its more specific samples too.
    latest: the last value of a sampled metric.
    histogram: the values in buckets, for metrics with percentiles.
    """

    name: str
    stream: str
    shard: str
    error_code: str
    count: int
    total: float
    latest: float
    maximum: float
    histogram: Histogram | None


def leaf_samples(window: Window) -> list[LeafSample]:
    """Return the samples of the window without roll-ups.

    A request that failed as a whole has no shard. Its values are what its stream has beyond the sum of its shards.
    """
    samples = {place: sample for sample in window.samples if (place := _place(sample)) is not None}
    counts: defaultdict[Place, int] = defaultdict(int)
    totals: defaultdict[Place, float] = defaultdict(float)
    for place, sample in samples.items():
        parent = _parent(place)
        if parent is not None:
            counts[parent] += sample.count
            totals[parent] += sample.total
    found = []
    for place, sample in samples.items():
        count = sample.count - counts[place]
        if count > 0:
            name, code, stream, shard = place
            total = sample.total - totals[place]
            place_names = (name, stream or "", shard or "", code or "")
            found.append(LeafSample(*place_names, count, total, sample.latest, sample.maximum, sample.histogram))
    return found


def _place(sample: Sample) -> Place | None:
    """Return the sample's place; None for a sample that others have in more detail."""
    given = dict(sample.dimensions)
    code, stream, shard = given.get("ErrorCode"), given.get("StreamName"), given.get("ShardId")
    metric = METRICS[sample.name]
    if metric.coded and code is None:
        return None  # a sum over error codes
    if metric.percentiles and shard is not None:
        return None  # the sample of the stream has the histogram
    return sample.name, code, stream, shard


def _parent(place: Place) -> Place | None:
    name, code, stream, shard = place
    if shard is not None:
        return name, code, stream, None
    return (name, code, None, None) if stream is not None else None
