"""Counts the core's events into the registry: one request, or the records of one shard, at a time.

Only a record that was sent before, or that travelled alone, takes work of its own. benchmarks/metrics.py measures the
cost.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch
from kplpy.core.exchange import Exchange
from kplpy.core.gauges import Gauges, SpoolEvent
from kplpy.core.outcome import Completion, Delivered, Failed, Reason
from kplpy.core.record import PendingRecord, SendAttempt, Trimmed
from kplpy.core.results.events import Events
from kplpy.core.results.retry_policy import MALFORMED
from kplpy.metrics.frame import Update
from kplpy.metrics.registry import Registry
from kplpy.metrics.tally import Ages, Tally, tally
from kplpy.rate_limited_log import RateLimitedLog
from kplpy.stream_names import name_of

logger = logging.getLogger(__name__)

_queue_of = attrgetter("queue")
_SPOOL_COUNTERS: dict[SpoolEvent, str] = {
    "failed": "SpoolErrors",
    "bypassed": "SpoolBypassed",
    "dropped": "SpoolDropped",
    "damaged": "SpoolDamaged",
}


class Recorder:
    """Implements the runtime's Meter and takes samples.

    `record` runs on the thread that got the response, `sample` on the reporter's thread or in its `hand_over`. An error
    in counting is logged and leaves a gap in the metrics.

    max_records, max_bytes: bounds of the producer's buffer.
    on_wake: called when there may be something to count again. The reporter sets it.
    """

    def __init__(self, registry: Registry, max_records: int, max_bytes: int) -> None:
        self.registry = registry
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._errors = RateLimitedLog(logger, "metrics_not_counted")
        self.on_wake: Callable[[], object] = _do_nothing
        self._by_shard = registry.granularity == "shard"
        self._accepted: defaultdict[str, int] = defaultdict(int)

    def awake(self) -> None:
        self.on_wake()

    def abandon(self) -> None:
        self.registry.abandon()

    def record(self, stream: str, events: Events, completions: list[Completion], accepted: int, now: float) -> None:
        """Count the stream's requests and outcomes. Never raises."""
        try:
            key, stream = stream, name_of(stream)
            updates: list[Update] = []
            for request, exchange, refused in events.exchanges:
                updates += self._count_exchange(stream, request, exchange, refused)
            for batch in events.misplaced:
                updates.append(_values("DataSentInVain", stream, self._shard_of(batch), [batch.data_size]))
            if completions:
                updates += self._count_completions(stream, completions, now)
            with self.registry.lock:
                updates += self._count_accepted(key, accepted)
                self.registry.update(updates, now)
        except Exception as error:
            self._errors.say(f"{type(error).__name__}: {error}", error)

    def _count_accepted(self, key: str, accepted: int) -> Iterator[Update]:
        """Count the records accepted since the last call. The caller holds the registry's lock.

        `accepted` may be late, or come from a stream with a new pipeline: no record may count twice.

        key: the stream's name or ARN.
        accepted: number of records that the stream has accepted so far.
        """
        count = accepted - self._accepted[key]
        if count > 0:
            self._accepted[key] = accepted
            yield _repeated("UserRecordsReceived", name_of(key), None, count, 1)

    # --- the spool ---

    def spool(self, event: SpoolEvent, amount: float) -> None:
        """Count what happened in the spool. Never raises."""
        try:
            if event == "synced":
                updates = [
                    _repeated("SpoolSyncs", None, None, 1, 1),
                    _values("SpoolSyncTime", None, None, [amount * 1000]),
                ]
            else:
                updates = [_repeated(_SPOOL_COUNTERS[event], None, None, int(amount), 1)]
            with self.registry.lock:
                self.registry.update(updates, time.monotonic())
        except Exception as error:
            self._errors.say(f"{type(error).__name__}: {error}", error)

    # --- requests ---

    def _count_exchange(self, stream: str, request: Request, exchange: Exchange, refused: int) -> Iterator[Update]:
        batches = request.batches
        entries = exchange.entries if refused else None
        counts = [len(batch.items) for batch in batches]
        yield _values("RequestTime", stream, None, [(exchange.ended - exchange.started) * 1000])
        yield _values("KinesisRecordsPerPutRecordsRequest", stream, None, [len(batches)])
        yield _values("UserRecordsPerPutRecordsRequest", stream, None, [sum(counts)])
        if self._by_shard:
            start = 0
            for queue, group in groupby(batches, _queue_of):
                end = start + len(list(group))
                shard = queue.shard_id
                yield _values("UserRecordsPerKinesisRecord", stream, shard, counts[start:end])
                if exchange.entries is not None:
                    yield from _count_entries(stream, shard, batches[start:end], entries and entries[start:end])
                else:
                    yield _values("DataSentInVain", stream, shard, [each.data_size for each in batches[start:end]])
                start = end
        else:
            yield _values("UserRecordsPerKinesisRecord", stream, None, counts)
            if exchange.entries is not None:
                yield from _count_entries(stream, None, batches, entries)
            else:
                yield _values("DataSentInVain", stream, None, [each.data_size for each in batches])
        if exchange.error is not None:
            yield _repeated("AllErrors", stream, None, 1, 1)
            yield _repeated("ErrorsByCode", stream, None, 1, 1, exchange.error.code)

    def _shard_of(self, batch: Batch) -> str | None:
        return batch.queue.shard_id if self._by_shard else None

    # --- user records ---

    def _count_completions(self, stream: str, completions: list[Completion], now: float) -> Iterator[Update]:
        ages = Ages(now)
        least, most = float("inf"), 0.0
        for shard, group in self._groups(completions):
            found = tally(group, ages)
            least, most = min(least, now - found.last), max(most, now - found.first)
            yield found.times_until(now, "TimeToAnswer", stream, shard)
            yield from _count_outcome(stream, shard, group[0].outcome, found)
        yield ("TimeToAnswer", stream, None, None), 0, 0.0, least * 1000, most * 1000, ages.histogram()

    def _groups(self, completions: list[Completion]) -> Iterator[tuple[str | None, list[Completion]]]:
        """Yield groups of one shard and one request, which were sent at the same moment. They mostly come in a row."""
        shard: str | None = None
        final: SendAttempt | None = None
        group: list[Completion] = []
        next_shard: str | None
        for completion in completions:
            outcome = completion.outcome
            if isinstance(outcome, Delivered):
                if outcome.final is final and (shard is None or outcome.shard_id == shard):
                    group.append(completion)
                    continue
                next_shard, next_final = outcome.shard_id, outcome.final
            else:
                next_shard, next_final = completion.predicted, None
            if group:
                yield shard, group
            group, final = [completion], next_final
            shard = (next_shard or None) if self._by_shard else None  # Firehose names no shard
        if group:
            yield shard, group

    # --- samples ---

    def sample(self, gauges: Gauges, now: float) -> None:
        """Count the gauges. The reporter calls it once a second."""
        updates: list[Update] = []
        pending: defaultdict[str, int] = defaultdict(int)
        ages: defaultdict[str, float] = defaultdict(float)
        with self.registry.lock:
            for key, stream_gauges in gauges.streams.items():
                stream = name_of(key)
                updates += self._count_accepted(key, stream_gauges.accepted)
                pending[stream] += stream_gauges.outstanding
                ages[stream] = max(ages[stream], (now - stream_gauges.oldest) * 1000)
                for shard, use in stream_gauges.shards.items():
                    place = shard if self._by_shard else None
                    updates.append(_values("ShardRateLimit", stream, place, [use.scale * 100]))
                    updates.append(_values("ShardHeadroom", stream, place, [max(0.0, 1 - use.taken / use.scale) * 100]))
            for stream, outstanding in pending.items():
                updates.append(_values("UserRecordsPending", stream, None, [outstanding]))
                updates.append(_values("OldestRecordAge", stream, None, [ages[stream]]))
            updates.append(_values("BufferedRecords", None, None, [gauges.records]))
            updates.append(_values("BufferedBytes", None, None, [gauges.bytes]))
            buffer_use = max(gauges.records / self._max_records, gauges.bytes / self._max_bytes)
            updates.append(_values("BufferUse", None, None, [buffer_use * 100]))
            if gauges.spool is not None:
                spool = gauges.spool
                updates.append(_values("SpooledRecords", None, None, [spool.records]))
                updates.append(_values("SpooledBytes", None, None, [spool.bytes]))
                updates.append(_values("OldestSpooledAge", None, None, [max(0.0, now - spool.oldest) * 1000]))
            self.registry.update(updates, now)


def _do_nothing() -> None:
    pass


def _count_entries(
    stream: str, shard: str | None, batches: list[Batch], entries: Sequence[dict[str, str]] | None
) -> Iterator[Update]:
    """Count Kinesis records whose request has a response. entries: the response's, None if it accepted all."""
    sizes = [batch.data_size for batch in batches]
    refused = [place for place, entry in enumerate(entries or ()) if not entry.get("SequenceNumber")]
    if entries is not None and refused:
        yield _repeated("KinesisRecordsPut", stream, shard, len(refused), 0)
        yield _repeated("AllErrors", stream, shard, len(refused), 1)
        yield _values("DataSentInVain", stream, shard, [sizes[place] for place in refused])
        for place in refused:
            yield _repeated("ErrorsByCode", stream, shard, 1, 1, entries[place].get("ErrorCode") or MALFORMED)
            sizes[place] = -1
        sizes = [size for size in sizes if size >= 0]
        batches = [batch for place, batch in enumerate(batches) if place not in set(refused)]
    if sizes:
        yield _repeated("KinesisRecordsPut", stream, shard, len(sizes), 1)
        yield _repeated("AllErrors", stream, shard, len(sizes), 0)
        yield _values("KinesisRecordsDataPut", stream, shard, sizes)
        if batches[0].queue.compression is not None:
            uncompressed = [batch.uncompressed_size for batch in batches]
            yield _values("UncompressedDataPut", stream, shard, uncompressed)
            ratios = [100 * size / whole for size, whole in zip(sizes, uncompressed, strict=True) if whole]
            if ratios:
                yield _values("CompressionRatio", stream, shard, ratios)


def _count_outcome(stream: str, shard: str | None, outcome: Delivered | Failed, found: Tally) -> Iterator[Update]:
    """Count user records with the same outcome."""
    sent: float | None = None
    if isinstance(outcome, Delivered):
        sent = outcome.final.started
        yield _repeated("UserRecordsPut", stream, shard, found.records, 1)
        sizes = (found.records, found.data, found.smallest, found.largest)
        yield (("UserRecordsDataPut", stream, shard, None), *sizes, None)
        duplicates = sum([item.maybe_written for item in found.retried])
        if duplicates:
            yield _repeated("PossibleDuplicates", stream, shard, duplicates, 1)
        if not found.retried:
            yield found.times_until(sent, "BufferingTime", stream, shard)
        elif found.fresh:
            waits = [(sent - item.arrival) * 1000 for item in found.fresh]
            yield _values("BufferingTime", stream, shard, waits)
    else:
        yield _repeated("UserRecordsPut", stream, shard, found.records, 0)
        if outcome.reason is Reason.EXPIRED:
            yield _repeated("UserRecordExpired", stream, shard, found.records, 1)
    if found.records > len(found.retried):
        yield _repeated("RetriesPerRecord", stream, shard, found.records - len(found.retried), 0)
    for item in found.retried:
        yield from _count_retried(stream, shard, item, sent)


def _count_retried(stream: str, shard: str | None, item: PendingRecord, final: float | None) -> Iterator[Update]:
    """Count a record with failed attempts. final: when the attempt that delivered it was sent, None if none did."""
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


def _values(name: str, stream: str | None, shard: str | None, values: Sequence[float]) -> Update:
    return (name, stream, shard, None), len(values), sum(values), min(values), max(values), None


def _repeated(
    name: str, stream: str | None, shard: str | None, count: int, value: int, code: str | None = None
) -> Update:
    """Return `count` values that are all `value`."""
    return (name, stream, shard, code), count, count * value, value, value, None
