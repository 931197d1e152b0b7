"""The Prometheus sink, with prometheus_client (pip install 'kplpy[prometheus]')."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary

from kplpy.concurrency import new_lock
from kplpy.metrics.catalogue import DEPTHS, METRICS, Metric
from kplpy.metrics.sample import Window
from kplpy.metrics.sinks.leaf_samples import LeafSample, leaf_samples

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of kplpy_time_to_answer_seconds."""


EXPORTED = [metric for metric in METRICS.values() if metric.prometheus]

FAILED = "kplpy_user_records_failed"
"""A counter of its own: the values 0 of UserRecordsPut."""

_SUMS = {"UserRecordsPending", "BufferedRecords", "BufferedBytes", "SpooledRecords", "SpooledBytes"}
"""Gauges that add up over producers. Of the others the largest value counts, of ShardHeadroom the smallest."""
_OF_SHARDS = {"ShardRateLimit", "ShardHeadroom"}


def labels_of(metric: Metric) -> tuple[str, ...]:
    """Return the names of the metric's labels."""
    depth = DEPTHS["stream" if metric.percentiles else metric.finest]
    return ("stream", "shard")[:depth] + (("error_code",) if metric.coded else ())


class _Summed(Summary):
    """A summary that takes many values at once."""

    def add(self, count: int, total: float) -> None:
        self._count.inc(count)
        self._sum.inc(total)


class _Bucketed(Histogram):
    """A histogram that takes many values at once."""

    def add(self, counts: list[tuple[float, int]], total: float) -> None:
        bounds = [*SECONDS, float("inf")]
        for value, count in counts:
            self._buckets[bisect_left(bounds, value)].inc(count)
        self._sum.inc(total)


class _Instruments:
    """The instruments of one registry, shared by all its sinks.

    latest: of each gauge by name and labels, the latest value of each sink by the sink's id.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lock = new_lock()
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.summaries: dict[str, _Summed] = {}
        self.histograms: dict[str, _Bucketed] = {}
        self.latest: dict[tuple[str, tuple[str, ...]], dict[int, float]] = {}
        for each in EXPORTED:
            name, text, labels = each.prometheus, each.meaning, labels_of(each)
            if each.kind == "counter":
                self.counters[each.name] = Counter(name, text, labels, registry=registry)
            elif each.kind == "gauge":
                self.gauges[each.name] = Gauge(name, text, labels, registry=registry)
            elif each.percentiles:
                self.histograms[each.name] = _Bucketed(name, text, labels, registry=registry, buckets=SECONDS)
            else:
                self.summaries[each.name] = _Summed(name, text, labels, registry=registry)
        labels = labels_of(METRICS["UserRecordsPut"])
        self.failed = Counter(FAILED, "1 for each failed user record", labels, registry=registry)


_instruments_of: WeakKeyDictionary[CollectorRegistry, _Instruments] = WeakKeyDictionary()
_registry_lock = new_lock()


class PrometheusSink:
    """Counts windows into `registry`, by default the global one of prometheus_client.

    Producers that share a sink, or whose sinks share a registry, add up.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        with _registry_lock:
            if registry not in _instruments_of:
                _instruments_of[registry] = _Instruments(registry)
            self._instruments = _instruments_of[registry]

    def emit(self, window: Window) -> None:
        instruments = self._instruments
        with instruments.lock:
            found = leaf_samples(window)
            self._forget_closed_shards(instruments, found)
            for leaf in found:
                metric = METRICS[leaf.name]
                if metric.prometheus:
                    self._count(instruments, metric, leaf)

    def _forget_closed_shards(self, instruments: _Instruments, found: list[LeafSample]) -> None:
        """Remove the gauges of a stream's closed shards: a window with gauges of any shard has all open shards."""
        open_shards: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for leaf in found:
            if leaf.name in _OF_SHARDS:
                open_shards[leaf.name, leaf.stream].add(leaf.shard)
        for (name, labels), values in list(instruments.latest.items()):
            if name in _OF_SHARDS and labels[1] not in open_shards.get((name, labels[0]), labels):
                values.pop(id(self), None)
                if not values:
                    del instruments.latest[name, labels]
                    instruments.gauges[name].remove(*labels)

    def _count(self, instruments: _Instruments, metric: Metric, leaf: LeafSample) -> None:
        name = leaf.name
        labels = tuple(str(getattr(leaf, label)) for label in labels_of(metric))
        if metric.kind == "counter":
            counter = instruments.counters[name]
            (counter.labels(*labels) if labels else counter).inc(leaf.total * metric.scale)
            if name == "UserRecordsPut":
                instruments.failed.labels(*labels).inc(leaf.count - leaf.total)
        elif metric.kind == "gauge":
            values = instruments.latest.setdefault((name, labels), {})
            values[id(self)] = leaf.latest * metric.scale
            together = sum if name in _SUMS else min if name == "ShardHeadroom" else max
            gauge = instruments.gauges[name]
            (gauge.labels(*labels) if labels else gauge).set(together(values.values()))
        elif not metric.percentiles:
            instruments.summaries[name].labels(*labels).add(leaf.count, leaf.total * metric.scale)
        elif leaf.histogram is not None:
            counts = [(bound * metric.scale, count) for bound, count in leaf.histogram.buckets()]
            instruments.histograms[name].labels(*labels).add(counts, leaf.total * metric.scale)
