"""How a producer stands at one moment, for `kplpy top`: plain values that JSON can carry."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kplpy.core.gauges import Gauges
from kplpy.metrics.catalogue import DEPTHS
from kplpy.metrics.sample import Sample, Window
from kplpy.stream_names import name_of

SECONDS = 10
"""What rates and counts are taken over."""
THROTTLED = "ProvisionedThroughputExceededException"

_Found = dict[tuple[str, tuple[tuple[str, str], ...]], Sample]


def snapshot(gauges: Gauges, window: Window, counted_to: str | None, now: float) -> dict[str, Any]:
    """`window`: of the last SECONDS. `counted_to`: the metrics' granularity, None when they are off. What is not
    counted is None; so it is for streams of one name, which count together, and stand under their ARNs. `now`: by
    time.monotonic()."""
    depth = -1 if counted_to is None else DEPTHS[counted_to]
    found: _Found = {(each.name, each.dimensions): each for each in window.samples}
    streams: dict[str, Any] = {}
    bearers = Counter(map(name_of, gauges.streams))
    for key, stream_gauges in sorted(gauges.streams.items()):
        name = name_of(key)
        alone = bearers[name] == 1
        place: tuple[tuple[str, str], ...] = (("StreamName", name),)
        shards = {
            shard: {
                "limit_percent": use.scale * 100,
                "used_percent": use.taken * 100,
                "counts": _counts(found, (*place, ("ShardId", shard))) if depth >= 2 and alone else None,
            }
            for shard, use in sorted(stream_gauges.shards.items())
        }
        streams[name if alone else key] = {
            "outstanding_records": stream_gauges.outstanding,
            "oldest_ms": max(0.0, now - stream_gauges.oldest) * 1000 if stream_gauges.outstanding else 0.0,
            "counts": _counts(found, place) if depth >= 1 and alone else None,
            "shards": shards,
        }
    return {"seconds": SECONDS, "buffered_records": gauges.records, "buffered_bytes": gauges.bytes, "streams": streams}


def _counts(found: _Found, place: tuple[tuple[str, str], ...]) -> dict[str, float | None]:
    """Percentiles are kept for streams only; None too when nothing was answered."""

    def total(name: str, *code: tuple[str, str]) -> float:
        sample = found.get((name, (*code, *place)))
        return sample.total if sample else 0.0

    latency = found.get(("TimeToAnswer", place))
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
