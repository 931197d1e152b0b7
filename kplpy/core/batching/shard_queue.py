"""A shard's queue of batches, and the batch: the user records of one Kinesis record, with its exact size."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Collection
from itertools import repeat
from operator import attrgetter

from kplpy.accelerator import compiled, native
from kplpy.core.batching.compression import QueueCompression
from kplpy.core.batching.limiter import Limiter
from kplpy.core.policy import HITS_TO_AGGREGATE_AGAIN, Policy
from kplpy.core.record import PendingRecord, payload_size, untrack
from kplpy.core.shard_range import ShardRange
from kplpy.core.size_limits import SizeLimits
from kplpy.wire.compressed import header_size, pack_batch
from kplpy.wire.encode import Packing
from kplpy.wire.envelope import ENVELOPE

_arrival = attrgetter("arrival")
_ADDED_TOGETHER = 1000  # so that adding very many records does not copy the rest of their list for each aggregate


class ShardQueue:
    """The records of one predicted shard, in an open batch and closed ones.

    Without a shard, the records travel alone, because no shard is predicted. With packs_anywhere, the service places
    the records, and a batch may land on any shard. Then several records travel in a compressed batch.

    alive: the shard is in the current map.
    blocked: the queue is in the collector's list of blocked queues.
    closed_batches: in the order of acceptance.
    compression: what is compressed, and how much smaller it gets. None: nothing is compressed.
    counted, counted_bytes: how many closed batches, and bytes of them, the collector has counted.
    failures: throttled responses in a row.
    few: small records for the open aggregate. They are packed when there are several, or when it closes.
    first_key_outside: an aggregate's partition key is its first record's, instead of "a".
    held, held_bytes: records, and their payload bytes, from the closing of their batch to their outcome. The buffer's
        fair shares among shards follow these.
    held_back: in ordered mode, no record of the queue may be sent until the batch in flight has its outcome.
    held_back_keys: in ordered mode, hash keys that have a record in flight.
    limiter: the shard's limits.
    missed_at: when the first miss since the last hit was sent. Infinite if there is none.
    not_before: no batch may be sent before this time, because of a backoff.
    omits_keys: the stream needs no partition keys, so keyless records go without.
    open: the open batch, if there is one.
    ordered: the order within the queue must be kept.
    packs_anywhere: batches are packed although no shard is predicted.
    queue_bytes: bytes of the closed batches, as the service counts them. With compression, as estimated.
    shard: its id and range, or None. A delivery stream's queue has the range of all hash keys, without an id.
    suspended_at: when aggregation was last suspended. -inf while it is not.
    waiting: the queue is in one of the collector's lists.
    wraps_singles: a record that is alone in its batch is an aggregate of one.
    """

    __slots__ = (
        "_aggregate",
        "_hits",
        "_max_count",
        "_may_aggregate",
        "_sizes",
        "_suspensions",
        "alive",
        "blocked",
        "closed_batches",
        "compression",
        "counted",
        "counted_bytes",
        "failures",
        "few",
        "first_key_outside",
        "held",
        "held_back",
        "held_back_keys",
        "held_bytes",
        "limiter",
        "missed_at",
        "not_before",
        "omits_keys",
        "open",
        "ordered",
        "packs_anywhere",
        "queue_bytes",
        "shard",
        "suspended_at",
        "waiting",
        "wraps_singles",
    )

    def __init__(
        self,
        shard: ShardRange | None,
        policy: Policy,
        limiter: Limiter,
        sizes: SizeLimits | None = None,
        packs_anywhere: bool = False,
    ) -> None:
        self.shard = shard
        self.alive = True
        self.limiter = limiter
        self.first_key_outside = policy.first_key_outside
        self.omits_keys = False
        self.compression = None if policy.compression is None else QueueCompression(policy.compression)
        self.packs_anywhere = packs_anywhere
        self.wraps_singles = policy.aggregate_single_records
        has_place = shard is not None or packs_anywhere
        self._may_aggregate = policy.aggregate and has_place and policy.aggregation_max_count > 1
        self._aggregate = self._may_aggregate
        self.suspended_at = float("-inf")
        self._suspensions = self._hits = 0
        self.missed_at = float("inf")
        self._max_count = policy.aggregation_max_count
        self._sizes = sizes or SizeLimits(policy)
        self.open: Batch | None = None
        self.few: list[PendingRecord] = []
        self.closed_batches: deque[Batch] = deque()
        self.queue_bytes = 0
        # The collector's marks.
        self.waiting = self.blocked = False
        self.counted = self.counted_bytes = 0
        self.not_before = float("-inf")
        self.failures = 0
        self.ordered = policy.ordered
        self.held_back = False
        self.held_back_keys: set[int] = set()
        self.held = 0
        self.held_bytes = 0

    def add(self, items: list[PendingRecord], tried: bool = False) -> list[Batch]:
        """Put records into the open aggregate, in their order. Return the batches that this opened.

        Without aggregation, each record is a closed batch. Then only the one with the earliest deadline is returned.

        tried: some of the records may have been sent before.
        """
        if self.few:
            items = self.few + items
            self.few = []
        if not self._aggregate:
            batches, wire_size, payload, oldest = batches_alone(self.batch_type, self, items)
            if self.compression is not None:
                for batch in batches:
                    batch.estimate()
                wire_size = sum([batch.wire_size for batch in batches])
            self.closed_batches += batches
            self.queue_bytes += wire_size
            self.held += len(batches)
            self.held_bytes += payload
            return [oldest]
        opened: list[Batch] = []
        max_size = self._sizes.aggregate
        added = 0
        while added < len(items):
            if self.open is None:
                batch = self.batch_type(self, items[added])
                added += 1
                opened.append(batch)
                if batch.packed > max_size:
                    self._enqueue(batch)
                    continue
                self.open = batch
            part = items[added : added + _ADDED_TOGETHER]
            count = self.open.add(part, max_size, self._max_count)
            if tried:
                self.open.tried = True
            added += count
            if count < len(part):
                self.close_open()
        return opened

    @property
    def batch_type(self) -> type[Batch]:
        """The class of the queue's batches."""
        return Batch

    @property
    def shard_id(self) -> str | None:
        """The shard's id. None without a shard, and for the queue of a delivery stream."""
        return (self.shard.shard_id or None) if self.shard is not None else None

    @property
    def shards(self) -> float:
        """The number of shards that the queue stands for."""
        return self.limiter.shards

    def close_open(self) -> None:
        """Close the open batch, with the few records that wait for it."""
        if self.few:
            self.add([])
        if self.open is not None:
            self._enqueue(self.open)
            self.open = None

    def put_back(self, batch: Batch) -> bool:
        """Queue a batch again after a failed attempt, before all records that were accepted later.

        The search for its place is short, because only other failed batches are before it. Return False, in ordered
        mode, if the batch as a whole has no place among the numbers of the queued records.
        """
        number = batch.items[0].number
        place = 0
        for each in self.closed_batches:
            if each.items[0].number > number:
                break
            place += 1
        if self.ordered and not self._in_order(batch, place):
            return False
        self.closed_batches.insert(place, batch)
        self.queue_bytes += batch.wire_size
        return True

    def _in_order(self, batch: Batch, place: int) -> bool:
        if place > 0 and self.closed_batches[place - 1].items[-1].number > batch.items[0].number:
            return False
        later = self.closed_batches[place] if place < len(self.closed_batches) else self.open
        return later is None or batch.items[-1].number < later.items[0].number

    def pop(self) -> Batch:
        """Remove and return the first closed batch."""
        batch = self.closed_batches.popleft()
        self.queue_bytes -= batch.wire_size
        if self.ordered:
            self.hold_back(batch.items[0].hash_key)
        return batch

    def pop_run(
        self, taken: list[Batch], count: int, size: float, largest: float, data_size: float
    ) -> tuple[int, int, int]:
        """Move the first closed batches to `taken`, see take_run. Not in ordered mode."""
        moved = take_run(self.closed_batches, taken, count, size, largest, data_size)
        self.queue_bytes -= moved[1]
        return moved

    def newest(self) -> int:
        """Return the highest record number in the queue, -1 if it is empty. Keyless retries may be out of order."""
        batches = self.closed_batches if self.open is None else [*self.closed_batches, self.open]
        items = [*(item for batch in batches for item in batch.items), *self.few]
        return max((item.number for item in items), default=-1)

    def take_all(self) -> list[PendingRecord]:
        """Remove all records and return them, to be routed again."""
        self.close_open()
        items = [item for batch in self.closed_batches for item in batch.items]
        for batch in self.closed_batches:
            self.release(len(batch.items), batch.payload)
        self.closed_batches.clear()
        self.queue_bytes = 0
        return items

    def expire(self, limit: float) -> list[PendingRecord]:
        """Remove the records that arrived at `limit` or earlier, and return them."""
        if self._oldest_open() <= limit:
            self.close_open()
        expired: list[PendingRecord] = []
        kept: deque[Batch] = deque()
        self.queue_bytes = 0
        for batch in self.closed_batches:
            rest: Batch | None = batch
            if batch.arrival <= limit:
                removed = {item for item in batch.items if item.arrival <= limit}
                expired += [item for item in batch.items if item in removed]
                rest = batch.without(removed)
            if rest is not None:
                kept.append(rest)
                self.queue_bytes += rest.wire_size
        self.closed_batches = kept
        self.release(len(expired), payload_size(expired))
        return expired

    def oldest(self) -> float:
        """Return when the oldest record in the queue arrived. Infinite if there is none."""
        oldest = min((batch.arrival for batch in self.closed_batches), default=float("inf"))
        return min(oldest, self._oldest_open())

    def _oldest_open(self) -> float:
        oldest = min((item.arrival for item in self.few), default=float("inf"))
        return oldest if self.open is None else min(oldest, self.open.arrival)

    @property
    def may_send(self) -> bool:
        """True if the first batch overtakes nothing in flight. Always True without order."""
        if not self.ordered:
            return True
        return not self.held_back and not (
            self.closed_batches and self.closed_batches[0].items[0].hash_key in self.held_back_keys
        )

    @property
    def keeps_filling(self) -> bool:
        """True if the open aggregate should stay open: other batches must have outcomes first."""
        return self.ordered and (self.held_back or bool(self.closed_batches))

    def hold_back(self, hash_key: int) -> None:
        """A record with this hash key is in flight: hold the queue back.

        Without a predicted shard, hold back only records with the same hash key.
        """
        if self.shard is None:
            self.held_back_keys.add(hash_key)
        else:
            self.held_back = True

    def unblock(self) -> None:
        """End the effect of `hold_back`."""
        self.held_back = False
        self.held_back_keys.clear()

    @property
    def aggregation_suspended(self) -> bool:
        """True while records travel alone, because they landed on other shards."""
        return self.suspended_at > float("-inf")

    def suspend_aggregation(self, now: float) -> None:
        """Let records travel alone until the shard, which is listed as open, takes them again."""
        self.close_open()
        if not self.aggregation_suspended:
            self._suspensions += 1
        self.suspended_at = max(now, self.suspended_at)
        self._hits = 0
        self._aggregate = False

    def hit(self, started: float, count: int = 1) -> None:
        """The queue's shard took `count` batches of a request. started: when it was sent."""
        self.failures = 0
        self.missed_at = float("inf")
        if self.aggregation_suspended and started > self.suspended_at:
            self._hits += count
            if self._hits >= HITS_TO_AGGREGATE_AGAIN * 4 ** (self._suspensions - 1):
                self.suspended_at = float("-inf")
                self._aggregate = self._may_aggregate

    def missed(self, started: float) -> None:
        """Another shard took a record of this queue. started: when its request was sent."""
        self._hits = 0
        self.missed_at = min(self.missed_at, started)

    def release(self, count: int, payload: int) -> None:
        """Records have their outcome, or have left for another queue."""
        self.held -= count
        self.held_bytes -= payload

    def backlog(self, now: float) -> float:
        """Return the seconds until all closed batches may be sent. Below 0: spare seconds of a shard's whole limits."""
        return max(self.not_before - now, self.limiter.backlog(len(self.closed_batches), self.queue_bytes, now))

    def ready_at(self, now: float) -> float:
        """Return when the first closed batch may be sent, after backoff and with its tokens."""
        if self.not_before > now:
            return self.not_before
        return self.limiter.ready_at(self.closed_batches[0].wire_size, now)

    def _enqueue(self, batch: Batch) -> None:
        batch.close()
        if self.compression is not None:
            batch.estimate()
        self.closed_batches.append(batch)
        self.queue_bytes += batch.wire_size
        self.held += len(batch.items)
        self.held_bytes += batch.payload


AGGREGATE_KEY = "a"


def utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


@compiled
def arrivals_of(items: list[PendingRecord]) -> array[float]:
    """Return the arrival times of the records, ascending."""
    arrivals = [item.arrival for item in items]
    arrivals.sort()  # faster than min(), because they are nearly sorted
    return array("d", arrivals)


@compiled
class BatchState:
    """The fields of a batch, see Batch. Loops over many batches in compiled code read them as a struct."""

    __slots__ = (
        "_arrivals",
        "_packing",
        "_sealed",
        "aggregated",
        "arrival",
        "closed",
        "data_size",
        "items",
        "payload",
        "queue",
        "tried",
        "wire_size",
    )
    queue: ShardQueue
    items: list[PendingRecord]
    arrival: float
    _arrivals: array[float] | None
    tried: bool
    closed: bool
    payload: int
    aggregated: bool
    _packing: Packing | None
    _sealed: bytes | None
    data_size: int
    wire_size: int


class Batch(BatchState):
    """The user records of one Kinesis record.

    The batch keeps the arrivals and sizes that metrics need. Looking at each record again would be a cache miss, and
    three times as slow.

    aggregated: the Kinesis record is an aggregate. A record with headers is one also when it is alone.
    arrival: the arrival time of its oldest record.
    closed: no more records are added, and the sizes are final.
    data_size: the size of the Kinesis record's data. Set when closed. Exact without compression, and once sealed;
        before that the size without compression.
    items: the records, in their order.
    payload: bytes of data, partition keys and tags, as charged to the buffer.
    queue: the shard's queue.
    tried: some of the records may have been sent before.
    wire_size: the size of data and partition key, as the service counts. Set when closed. With compression an estimate,
        until the batch is sealed. It changes only while the batch is in flight.

    With compression, a batch is sealed when it is first sent: its compressed data is set, or that it goes uncompressed.
    A batch that is sent again keeps what was sealed. A batch made of its records is not sealed.
    """

    __slots__ = ()

    def __init__(self, queue: ShardQueue, first: PendingRecord) -> None:
        self.queue = queue
        self.items = [first]
        untrack(self.items)
        self.arrival = first.arrival
        self._arrivals = None  # None while there is only one record
        self.tried = bool(first.tries)
        self.closed = False
        self.payload = len(first.data) + len(first.partition_key)
        self.aggregated = queue.wraps_singles
        if first.tags:  # a call of payload_of for each record that is alone would take 0.07 µs more
            self.payload += len(first.tags)
            self.aggregated = True
        self._packing = None
        self._sealed = None  # the compressed data; empty if the batch goes uncompressed

    @property
    def packed(self) -> int:
        """The exact size of the aggregate of the records."""
        return self._packed().size

    def add(self, items: list[PendingRecord], max_size: int, max_count: int) -> int:
        """Add records while the aggregate has at most `max_size` bytes and `max_count` records.

        Return how many were added.
        """
        addable = max_count - len(self.items)
        if len(items) > addable:
            items = items[:addable]
        packing = self._packed()
        count = packing.add(items, max_size)
        if not count:
            return 0
        if count < len(items):
            items = items[:count]
        self.items += items
        self.aggregated = True
        self.payload = packing.data_size + packing.other_size
        arrivals = arrivals_of(items)
        before = self._arrivals
        if before is None:
            before = self._arrivals = array("d", (self.arrival,))
        if arrivals[0] < before[-1]:
            self._arrivals = array("d", sorted(before + arrivals))
            self.arrival = self._arrivals[0]
        else:
            before += arrivals
        return count

    def _packed(self) -> Packing:
        packing = self._packing
        if packing is None:
            packing = self._packing = self._new_packing()
            packing.add(self.items, sys.maxsize)
        return packing

    def _new_packing(self) -> Packing:
        return Packing()

    def content(self) -> Packing | bytes:
        """Return the Kinesis record's data. A Packing stands for its data(), which the caller joins into the body."""
        if self._sealed:
            return self._sealed
        if not self.aggregated:
            return self.items[0].data
        if self.queue.packs_anywhere:
            return pack_batch(self._packed().message(), "none", 0)
        return self._packed()

    def arrivals(self) -> array[float]:
        """Return the arrival times of the records, ascending."""
        return array("d", (self.arrival,)) if self._arrivals is None else self._arrivals

    def sizes(self) -> tuple[int, int, int]:
        """Return the data sizes of all records together, of the smallest, and of the largest."""
        if not self.aggregated:
            return (len(self.items[0].data),) * 3
        packing = self._packed()
        return packing.data_size, packing.smallest, packing.largest

    @property
    def outer_key(self) -> str | None:
        """The Kinesis record's partition key.

        An aggregate's is "a", as the KPL writes it, except with `first_key_outside`.
        None for a keyless record, or a batch that begins with one, if the stream needs no keys.
        """
        first = self.items[0]
        if first.keyless and self.queue.omits_keys:
            return None
        return AGGREGATE_KEY if self.aggregated and not self.queue.first_key_outside else first.partition_key

    @property
    def _key_size(self) -> int:
        return utf8_size(self.outer_key or "")

    def close(self) -> None:
        """Close the batch and set its final sizes."""
        self.closed = True
        if not self.aggregated:
            self._packing = None
        elif self._packing is not None:
            self._packing.trim()
        self.data_size = self.uncompressed_size
        self.wire_size = self.data_size + self._key_size

    @classmethod
    def alone(cls, queue: ShardQueue, item: PendingRecord) -> Batch:
        """Return a closed batch of one record."""
        batch = cls(queue, item)
        if batch.aggregated:
            batch.close()
            return batch
        batch.closed = True
        size = batch.data_size = len(item.data)
        key = item.partition_key
        if not (item.keyless and queue.omits_keys):
            size += len(key) if key.isascii() else len(key.encode())
        batch.wire_size = size
        return batch

    # --- compression ---

    @property
    def uncompressed_size(self) -> int:
        """The exact size of the Kinesis record's data without compression."""
        if not self.aggregated:
            return len(self.items[0].data)
        size = self.packed
        return size - ENVELOPE + header_size(size - ENVELOPE) if self.queue.packs_anywhere else size

    @property
    def is_sealed(self) -> bool:
        """True if the sizes are exact."""
        return self.queue.compression is None or self._sealed is not None

    @property
    def is_compressed(self) -> bool:
        """True if the batch is sealed, and goes compressed."""
        return bool(self._sealed)

    @property
    def must_stay_in_range(self) -> bool:
        """True if the batch must be on a shard whose range holds all of its hash keys.

        The KCL drops an aggregate that is not. In ordered mode, a compressed batch elsewhere could be read before
        earlier records of the same keys.
        """
        if not self.aggregated or self.queue.packs_anywhere:
            return False
        return not self._sealed or self.queue.ordered

    def is_larger_than(self, limit: int) -> bool:
        """Return True if data and partition key have more bytes than `limit`. Before it is sealed: uncompressed."""
        return self.data_size + self._key_size > limit

    def estimate(self) -> None:
        """Set wire_size to what it will probably be. Called for a batch that is not queued yet."""
        assert self.queue.compression is not None
        self.wire_size += self.queue.compression.estimate(self.data_size) - self.data_size

    def compressed(self) -> bytes:
        """Return the Kinesis record's data, compressed. Empty if that is not smaller. Needs no lock."""
        assert self.queue.compression is not None
        packing = self._packing
        if packing is None:
            packing = Packing()
            packing.add(self.items, sys.maxsize)
        rules = self.queue.compression.rules
        data = pack_batch(packing.message(), rules.codec, rules.level)
        return data if len(data) < self.data_size else b""

    def seal(self, compressed: bytes) -> None:
        """Set the data and the exact sizes. compressed: empty if the batch goes uncompressed."""
        self._sealed = compressed
        self.data_size = len(compressed) or self.uncompressed_size
        self.wire_size = self.data_size + self._key_size

    def without(self, removed: Collection[PendingRecord]) -> Batch | None:
        """Return a closed batch without the records in `removed`. None if no record is left."""
        kept = [item for item in self.items if item not in removed]
        return batch_of(self.queue, kept) if kept else None


def batch_of(queue: ShardQueue, items: list[PendingRecord]) -> Batch:
    """Return a closed batch of these records, of any size."""
    batch = queue.batch_type(queue, items[0])
    batch.add(items[1:], sys.maxsize, sys.maxsize)
    batch.tried = any(item.tries for item in items)
    batch.close()
    return batch


@compiled
def batches_alone(
    batch_type: type[Batch], queue: ShardQueue, items: list[PendingRecord]
) -> tuple[list[Batch], int, int, Batch]:
    """Return a closed batch for each record, their wire size, their payload, and the one that arrived first."""
    batches = [*map(batch_type.alone, repeat(queue), items)]
    wire_size, payload = sum([batch.wire_size for batch in batches]), sum([batch.payload for batch in batches])
    return batches, wire_size, payload, min(batches, key=_arrival)


@compiled
def take_run(
    batches: deque[Batch], taken: list[Batch], count: int, size: float, largest: float, data_size: float
) -> tuple[int, int, int]:
    """Move batches from the front of a queue to `taken` while all limits hold.

    count, size, data_size: the most batches, and the most bytes of them (wire_size, data_size). largest: the most bytes
    of one batch. Return how many batches were moved, and their sizes.
    """
    moved, moved_size, moved_data = 0, 0, 0
    while batches and moved < count:
        batch = batches[0]
        whole, data = moved_size + batch.wire_size, moved_data + batch.data_size
        if whole > size or batch.wire_size > largest or data > data_size:
            break
        taken.append(batches.popleft())
        moved, moved_size, moved_data = moved + 1, whole, data
    return moved, moved_size, moved_data


if native is not None:
    native.register_batch(Batch)
