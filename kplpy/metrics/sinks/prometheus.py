"""Metrics for Prometheus, through prometheus_client (pip install 'kplpy[prometheus]')."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary

from kplpy.metrics.catalogue import METRICS
from kplpy.metrics.sample import Window
from kplpy.metrics.sinks.leaf_samples import LeafSample, leaf_samples

Kind = Literal["counter", "gauge", "summary", "histogram"]
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""The buckets of kplpy_time_to_answer_seconds."""


@dataclass(frozen=True)
class Exported:
    """`name` without the `_total` that prometheus_client gives a counter; `scale`: of our unit in Prometheus' own."""

    metric: str
    name: str
    kind: Kind
    scale: float = 1.0

    @property
    def labels(self) -> tuple[str, ...]:
        metric = METRICS[self.metric]
        depth = ("global", "stream", "shard").index("stream" if metric.percentiles else metric.finest)
        return ("stream", "shard")[:depth] + (("error_code",) if metric.coded else ())


_MS, _PERCENT = 0.001, 0.01

EXPORTED = {
    each.metric: each
    for each in (
        Exported("UserRecordsReceived", "kplpy_user_records_received", "counter"),
        Exported("UserRecordsPending", "kplpy_user_records_pending", "gauge"),
        Exported("UserRecordsPut", "kplpy_user_records_put", "counter"),
        Exported("UserRecordsDataPut", "kplpy_user_records_data_put_bytes", "counter"),
        Exported("UserRecordExpired", "kplpy_user_records_expired", "counter"),
        Exported("KinesisRecordsPut", "kplpy_kinesis_records_put", "counter"),
        Exported("KinesisRecordsDataPut", "kplpy_kinesis_records_data_put_bytes", "counter"),
        Exported("ErrorsByCode", "kplpy_errors", "counter"),
        Exported("RetriesPerRecord", "kplpy_user_record_retries", "counter"),
        Exported("BufferingTime", "kplpy_buffering_time_seconds", "summary", _MS),
        Exported("RequestTime", "kplpy_request_time_seconds", "summary", _MS),
        Exported("UserRecordsPerKinesisRecord", "kplpy_user_records_per_kinesis_record", "summary"),
        Exported("KinesisRecordsPerPutRecordsRequest", "kplpy_kinesis_records_per_request", "summary"),
        Exported("UserRecordsPerPutRecordsRequest", "kplpy_user_records_per_request", "summary"),
        Exported("TimeToAnswer", "kplpy_time_to_answer_seconds", "histogram", _MS),
        Exported("OldestRecordAge", "kplpy_oldest_record_age_seconds", "gauge", _MS),
        Exported("BufferedRecords", "kplpy_buffered_records", "gauge"),
        Exported("BufferedBytes", "kplpy_buffered_bytes", "gauge"),
        Exported("BufferUse", "kplpy_buffer_use_ratio", "gauge", _PERCENT),
        Exported("DataSentInVain", "kplpy_data_sent_in_vain_bytes", "counter"),
        Exported("PossibleDuplicates", "kplpy_possible_duplicates", "counter"),
        Exported("ShardRateLimit", "kplpy_shard_rate_limit_ratio", "gauge", _PERCENT),
        Exported("ShardHeadroom", "kplpy_shard_headroom_ratio", "gauge", _PERCENT),
    )
}
"""All metrics but AllErrors, which is the sum of kplpy_errors_total."""

FAILED = "kplpy_user_records_failed"
"""A counter of its own: what UserRecordsPut counts with the value 0."""

_SUMS = {"UserRecordsPending", "BufferedRecords", "BufferedBytes"}
"""Gauges of several producers that add up; of the others the largest counts, and of ShardHeadroom the least."""
_OF_SHARDS = {"ShardRateLimit", "ShardHeadroom"}


class _Summed(Summary):
    """Takes in many values at once."""

    def add(self, count: int, total: float) -> None:
        self._count.inc(count)
        self._sum.inc(total)


class _Bucketed(Histogram):
    """Likewise."""

    def add(self, counts: list[tuple[float, int]], total: float) -> None:
        bounds = [*SECONDS, float("inf")]
        for value, count in counts:
            self._buckets[bisect_left(bounds, value)].inc(count)
        self._sum.inc(total)


class _Instruments:
    """One registry's, shared by all sinks on it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lock = threading.Lock()
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.summaries: dict[str, _Summed] = {}
        self.histograms: dict[str, _Bucketed] = {}
        self.latest: dict[tuple[str, tuple[str, ...]], dict[int, float]] = {}
        for metric, each in EXPORTED.items():
            meaning = METRICS[metric].meaning
            if each.kind == "counter":
                self.counters[metric] = Counter(each.name, meaning, each.labels, registry=registry)
            elif each.kind == "gauge":
                self.gauges[metric] = Gauge(each.name, meaning, each.labels, registry=registry)
            elif each.kind == "summary":
                self.summaries[metric] = _Summed(each.name, meaning, each.labels, registry=registry)
            else:
                self.histograms[metric] = _Bucketed(each.name, meaning, each.labels, registry=registry, buckets=SECONDS)
        labels = EXPORTED["UserRecordsPut"].labels
        self.failed = Counter(FAILED, "1 for each user record that failed", labels, registry=registry)


_made: WeakKeyDictionary[CollectorRegistry, _Instruments] = WeakKeyDictionary()
_making = threading.Lock()


class PrometheusSink:
    """Counts windows into `registry`, prometheus_client's own by default.

    Several producers may share a sink, or have one each on the same registry: their counts add up.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        with _making:
            if registry not in _made:
                _made[registry] = _Instruments(registry)
            self._instruments = _made[registry]

    def emit(self, window: Window) -> None:
        instruments = self._instruments
        with instruments.lock:
            found = leaf_samples(window)
            self._forget_closed_shards(instruments, found)
            for leaf in found:
                exported = EXPORTED.get(leaf.name)
                if exported is not None:
                    self._count(instruments, exported, leaf)

    def _forget_closed_shards(self, instruments: _Instruments, found: list[LeafSample]) -> None:
        """Each window that tells of a stream's shards tells of all that are open."""
        told: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for leaf in found:
            if leaf.name in _OF_SHARDS:
                told[leaf.name, leaf.stream].add(leaf.shard)
        for (name, labels), values in list(instruments.latest.items()):
            if name in _OF_SHARDS and labels[1] not in told.get((name, labels[0]), labels):
                values.pop(id(self), None)
                if not values:
                    del instruments.latest[name, labels]
                    instruments.gauges[name].remove(*labels)

    def _count(self, instruments: _Instruments, exported: Exported, leaf: LeafSample) -> None:
        name = leaf.name
        labels = tuple(str(getattr(leaf, label)) for label in exported.labels)
        if exported.kind == "counter":
            counter = instruments.counters[name]
            (counter.labels(*labels) if labels else counter).inc(leaf.total * exported.scale)
            if name == "UserRecordsPut":
                instruments.failed.labels(*labels).inc(leaf.count - leaf.total)
        elif exported.kind == "summary":
            instruments.summaries[name].labels(*labels).add(leaf.count, leaf.total * exported.scale)
        elif exported.kind == "histogram":
            if leaf.histogram is not None:
                counts = [(bound * exported.scale, count) for bound, count in leaf.histogram.buckets()]
                instruments.histograms[name].labels(*labels).add(counts, leaf.total * exported.scale)
        else:
            values = instruments.latest.setdefault((name, labels), {})
            values[id(self)] = leaf.latest * exported.scale
            together = sum if name in _SUMS else min if name == "ShardHeadroom" else max
            gauge = instruments.gauges[name]
            (gauge.labels(*labels) if labels else gauge).set(together(values.values()))
