"""A producer's state at one moment for `kplpy top`, as plain values for JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kplpy.core.gauges import Gauges, SpoolGauges
from kplpy.metrics.catalogue import DEPTHS
from kplpy.metrics.sample import Sample, Window
from kplpy.stream_names import name_of

SECONDS = 10
"""Length of the window for rates and counts."""
THROTTLED = "ProvisionedThroughputExceededException"

_Found = dict[tuple[str, tuple[tuple[str, str], ...]], Sample]


def snapshot(gauges: Gauges, window: Window, granularity: str | None, now: float) -> dict[str, Any]:
    """Return the producer's state.

    Values that are not counted are None. Streams of one name count together: they appear under their ARNs, with None.

    window: the metrics of the last SECONDS.
    granularity: of the metrics; None when they are off.
    now: by time.monotonic().
    """
    depth = -1 if granularity is None else DEPTHS[granularity]
    found: _Found = {(each.name, each.dimensions): each for each in window.samples}
    streams: dict[str, Any] = {}
    streams_of_name = Counter(map(name_of, gauges.streams))
    for key, stream_gauges in sorted(gauges.streams.items()):
        name = name_of(key)
        alone = streams_of_name[name] == 1
        dimensions: tuple[tuple[str, str], ...] = (("StreamName", name),)
        shards = {
            shard: {
                "limit_percent": use.scale * 100,
                "used_percent": use.taken * 100,
                "counts": _counts(found, (*dimensions, ("ShardId", shard))) if depth >= 2 and alone else None,
            }
            for shard, use in sorted(stream_gauges.shards.items())
        }
        streams[name if alone else key] = {
            "outstanding_records": stream_gauges.outstanding,
            "oldest_ms": max(0.0, now - stream_gauges.oldest) * 1000 if stream_gauges.outstanding else 0.0,
            "counts": _counts(found, dimensions) if depth >= 1 and alone else None,
            "shards": shards,
        }
    return {
        "seconds": SECONDS,
        "buffered_records": gauges.records,
        "buffered_bytes": gauges.bytes,
        "spool": None if gauges.spool is None else _spool(gauges.spool, found, depth >= 0, now),
        "streams": streams,
    }


def _spool(spool: SpoolGauges, found: _Found, is_counted: bool, now: float) -> dict[str, float | None]:
    def total(name: str) -> float | None:
        sample = found.get((name, ()))
        return (sample.total if sample else 0.0) if is_counted else None

    syncs = total("SpoolSyncs")
    return {
        "records": spool.records,
        "bytes": spool.bytes,
        "oldest_ms": max(0.0, now - spool.oldest) * 1000,
        "syncs_per_second": None if syncs is None else syncs / SECONDS,
        "errors": total("SpoolErrors"),
    }


def _counts(found: _Found, dimensions: tuple[tuple[str, str], ...]) -> dict[str, float | None]:
    """Return counts and times. Percentiles exist for streams only. Times are None if no record got its outcome."""

    def total(name: str, *code: tuple[str, str]) -> float:
        sample = found.get((name, (*code, *dimensions)))
        return sample.total if sample else 0.0

    latency = found.get(("TimeToAnswer", dimensions))
    return {
        "records_per_second": total("UserRecordsPut") / SECONDS,
        "bytes_per_second": total("UserRecordsDataPut") / SECONDS,
        "throttled": total("ErrorsByCode", ("ErrorCode", THROTTLED)),
        "retries": total("RetriesPerRecord"),
        "average_ms": latency.average if latency else None,
        "p50_ms": latency.percentile(50) if latency else None,
        "p99_ms": latency.percentile(99) if latency else None,
        "max_ms": latency.maximum if latency else None,
    }
