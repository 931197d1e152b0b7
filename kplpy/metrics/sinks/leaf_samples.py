"""A window without its sums: each value once, at the finest place that it is known for.

CloudWatch wants the sums (shard, stream, over all); Prometheus and OpenTelemetry add up themselves, and would count
each value three times.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from kplpy.metrics.catalogue import METRICS
from kplpy.metrics.histogram import Histogram
from kplpy.metrics.sample import Sample, Window

Place = tuple[str, str | None, str | None, str | None]
"""Metric, error code, stream, shard."""


@dataclass(frozen=True, slots=True)
class LeafSample:
    """Values of one metric. `stream`, `shard` and `error_code` are empty where they are not known or not told apart."""

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
    """What a request as a whole met with has no shard: it is what its stream has more than its shards together."""
    samples = {place: sample for sample in window.samples if (place := _place(sample)) is not None}
    counts: defaultdict[Place, int] = defaultdict(int)
    totals: defaultdict[Place, float] = defaultdict(float)
    for place, sample in samples.items():
        above = _above(place)
        if above is not None:
            counts[above] += sample.count
            totals[above] += sample.total
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
    """None: a sum over error codes, which are told apart below it."""
    given = dict(sample.dimensions)
    code, stream, shard = given.get("ErrorCode"), given.get("StreamName"), given.get("ShardId")
    metric = METRICS[sample.name]
    if metric.coded and code is None:
        return None
    if metric.percentiles and shard is not None:
        return None  # its stream has the histogram
    return sample.name, code, stream, shard


def _above(place: Place) -> Place | None:
    name, code, stream, shard = place
    if shard is not None:
        return name, code, stream, None
    return (name, code, None, None) if stream is not None else None
