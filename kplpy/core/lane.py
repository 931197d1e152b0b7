"""All that waits for one shard: the open aggregate, the closed ones, the tokens, the backoff."""

from __future__ import annotations

from collections import deque

from kplpy.core.aggregator import Batch
from kplpy.core.item import Item, payload_size
from kplpy.core.limiter import Limiter
from kplpy.core.policy import DOUBT_PROOF, Policy
from kplpy.core.shard_map import ShardRange


class Lane:
    """One predicted shard; or, with `shard` None, the records that travel alone because no shard is predicted."""

    __slots__ = (
        "_aggregate",
        "_doubts",
        "_hits",
        "_max_count",
        "_max_size",
        "_may_aggregate",
        "alive",
        "blocked",
        "counted",
        "counted_bytes",
        "doubted_at",
        "failures",
        "first_key_outside",
        "held",
        "held_bytes",
        "limiter",
        "not_before",
        "open",
        "queue",
        "queue_bytes",
        "shard",
        "waiting",
    )

    def __init__(self, shard: ShardRange | None, policy: Policy, limiter: Limiter) -> None:
        self.shard = shard
        self.alive = True  # its shard is in the current map
        self.limiter = limiter
        self.first_key_outside = policy.first_key_outside
        self._may_aggregate = policy.aggregate and shard is not None and policy.aggregation_max_count > 1
        self._aggregate = self._may_aggregate
        self.doubted_at = float("-inf")
        self._doubts = self._hits = 0
        self._max_count = policy.aggregation_max_count
        self._max_size = policy.aggregation_max_size
        self.open: Batch | None = None
        self.queue: deque[Batch] = deque()
        self.queue_bytes = 0
        # The collector's marks: in one of its lists; in that of the blocked lanes; what of the queue it has counted.
        self.waiting = self.blocked = False
        self.counted = self.counted_bytes = 0
        self.not_before = float("-inf")
        self.failures = 0  # throttled answers in a row
        # Records (and their payload) from closing to the answer: what the fairness of room is judged by.
        self.held = 0
        self.held_bytes = 0

    def add(self, item: Item) -> Batch | None:
        """Put the record into the open aggregate. Returns the batch that this opened, if it opened one.

        A batch that this closed is in the queue, which is all that its caller needs to look at.
        """
        batch = self.open
        if batch is not None:
            if batch.try_add(item, self._max_size, self._max_count):
                return None
            self.close_open()
        batch = Batch(self, item)
        if self._aggregate and batch.packed <= self._max_size:
            self.open = batch
        else:
            self._enqueue(batch)
        return batch

    def close_open(self) -> None:
        if self.open is not None:
            self._enqueue(self.open)
            self.open = None

    def put_back(self, batch: Batch) -> None:
        """Queue a batch again after a failed attempt, before everything that was accepted later.

        What is before it are other batches that came back, so the way to its place is short.
        """
        number = batch.items[0].number
        place = 0
        for each in self.queue:
            if each.items[0].number > number:
                break
            place += 1
        self.queue.insert(place, batch)
        self.queue_bytes += batch.wire_size

    def pop(self) -> Batch:
        batch = self.queue.popleft()
        self.queue_bytes -= batch.wire_size
        return batch

    def take_all(self) -> list[Item]:
        """Empty the lane, for its records to be routed anew."""
        self.close_open()
        items = [item for batch in self.queue for item in batch.items]
        for batch in self.queue:
            self.release(len(batch.items), batch.payload)
        self.queue.clear()
        self.queue_bytes = 0
        return items

    def expire(self, limit: float) -> list[Item]:
        """Take out the records that arrived at `limit` or earlier."""
        if self.open is not None and self.open.arrival <= limit:
            self.close_open()
        expired: list[Item] = []
        kept: deque[Batch] = deque()
        self.queue_bytes = 0
        for batch in self.queue:
            rest: Batch | None = batch
            if batch.arrival <= limit:
                gone = {item for item in batch.items if item.arrival <= limit}
                expired += [item for item in batch.items if item in gone]
                rest = batch.without(gone)
            if rest is not None:
                kept.append(rest)
                self.queue_bytes += rest.wire_size
        self.queue = kept
        self.release(len(expired), payload_size(expired))
        return expired

    def oldest(self) -> float:
        """When the oldest record in here arrived; infinite when there is none."""
        oldest = min((batch.arrival for batch in self.queue), default=float("inf"))
        return oldest if self.open is None else min(oldest, self.open.arrival)

    @property
    def doubted(self) -> bool:
        return self.doubted_at > float("-inf")

    def doubt(self, now: float) -> None:
        """Its shard is said to be open, and does not take the records: until it does they travel alone."""
        self.close_open()
        if not self.doubted:
            self._doubts += 1
        self.doubted_at = max(now, self.doubted_at)
        self._hits = 0
        self._aggregate = False

    def took(self, started: float) -> None:
        """A request of `started` was taken by this lane's shard."""
        self.failures = 0
        if self.doubted and started > self.doubted_at:
            self._hits += 1
            if self._hits >= DOUBT_PROOF * 4 ** (self._doubts - 1):
                self.doubted_at = float("-inf")
                self._aggregate = self._may_aggregate

    def missed(self) -> None:
        """Another shard took a record of this lane."""
        self._hits = 0

    def release(self, count: int, payload: int) -> None:
        """These records are answered, or have left for another lane."""
        self.held -= count
        self.held_bytes -= payload

    def backlog(self, now: float) -> float:
        """Seconds until what is queued may be sent; below 0: room for so many seconds of a whole shard's traffic."""
        return max(self.not_before - now, self.limiter.backlog(len(self.queue), self.queue_bytes, now))

    def ready_at(self, now: float) -> float:
        """When the first queued batch may be sent: backoff and tokens."""
        if self.not_before > now:
            return self.not_before
        return self.limiter.ready_at(self.queue[0].wire_size, now)

    def _enqueue(self, batch: Batch) -> None:
        batch.close()
        self.queue.append(batch)
        self.queue_bytes += batch.wire_size
        self.held += len(batch.items)
        self.held_bytes += batch.payload
