"""Metrics for OpenTelemetry, through its API alone (pip install 'kplpy[opentelemetry]'); the SDK is the application's.

The instruments that the semantic conventions for messaging name carry their names and attributes; the others are below
`kplpy.`. The conventions list no value of messaging.system for Kinesis; this one is formed as `aws.sns` is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from opentelemetry import metrics

from kplpy.metrics.catalogue import METRICS
from kplpy.metrics.sample import Window
from kplpy.metrics.sinks.leaf_samples import LeafSample, leaf_samples

Kind = Literal["counter", "gauge", "sum and count"]
SENT = "messaging.client.sent.messages"
"""The conventions' counter: messages that the producer attempted to send; those that failed have an error.type."""


@dataclass(frozen=True)
class Exported:
    """`unit` in UCUM; `scale`: of our unit in it. A "sum and count" is two counters, the second named `.count`."""

    metric: str
    name: str
    kind: Kind
    unit: str
    scale: float = 1.0


_MS, _PERCENT = 0.001, 0.01

EXPORTED = {
    each.metric: each
    for each in (
        Exported("UserRecordsReceived", "kplpy.user_records.received", "counter", "{record}"),
        Exported("UserRecordsPending", "kplpy.user_records.pending", "gauge", "{record}"),
        Exported("UserRecordsPut", SENT, "counter", "{message}"),
        Exported("UserRecordsDataPut", "kplpy.user_records.size", "counter", "By"),
        Exported("UserRecordExpired", "kplpy.user_records.expired", "counter", "{record}"),
        Exported("KinesisRecordsPut", "kplpy.kinesis_records.put", "counter", "{record}"),
        Exported("KinesisRecordsDataPut", "kplpy.kinesis_records.size", "counter", "By"),
        Exported("ErrorsByCode", "kplpy.errors", "counter", "{error}"),
        Exported("RetriesPerRecord", "kplpy.user_records.retries", "counter", "{retry}"),
        Exported("BufferingTime", "kplpy.buffering.time", "sum and count", "s", _MS),
        Exported("RequestTime", "kplpy.request.time", "sum and count", "s", _MS),
        Exported("UserRecordsPerKinesisRecord", "kplpy.kinesis_record.user_records", "sum and count", "{record}"),
        Exported("KinesisRecordsPerPutRecordsRequest", "kplpy.request.kinesis_records", "sum and count", "{record}"),
        Exported("UserRecordsPerPutRecordsRequest", "kplpy.request.user_records", "sum and count", "{record}"),
        Exported("TimeToAnswer", "kplpy.answer.time", "sum and count", "s", _MS),
        Exported("OldestRecordAge", "kplpy.oldest_record.age", "gauge", "s", _MS),
        Exported("BufferedRecords", "kplpy.buffer.records", "gauge", "{record}"),
        Exported("BufferedBytes", "kplpy.buffer.size", "gauge", "By"),
        Exported("BufferUse", "kplpy.buffer.utilization", "gauge", "1", _PERCENT),
        Exported("DataSentInVain", "kplpy.sent_in_vain.size", "counter", "By"),
        Exported("PossibleDuplicates", "kplpy.possible_duplicates", "counter", "{record}"),
        Exported("ShardRateLimit", "kplpy.shard.rate_limit", "gauge", "1", _PERCENT),
        Exported("ShardHeadroom", "kplpy.shard.headroom", "gauge", "1", _PERCENT),
    )
}
"""All metrics but AllErrors, which is the sum of kplpy.errors."""

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
            exported = EXPORTED.get(leaf.name)
            if exported is not None:
                self._add(exported, leaf)

    def _make(self) -> None:
        meter = metrics.get_meter("kplpy", meter_provider=self._provider)
        for metric, each in EXPORTED.items():
            meaning = METRICS[metric].meaning
            if each.kind == "gauge":
                self._gauges[each.name] = meter.create_gauge(each.name, each.unit, meaning)
            else:
                self._counters[each.name] = meter.create_counter(each.name, each.unit, meaning)
            if each.kind == "sum and count":
                name = f"{each.name}.count"
                self._counters[name] = meter.create_counter(name, "1", f"how many values {each.name} is the sum of")
        self._gauges[QUANTILE] = meter.create_gauge(QUANTILE, "s", "p50, p90 and p99 of the latest window")

    def _add(self, exported: Exported, leaf: LeafSample) -> None:
        attributes = attributes_of(leaf)
        name, total = exported.name, leaf.total * exported.scale
        if exported.kind == "gauge":
            self._gauges[name].set(leaf.latest * exported.scale, attributes)
            return
        self._counters[name].add(total, attributes)
        if exported.kind == "sum and count":
            self._counters[f"{name}.count"].add(leaf.count, attributes)
        if name == SENT and leaf.count > leaf.total:
            self._counters[name].add(leaf.count - leaf.total, {**attributes, "error.type": "_OTHER"})
        if leaf.histogram is not None:
            for percent in QUANTILES:
                value = leaf.histogram.percentile(percent) * exported.scale
                self._gauges[QUANTILE].set(value, {**attributes, "quantile": percent / 100})


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
