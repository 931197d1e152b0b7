"""Metrics for OpenTelemetry, through its API alone (pip install 'kplpy[opentelemetry]'); the SDK is the application's.

The instruments that the semantic conventions for messaging name carry their names and attributes; the others are below
`kplpy.`. The conventions list no value of messaging.system for Kinesis; this one is formed as `aws.sns` is.
"""

from __future__ import annotations

from opentelemetry import metrics

from kplpy.metrics.catalogue import METRICS, Metric
from kplpy.metrics.sample import Window
from kplpy.metrics.sinks.leaf_samples import LeafSample, leaf_samples

EXPORTED = [metric for metric in METRICS.values() if metric.opentelemetry]

# In UCUM; what is counted stands in braces, and is records unless it is said here.
_UNITS = {"Milliseconds": "s", "Bytes": "By", "Percent": "1", "Count": "{record}"}
_COUNTED = {"UserRecordsPut": "{message}", "ErrorsByCode": "{error}", "RetriesPerRecord": "{retry}"}

QUANTILES = (50.0, 90.0, 99.0)
QUANTILE = "kplpy.answer.time.quantile"
"""A gauge: what p50, p90 and p99 of the times to answer were in the latest window, by the attribute `quantile`."""


class OpenTelemetrySink:
    """Adds windows to the instruments of `meter_provider`, by default the global one when the first comes."""

    def __init__(self, meter_provider: metrics.MeterProvider | None = None) -> None:
        self._provider = meter_provider
        self._counters: dict[str, metrics.Counter] = {}
        self._gauges: dict[str, metrics._Gauge] = {}

    def emit(self, window: Window) -> None:
        if not self._counters:
            self._make()
        for leaf in leaf_samples(window):
            metric = METRICS[leaf.name]
            if metric.opentelemetry:
                self._add(metric, leaf)

    def _make(self) -> None:
        meter = metrics.get_meter("kplpy", meter_provider=self._provider)
        for each in EXPORTED:
            name, unit = each.opentelemetry, unit_of(each)
            if each.kind == "gauge":
                self._gauges[name] = meter.create_gauge(name, unit, each.meaning)
            else:
                self._counters[name] = meter.create_counter(name, unit, each.meaning)
            if each.kind == "distribution":
                text = f"how many values {name} is the sum of"
                self._counters[f"{name}.count"] = meter.create_counter(f"{name}.count", "1", text)
        self._gauges[QUANTILE] = meter.create_gauge(QUANTILE, "s", "p50, p90 and p99 of the latest window")

    def _add(self, metric: Metric, leaf: LeafSample) -> None:
        attributes = attributes_of(leaf)
        name, total = metric.opentelemetry, leaf.total * metric.scale
        if metric.kind == "gauge":
            self._gauges[name].set(leaf.latest * metric.scale, attributes)
            return
        self._counters[name].add(total, attributes)
        if metric.kind == "distribution":
            self._counters[f"{name}.count"].add(leaf.count, attributes)
        if leaf.name == "UserRecordsPut" and leaf.count > leaf.total:
            self._counters[name].add(leaf.count - leaf.total, {**attributes, "error.type": "_OTHER"})
        if leaf.histogram is not None:
            for percent in QUANTILES:
                value = leaf.histogram.percentile(percent) * metric.scale
                self._gauges[QUANTILE].set(value, {**attributes, "quantile": percent / 100})


def unit_of(metric: Metric) -> str:
    return _COUNTED.get(metric.name) or _UNITS[metric.unit]


def attributes_of(leaf: LeafSample) -> dict[str, str]:
    attributes = {
        "messaging.system": "aws.kinesis",
        "messaging.operation.name": "put_records",
        "messaging.operation.type": "send",
    }
    if leaf.stream:
        attributes["messaging.destination.name"] = leaf.stream
    if leaf.shard:
        attributes["messaging.destination.partition.id"] = leaf.shard
    if leaf.error_code:
        attributes["error.type"] = leaf.error_code
    return attributes
