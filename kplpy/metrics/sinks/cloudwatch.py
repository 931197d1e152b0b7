"""Windows as PutMetricData's StatisticSets, in calls of at most what CloudWatch takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from kplpy.metrics.sample import Sample, Window

Datum = dict[str, Any]

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
MAX_METRICS = 1000
MAX_BYTES = 1_000_000
# Of a datum, and of each of its dimensions, before the texts that are ours: names of fields in the longest protocol.
_DATUM_BYTES, _DIMENSION_BYTES = 500, 120


class PutMetricDataSink:
    """`put` makes one call of PutMetricData; what it raises is raised once all calls were tried."""

    def __init__(self, put: Callable[[list[Datum]], object]) -> None:
        self._put = put

    def emit(self, window: Window) -> None:
        failure: Exception | None = None
        for data in calls(window):
            try:
                self._put(data)
            except Exception as error:
                failure = error
        if failure is not None:
            raise failure


def calls(window: Window) -> Iterator[list[Datum]]:
    """The window's metrics, call by call; none for a window without samples."""
    at = datetime.fromtimestamp(window.ended_at, timezone.utc)
    data: list[Datum] = []
    size = 0
    for sample in window.samples:
        cost = _size(sample)
        if data and (len(data) >= MAX_METRICS or size + cost > MAX_BYTES):
            yield data
            data, size = [], 0
        data.append(_datum(sample, at))
        size += cost
    if data:
        yield data


def _datum(sample: Sample, at: datetime) -> Datum:
    return {
        "MetricName": sample.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in _told(sample.dimensions)],
        "Timestamp": at,
        "Unit": sample.unit,
        "StatisticValues": {
            "SampleCount": float(sample.count),
            "Sum": float(sample.total),
            "Minimum": float(sample.minimum),
            "Maximum": float(sample.maximum),
        },
    }


def _told(dimensions: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """CloudWatch refuses the whole call for one blank value."""
    return ((name, value) for name, value in dimensions if value.strip())


def _size(sample: Sample) -> int:
    """At least what it takes in the call; escaped, a byte of UTF-8 is three at the most."""
    texts = sum(_DIMENSION_BYTES + len(name) + 3 * len(value.encode()) for name, value in sample.dimensions)
    return _DATUM_BYTES + len(sample.name) + texts
