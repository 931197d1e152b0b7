"""From what the core tells to the registry's cells: a request, or the records of a shard, at a time.

Nothing here is done a record at a time but for passes over whole lists; see benchmarks/metrics.py for what they cost.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from kplpy.core.aggregator import Batch
from kplpy.core.events import Events, Gauges
from kplpy.core.item import Completion, Delivered, Item, Reason, Trimmed
from kplpy.core.request import Request
from kplpy.core.retry import Exchange
from kplpy.metrics.frame import Update
from kplpy.metrics.histogram import Histogram
from kplpy.metrics.registry import Registry
from kplpy.repeats import Repeats

logger = logging.getLogger(__name__)

_lane_of = attrgetter("lane")


class Recorder:
    """Implements the runtime's Meter, and takes samples. What goes wrong in counting is logged, and no more than a gap
    in the metrics. `max_records` and `max_bytes`: what the producer's room is bounded by."""

    def __init__(self, registry: Registry, max_records: int, max_bytes: int) -> None:
        self.registry = registry
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._errors = Repeats(logger, "metrics_not_counted")
        self._by_shard = registry.granularity == "shard"
        self._accepted: defaultdict[str, int] = defaultdict(int)

    @property
    def locks(self) -> tuple[Any, ...]:
        return self.registry.lock, self._errors.lock

    def abandon(self) -> None:
        self.registry.abandon()

    def record(self, stream: str, events: Events, completions: list[Completion], accepted: int, now: float) -> None:
        try:
            updates: list[Update] = []
            for request, exchange in events.exchanges:
                updates += self._exchange(stream, request, exchange)
            for batch in events.misplaced:
                updates.append(_values("DataSentInVain", stream, self._shard_of(batch), [batch.data_size]))
            if completions:
                updates += self._completed(stream, completions, now)
            with self.registry.lock:
                updates += self._received(stream, accepted)
                self.registry.update(updates, now)
        except Exception as error:
            self._errors.say(f"{type(error).__name__}: {error}", error)

    def _received(self, stream: str, accepted: int) -> Iterator[Update]:
        """Under the lock. `accepted` may come late, or from a stream that is being mended: never count it twice."""
        count = accepted - self._accepted[stream]
        if count > 0:
            self._accepted[stream] = accepted
            yield _same("UserRecordsReceived", stream, None, count, 1)

    # --- requests ---

    def _exchange(self, stream: str, request: Request, exchange: Exchange) -> Iterator[Update]:
        batches = request.batches
        counts = [len(batch.items) for batch in batches]
        yield _values("RequestTime", stream, None, [(exchange.ended - exchange.started) * 1000])
        yield _values("KinesisRecordsPerPutRecordsRequest", stream, None, [len(batches)])
        yield _values("UserRecordsPerPutRecordsRequest", stream, None, [sum(counts)])
        if self._by_shard:
            start = 0
            for lane, group in groupby(batches, _lane_of):
                end = start + len(list(group))
                shard = lane.shard.shard_id if lane.shard is not None else None
                yield _values("UserRecordsPerKinesisRecord", stream, shard, counts[start:end])
                if exchange.entries is not None:
                    yield from _entries(stream, shard, batches[start:end], exchange.entries[start:end])
                else:
                    yield _values("DataSentInVain", stream, shard, [each.data_size for each in batches[start:end]])
                start = end
        else:
            yield _values("UserRecordsPerKinesisRecord", stream, None, counts)
            if exchange.entries is not None:
                yield from _entries(stream, None, batches, exchange.entries)
            else:
                yield _values("DataSentInVain", stream, None, [each.data_size for each in batches])
        if exchange.error is not None:
            yield _same("AllErrors", stream, None, 1, 1)
            yield _same("ErrorsByCode", stream, None, 1, 1, exchange.error.code)

    def _shard_of(self, batch: Batch) -> str | None:
        return batch.lane.shard.shard_id if self._by_shard and batch.lane.shard is not None else None

    # --- user records ---

    def _completed(self, stream: str, completions: list[Completion], now: float) -> Iterator[Update]:
        histogram = Histogram()
        least, most = float("inf"), 0.0
        for shard, completion, items in self._groups(completions):
            ages = [now - item.arrival for item in items]
            ages.sort()
            least, most = min(least, ages[0]), max(most, ages[-1])
            histogram.add_sorted(ages, 1000)
            yield from _records(stream, shard, completion, items, ages, now)
        yield ("TimeToAnswer", stream, None, None), 0, 0.0, least * 1000, most * 1000, histogram

    def _groups(self, completions: list[Completion]) -> Iterator[tuple[str | None, Completion, list[Item]]]:
        """Those of one shard and one request together: they were sent at the same moment. They mostly come in a row."""
        first: Completion | None = None
        shard: str | None = None
        final: object = None
        items: list[Item] = []
        for completion in completions:
            outcome = completion.outcome
            if isinstance(outcome, Delivered):
                its_shard, its_final = outcome.shard_id if self._by_shard else None, outcome.final
                if first is not None and its_final is final and its_shard == shard:
                    items += completion.items
                    continue
            else:
                its_shard, its_final = completion.predicted if self._by_shard else None, None
            if first is not None:
                yield shard, first, items
            first, shard, final, items = completion, its_shard, its_final, list(completion.items)
        if first is not None:
            yield shard, first, items

    # --- samples ---

    def sample(self, gauges: Gauges, now: float) -> None:
        """How things stand; to be called once a second."""
        updates: list[Update] = []
        with self.registry.lock:
            for stream, standing in gauges.streams.items():
                age = max(0.0, now - standing.oldest) * 1000
                updates += self._received(stream, standing.accepted)
                updates.append(_values("UserRecordsPending", stream, None, [standing.outstanding]))
                updates.append(_values("OldestRecordAge", stream, None, [age]))
                for shard, use in standing.shards.items():
                    place = shard if self._by_shard else None
                    updates.append(_values("ShardRateLimit", stream, place, [use.scale * 100]))
                    updates.append(_values("ShardHeadroom", stream, place, [max(0.0, 1 - use.taken / use.scale) * 100]))
            updates.append(_values("BufferedRecords", None, None, [gauges.records]))
            updates.append(_values("BufferedBytes", None, None, [gauges.bytes]))
            use_of_room = max(gauges.records / self._max_records, gauges.bytes / self._max_bytes)
            updates.append(_values("BufferUse", None, None, [use_of_room * 100]))
            self.registry.update(updates, now)


def _entries(stream: str, shard: str | None, batches: list[Batch], entries: list[dict[str, str]]) -> Iterator[Update]:
    """What became of Kinesis records whose request was answered."""
    sizes = [batch.data_size for batch in batches]
    refused = [place for place, entry in enumerate(entries) if not entry.get("SequenceNumber")]
    if refused:
        yield _same("KinesisRecordsPut", stream, shard, len(refused), 0)
        yield _same("AllErrors", stream, shard, len(refused), 1)
        yield _values("DataSentInVain", stream, shard, [sizes[place] for place in refused])
        for place in refused:
            yield _same("ErrorsByCode", stream, shard, 1, 1, entries[place].get("ErrorCode") or "UnknownError")
            sizes[place] = -1
        sizes = [size for size in sizes if size >= 0]
    if sizes:
        yield _same("KinesisRecordsPut", stream, shard, len(sizes), 1)
        yield _same("AllErrors", stream, shard, len(sizes), 0)
        yield _values("KinesisRecordsDataPut", stream, shard, sizes)


def _records(
    stream: str, shard: str | None, completion: Completion, items: list[Item], ages: list[float], now: float
) -> Iterator[Update]:
    """User records with the same outcome. `ages`: how many seconds each took, in ascending order."""
    outcome = completion.outcome
    count = len(items)
    yield _span("TimeToAnswer", stream, shard, ages, 0.0)
    retried = [item for item in items if item.tries]
    if isinstance(outcome, Delivered):
        yield _same("UserRecordsPut", stream, shard, count, 1)
        yield _values("UserRecordsDataPut", stream, shard, [len(item.data) for item in items])
        if retried:
            ages = sorted(now - item.arrival for item in items if not item.tries)
            duplicates = sum(item.maybe_written for item in retried)
            if duplicates:
                yield _same("PossibleDuplicates", stream, shard, duplicates, 1)
        if ages:
            yield _span("BufferingTime", stream, shard, ages, now - outcome.final.started)
    else:
        yield _same("UserRecordsPut", stream, shard, count, 0)
        if outcome.reason is Reason.EXPIRED:
            yield _same("UserRecordExpired", stream, shard, count, 1)
    if count > len(retried):
        yield _same("RetriesPerRecord", stream, shard, count - len(retried), 0)
    for item in retried:
        yield from _retried(stream, shard, item, outcome.final.started if isinstance(outcome, Delivered) else None)


def _retried(stream: str, shard: str | None, item: Item, final: float | None) -> Iterator[Update]:
    """One with attempts that failed; `final`: when the one was sent that delivered it."""
    tries = item.tries
    attempts = len(tries) + (final is not None)
    waits = []
    before = item.arrival
    for place, each in enumerate(tries):
        if place == 1 and isinstance(tries, Trimmed):
            count, total, least, most = tries.waits
            attempts += count
            yield ("BufferingTime", stream, shard, None), count, total * 1000, least * 1000, most * 1000, None
            before = tries.ended
        waits.append(max(0.0, each.started - before) * 1000)
        before = each.ended
    if final is not None:
        waits.append(max(0.0, final - before) * 1000)
    yield _values("BufferingTime", stream, shard, waits)
    yield _values("RetriesPerRecord", stream, shard, [attempts - 1])


def _span(name: str, stream: str, shard: str | None, ages: list[float], since: float) -> Update:
    """Milliseconds from each record's arrival until `since` seconds ago; `ages` in ascending order."""
    count = len(ages)
    total = (sum(ages) - count * since) * 1000
    return (name, stream, shard, None), count, total, (ages[0] - since) * 1000, (ages[-1] - since) * 1000, None


def _values(name: str, stream: str | None, shard: str | None, values: Sequence[float]) -> Update:
    return (name, stream, shard, None), len(values), sum(values), min(values), max(values), None


def _same(name: str, stream: str | None, shard: str | None, count: int, value: int, code: str | None = None) -> Update:
    """So many values that are all the same."""
    return (name, stream, shard, code), count, count * value, value, value, None
