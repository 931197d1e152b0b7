"""Sends windows to CloudWatch: StatisticSets in calls of PutMetricData within its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from kplpy.metrics.sample import Sample, Window

Datum = dict[str, Any]

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
MAX_METRICS = 1000
MAX_BYTES = 1_000_000
# Bytes of a datum and of a dimension without their values: the field names in the longest protocol.
_DATUM_BYTES, _DIMENSION_BYTES = 500, 120


class PutMetricDataSink:
    """Sends each window with `put`, which makes one call of PutMetricData.

    If calls fail, the other calls are still made. Then the last exception is raised.
    """

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
    """Yield the data of each call. A window without samples needs no call."""
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
        "Dimensions": [{"Name": name, "Value": value} for name, value in _without_blanks(sample.dimensions)],
        "Timestamp": at,
        "Unit": sample.unit,
        "StatisticValues": {
            "SampleCount": float(sample.count),
            "Sum": float(sample.total),
            "Minimum": float(sample.minimum),
            "Maximum": float(sample.maximum),
        },
    }


def _without_blanks(dimensions: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Leave out dimensions with a blank value: CloudWatch refuses the whole call for one."""
    return ((name, value) for name, value in dimensions if value.strip())


def _size(sample: Sample) -> int:
    """Return an upper bound of the sample's bytes in the call. An escaped byte of UTF-8 takes at most three."""
    texts = sum(_DIMENSION_BYTES + len(name) + 3 * len(value.encode()) for name, value in sample.dimensions)
    return _DATUM_BYTES + len(sample.name) + texts
