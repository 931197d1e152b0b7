"""The OpenTelemetry sink (pip install 'kplpy[opentelemetry]'). It uses the API only; the application brings the SDK.

Attributes are those of the semantic conventions for messaging, and so is the name of the counter of sent messages.
Other names begin with `kplpy.`. The conventions have no messaging.system for Kinesis; `aws.kinesis` follows `aws.sns`.
"""

from __future__ import annotations

from opentelemetry import metrics

from kplpy.metrics.catalogue import METRICS, Metric
from kplpy.metrics.sample import Window
from kplpy.metrics.sinks.leaf_samples import LeafSample, leaf_samples

EXPORTED = [metric for metric in METRICS.values() if metric.opentelemetry]
"""A distribution is two counters: the sum under its name, and the number of values under its name with `.count`."""

# Units in UCUM, which puts counted things in braces: records, except for the metrics of _COUNTED.
_UNITS = {"Milliseconds": "s", "Bytes": "By", "Percent": "1", "Count": "{record}"}
_COUNTED = {"UserRecordsPut": "{message}", "ErrorsByCode": "{error}", "RetriesPerRecord": "{retry}"}

QUANTILES = (50.0, 90.0, 99.0)
QUANTILE = "kplpy.answer.time.quantile"
"""A gauge: p50, p90 and p99 of TimeToAnswer in the latest window, by the attribute `quantile`."""


class OpenTelemetrySink:
    """Adds windows to the instruments of `meter_provider`, by default the global one at the first window."""

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
                text = f"number of values that {name} is the sum of"
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
        # The conventions count messages that the producer attempted to send; failed ones have an error.type.
        if leaf.name == "UserRecordsPut" and leaf.count > leaf.total:
            self._counters[name].add(leaf.count - leaf.total, {**attributes, "error.type": "_OTHER"})
        if leaf.histogram is not None:
            for percent in QUANTILES:
                value = leaf.histogram.percentile(percent) * metric.scale
                self._gauges[QUANTILE].set(value, {**attributes, "quantile": percent / 100})


def unit_of(metric: Metric) -> str:
    """Return the metric's unit in UCUM, as its instrument has it."""
    return _COUNTED.get(metric.name) or _UNITS[metric.unit]


def attributes_of(leaf: LeafSample) -> dict[str, str]:
    """Return the attributes of the semantic conventions for messaging."""
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
