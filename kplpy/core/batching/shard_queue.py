"""A shard's queue: its open batch, its closed batches, and what limits it. Packs user records with an exact size."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Collection
from itertools import repeat
from operator import attrgetter

from kplpy.core.batching.limiter import Limiter
from kplpy.core.policy import HITS_TO_AGGREGATE_AGAIN, Policy
from kplpy.core.record import PendingRecord, payload_size
from kplpy.core.shard_range import ShardRange
from kplpy.core.size_limits import SizeLimits
from kplpy.wire.encode import Packing

_arrival = attrgetter("arrival")


class ShardQueue:
    """One predicted shard; or, with `shard` None, the records that travel alone because no shard is predicted."""

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
        "queue_bytes",
        "shard",
        "suspended_at",
        "waiting",
    )

    def __init__(
        self, shard: ShardRange | None, policy: Policy, limiter: Limiter, sizes: SizeLimits | None = None
    ) -> None:
        self.shard = shard
        self.alive = True  # its shard is in the current map
        self.limiter = limiter
        self.first_key_outside = policy.first_key_outside
        self.omits_keys = False  # made-up ones: the stream needs none
        self._may_aggregate = policy.aggregate and shard is not None and policy.aggregation_max_count > 1
        self._aggregate = self._may_aggregate
        self.suspended_at = float("-inf")
        self._suspensions = self._hits = 0
        self.missed_at = float("inf")  # the first of the misses since its shard last took something
        self._max_count = policy.aggregation_max_count
        self._sizes = sizes or SizeLimits(policy)
        self.open: Batch | None = None
        self.few: list[
            PendingRecord
        ] = []  # small ones that the open aggregate is to have once there are some, or it is closed
        self.closed_batches: deque[Batch] = deque()
        self.queue_bytes = 0
        # The collector's marks: in one of its lists; in that of the blocked queues; what of the queue it has counted.
        self.waiting = self.blocked = False
        self.counted = self.counted_bytes = 0
        self.not_before = float("-inf")
        self.failures = 0  # throttled answers in a row
        # Ordered mode: what is under way that all of the queue would overtake, or records with these hash keys.
        self.ordered = policy.ordered
        self.held_back = False
        self.held_back_keys: set[int] = set()
        # Records (and their payload) from closing to the answer: what the fairness of room is judged by.
        self.held = 0
        self.held_bytes = 0

    def add(self, items: list[PendingRecord], tried: bool = False) -> list[Batch]:
        """Put records into the open aggregate, in their order. Returns the batches that this opened.

        `tried`: some of them may have been sent before.

        Of those that it closed as well only the first is among them: the others are in the queue behind it.
        """
        if self.few:
            items = self.few + items
            self.few = []
        if not self._aggregate:
            batches = [*map(Batch.alone, repeat(self), items)]
            self.closed_batches += batches
            self.queue_bytes += sum([batch.wire_size for batch in batches])
            self.held += len(batches)
            self.held_bytes += sum([batch.payload for batch in batches])
            return [min(batches, key=_arrival)]
        opened: list[Batch] = []
        max_size = self._sizes.aggregate
        while items:
            if self.open is None:
                batch = Batch(self, items[0])
                items = items[1:]
                opened.append(batch)
                if batch.packed > max_size:
                    self._enqueue(batch)
                    continue
                self.open = batch
            count = self.open.add(items, max_size, self._max_count)
            if tried:
                self.open.tried = True
            items = items[count:]
            if items:
                self.close_open()
        return opened

    @property
    def shards(self) -> int:
        """How many it stands for."""
        return self.limiter.shards

    def close_open(self) -> None:
        if self.few:
            self.add([])
        if self.open is not None:
            self._enqueue(self.open)
            self.open = None

    def put_back(self, batch: Batch) -> bool:
        """Queue a batch again after a failed attempt, before everything that was accepted later.

        What is before it are other batches that came back, so the way to its place is short. False, in ordered mode:
        as a whole it has no place, because the numbers of its records and of those that wait are mixed.
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
        batch = self.closed_batches.popleft()
        self.queue_bytes -= batch.wire_size
        if self.ordered:
            self.hold_back(batch.items[0].hash_key)
        return batch

    def newest(self) -> int:
        """The highest number in here; -1: none. Where keyless records came back it need not be the last one's."""
        batches = self.closed_batches if self.open is None else [*self.closed_batches, self.open]
        items = [*(item for batch in batches for item in batch.items), *self.few]
        return max((item.number for item in items), default=-1)

    def take_all(self) -> list[PendingRecord]:
        """Empty the queue, for its records to be routed anew."""
        self.close_open()
        items = [item for batch in self.closed_batches for item in batch.items]
        for batch in self.closed_batches:
            self.release(len(batch.items), batch.payload)
        self.closed_batches.clear()
        self.queue_bytes = 0
        return items

    def expire(self, limit: float) -> list[PendingRecord]:
        """Take out the records that arrived at `limit` or earlier."""
        if self._oldest_open() <= limit:
            self.close_open()
        expired: list[PendingRecord] = []
        kept: deque[Batch] = deque()
        self.queue_bytes = 0
        for batch in self.closed_batches:
            rest: Batch | None = batch
            if batch.arrival <= limit:
                gone = {item for item in batch.items if item.arrival <= limit}
                expired += [item for item in batch.items if item in gone]
                rest = batch.without(gone)
            if rest is not None:
                kept.append(rest)
                self.queue_bytes += rest.wire_size
        self.closed_batches = kept
        self.release(len(expired), payload_size(expired))
        return expired

    def oldest(self) -> float:
        """When the oldest record in here arrived; infinite when there is none."""
        oldest = min((batch.arrival for batch in self.closed_batches), default=float("inf"))
        return min(oldest, self._oldest_open())

    def _oldest_open(self) -> float:
        oldest = min((item.arrival for item in self.few), default=float("inf"))
        return oldest if self.open is None else min(oldest, self.open.arrival)

    @property
    def may_send(self) -> bool:
        """Does the first batch overtake nothing that is under way? Without order nobody minds."""
        if not self.ordered:
            return True
        return not self.held_back and not (
            self.closed_batches and self.closed_batches[0].items[0].hash_key in self.held_back_keys
        )

    @property
    def keeps_filling(self) -> bool:
        """Is there no point in closing the open aggregate, because others of the queue have to be answered first?"""
        return self.ordered and (self.held_back or bool(self.closed_batches))

    def hold_back(self, hash_key: int) -> None:
        """A record with this hash key is under way: what would go to the same shard stays behind it.

        Where no shard is predicted, that is what has the same hash key.
        """
        if self.shard is None:
            self.held_back_keys.add(hash_key)
        else:
            self.held_back = True

    def unblock(self) -> None:
        self.held_back = False
        self.held_back_keys.clear()

    @property
    def aggregation_suspended(self) -> bool:
        return self.suspended_at > float("-inf")

    def suspend_aggregation(self, now: float) -> None:
        """Its shard is said to be open, and does not take the records: until it does they travel alone."""
        self.close_open()
        if not self.aggregation_suspended:
            self._suspensions += 1
        self.suspended_at = max(now, self.suspended_at)
        self._hits = 0
        self._aggregate = False

    def hit(self, started: float, count: int = 1) -> None:
        """So many batches of a request of `started` were taken by this queue's shard."""
        self.failures = 0
        self.missed_at = float("inf")
        if self.aggregation_suspended and started > self.suspended_at:
            self._hits += count
            if self._hits >= HITS_TO_AGGREGATE_AGAIN * 4 ** (self._suspensions - 1):
                self.suspended_at = float("-inf")
                self._aggregate = self._may_aggregate

    def missed(self, started: float) -> None:
        """Another shard took a record of this queue, of a request of `started`."""
        self._hits = 0
        self.missed_at = min(self.missed_at, started)

    def release(self, count: int, payload: int) -> None:
        """These records are answered, or have left for another queue."""
        self.held -= count
        self.held_bytes -= payload

    def backlog(self, now: float) -> float:
        """Seconds until what is queued may be sent; below 0: room for so many seconds of a whole shard's traffic."""
        return max(self.not_before - now, self.limiter.backlog(len(self.closed_batches), self.queue_bytes, now))

    def ready_at(self, now: float) -> float:
        """When the first queued batch may be sent: backoff and tokens."""
        if self.not_before > now:
            return self.not_before
        return self.limiter.ready_at(self.closed_batches[0].wire_size, now)

    def _enqueue(self, batch: Batch) -> None:
        batch.close()
        self.closed_batches.append(batch)
        self.queue_bytes += batch.wire_size
        self.held += len(batch.items)
        self.held_bytes += batch.payload


AGGREGATE_KEY = "a"


def utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class Batch:
    """The user records of one Kinesis record.

    `arrival` is that of its oldest record; `tried`: some may have been sent before. What metrics want to know of the
    records is kept together: to look at each again would be a cache miss, three times as slow.

    Once it is closed, `data_size` is the exact size of the Kinesis record's data, and `wire_size` what the service
    counts: its key as well.
    """

    __slots__ = (
        "_arrivals",
        "_packing",
        "arrival",
        "closed",
        "data_size",
        "items",
        "payload",
        "queue",
        "tried",
        "wire_size",
    )
    data_size: int
    wire_size: int

    def __init__(self, queue: ShardQueue, first: PendingRecord) -> None:
        self.queue = queue
        self.items = [first]
        self.arrival = first.arrival
        self._arrivals: array[float] | None = None  # of one record alone there is no need
        self.tried = bool(first.tries)
        self.closed = False
        self.payload = len(first.data) + len(first.partition_key)
        self._packing: Packing | None = None

    @property
    def packed(self) -> int:
        """The exact size of the aggregate that the records make."""
        return self._packed().size

    def add(self, items: list[PendingRecord], max_size: int, max_count: int) -> int:
        """Add records until the aggregate would have more than `max_size` bytes or `max_count` of them.

        Returns how many were added.
        """
        room = max_count - len(self.items)
        if len(items) > room:
            items = items[:room]
        packing = self._packed()
        count = packing.add(items, max_size)
        if not count:
            return 0
        if count < len(items):
            items = items[:count]
        self.items += items
        self.payload = packing.data_size + packing.key_size
        arrivals = [item.arrival for item in items]
        arrivals.sort()  # as they nearly are, which makes it faster than min()
        before = self._arrivals
        if before is None:
            before = self._arrivals = array("d", (self.arrival,))
        if arrivals[0] < before[-1]:
            arrivals = sorted((*before, *arrivals))
            self.arrival = arrivals[0]
            del before[:]
        before.fromlist(arrivals)
        return count

    def _packed(self) -> Packing:
        packing = self._packing
        if packing is None:
            packing = self._packing = Packing()
            packing.add(self.items, sys.maxsize)
        return packing

    def parts(self) -> tuple[bytes, bytes]:
        """The Kinesis record's data, but for its end, and that, which is short."""
        return self._packed().parts() if self.aggregated else (self.items[0].data, b"")

    def arrivals(self) -> array[float]:
        """Of each record, ascending."""
        return array("d", (self.arrival,)) if self._arrivals is None else self._arrivals

    def sizes(self) -> tuple[int, int, int]:
        """Of all its records' data, of the smallest, and of the largest."""
        if not self.aggregated:
            return (len(self.items[0].data),) * 3
        packing = self._packed()
        return packing.data_size, packing.smallest, packing.largest

    @property
    def aggregated(self) -> bool:
        return len(self.items) > 1

    @property
    def outer_key(self) -> str | None:
        """The Kinesis record's partition key: "a" for an aggregate, as the KPL writes it, unless asked otherwise.

        None for a keyless record where the service needs none.
        """
        if self.aggregated and not self.queue.first_key_outside:
            return AGGREGATE_KEY
        first = self.items[0]
        return None if first.keyless and self.queue.omits_keys else first.partition_key

    def close(self) -> None:
        """No more records. The sizes are final."""
        self.closed = True
        if self.aggregated:
            self.data_size = self.packed
        else:
            self._packing = None
            self.data_size = len(self.items[0].data)
        self.wire_size = self.data_size + utf8_size(self.outer_key or "")

    @classmethod
    def alone(cls, queue: ShardQueue, item: PendingRecord) -> Batch:
        """A closed batch of one record."""
        batch = cls(queue, item)
        batch.closed = True
        size = batch.data_size = len(item.data)
        key = item.partition_key
        if not (item.keyless and queue.omits_keys):
            size += len(key) if key.isascii() else len(key.encode())
        batch.wire_size = size
        return batch

    def without(self, gone: Collection[PendingRecord]) -> Batch | None:
        """A closed batch of the records that are not in `gone`, in their order; None when none is left."""
        kept = [item for item in self.items if item not in gone]
        return batch_of(self.queue, kept) if kept else None


def batch_of(queue: ShardQueue, items: list[PendingRecord]) -> Batch:
    """A closed batch of these records, whatever its size."""
    batch = Batch(queue, items[0])
    batch.add(items[1:], sys.maxsize, sys.maxsize)
    batch.tried = any(item.tries for item in items)
    batch.close()
    return batch
