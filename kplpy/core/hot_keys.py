"""Counts which partition keys a stream's recent records have most."""

from __future__ import annotations

from collections.abc import Sequence

from kplpy.core.record import PendingRecord
from kplpy.core.space_saving import SpaceSaving, merge
from kplpy.reports import HotKey, HotKeys

# Seconds of a span. The report covers two spans, so that a key that was hot yesterday does not hide one that is hot
# now.
SPAN = 300.0
AT_ONCE = 512  # keys that are counted together


class _Span:
    def __init__(self, counters: int, began: float) -> None:
        self.records = SpaceSaving(counters)
        self.bytes = SpaceSaving(counters)
        self.began = began


class KeyCounts:
    """Counts records and bytes of each key, with `counters` counters for each of the two.

    Records without a key are not counted. Runs under the stream's lock, as the pipeline does.
    """

    def __init__(self, counters: int, now: float) -> None:
        self._counters = counters
        # The keys and sizes that are not counted yet: counting many at once costs less.
        self._keys: list[str] = []
        self._sizes: list[int] = []
        self._before = _Span(counters, now)
        self._latest = _Span(counters, now)

    def add(self, items: Sequence[PendingRecord], now: float) -> None:
        if now >= self._latest.began + SPAN:
            self._rotate(now)
        keys, sizes = self._keys, self._sizes
        for item in items:
            key = item.partition_key
            if item.hash_key >= 0 and key:  # a record of a delivery stream has a hash key also without a key
                keys.append(key)
                sizes.append(len(item.data) + (len(key) if key.isascii() else len(key.encode())))
        if len(keys) >= AT_ONCE:
            self._count()

    def _count(self) -> None:
        self._latest.records.add(self._keys)
        self._latest.bytes.add(self._keys, self._sizes)
        self._keys.clear()
        self._sizes.clear()

    def _rotate(self, now: float) -> None:
        """Begin a new span if the latest one is over."""
        self._count()
        ends = self._latest.began + SPAN
        if now >= ends + SPAN:
            self._before, self._latest = _Span(self._counters, now), _Span(self._counters, now)
        elif now >= ends:
            self._before, self._latest = self._latest, _Span(self._counters, ends)

    def report(self, limit: int | None, now: float) -> HotKeys:
        """Return the `limit` heaviest keys, by records and by bytes. None: all keys that have a counter."""
        self._rotate(now)
        before, latest = self._before, self._latest
        by_records, records_bound = merge(before.records, latest.records)
        by_bytes, bytes_bound = merge(before.bytes, latest.bytes)
        return HotKeys(
            seconds=now - before.began,
            records=before.records.total + latest.records.total,
            bytes=before.bytes.total + latest.bytes.total,
            records_bound=records_bound,
            bytes_bound=bytes_bound,
            by_records=_heaviest(by_records, limit),
            by_bytes=_heaviest(by_bytes, limit),
        )


def _heaviest(counters: dict[str, tuple[int, int]], limit: int | None) -> tuple[HotKey, ...]:
    ranked = sorted(counters.items(), key=lambda each: (-each[1][0], each[0]))
    return tuple(HotKey(key, weight, overcount) for key, (weight, overcount) in ranked[:limit])
