"""Finds the invalid record in a refused request, by sending the request again in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kplpy.core import policy as rules
from kplpy.core.batching.shard_queue import Batch, ShardQueue, batch_of

Part = list[Batch]


class Bisection:
    """Holds the parts of refused requests. Each part is sent as a request of its own.

    The parts of a request are in flight together, and beside other requests. The parts of the latest refused request go
    first, so that single records are reached soon.

    If BISECTION_FAILURES single records in a row were refused, the request itself may be the cause. Then single records
    are tried one after the other, the smallest first. If all are refused for DENIED_GRACE, the bisection ends.

    In ordered mode, a shard's earliest part goes first, and only while nothing is in flight to the shard.
    """

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._parts: list[Part] = []
        self._refused = 0  # single records in a row
        self._since = self._refused_at = float("-inf")  # when the first and the last of that row were
        self._trial: Batch | None = None
        self._trials_refused = 0

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for part in self._parts for batch in part)

    # --- parts go out ---

    def has_part(self, in_flight: int, ahead: set[ShardQueue]) -> bool:
        """Return True if a part may be sent.

        in_flight: the number of parts in flight. ahead: the queues whose parts must wait, to keep the order.
        """
        at_most = 1 if self._single_records_only else rules.BISECTION_PARTS
        return in_flight < at_most and next(self._sendable(ahead), None) is not None

    def next_part(self, ahead: set[ShardQueue], max_bytes: float) -> Part:
        """Take the next part. From a part above `max_bytes`, take the batches that fit, at least one."""
        places = self._sendable(ahead)
        if not self._single_records_only:
            index = next(places)
            part = self._parts[index]
            fitting = _count_fitting(part, max_bytes)
            self._parts[index : index + 1] = [part[fitting:]] if fitting < len(part) else []
            return part[:fitting]
        index, batch = min(
            ((index, batch) for index in places for batch in self._parts[index]),
            key=lambda each: len(each[1].items[0].data),
        )
        return [self._take_first(index, batch)]

    @property
    def _single_records_only(self) -> bool:
        return self._refused >= rules.BISECTION_FAILURES

    def _sendable(self, ahead: set[ShardQueue]) -> Iterator[int]:
        """Return the indexes of the parts that may be sent."""
        waiting = set(ahead)
        for index, part in enumerate(self._parts):
            queues = {batch.queue for batch in part if batch.queue.shard is not None} if self._ordered else set()
            if not queues & waiting:
                yield index
            waiting |= queues

    def _take_first(self, index: int, batch: Batch) -> Batch:
        """Take the batch's first record out of the part at this index. It is sent alone."""
        others = [each for each in self._parts[index] if each is not batch]
        rest = [batch_of(batch.queue, batch.items[1:])] if len(batch.items) > 1 else []
        self._parts[index : index + 1] = [part for part in (rest, others) if part]
        self._trial = batch_of(batch.queue, batch.items[:1])
        return self._trial

    # --- responses come in ---

    def reset(self) -> None:
        """Begin the count of refused records again, because a request had another result."""
        self._refused = self._trials_refused = 0

    def refused(self, batches: Part, now: float, conclusive: bool, expected: bool = False) -> Part:
        """The service refused these batches as invalid. Return the batches to fail.

        conclusive: the request held nothing else. Otherwise, the cause may be a record that has its outcome already.
        expected: they are larger than the stream takes, which says nothing about other records.
        """
        parts = _split(batches, rules.BISECTION_PARTS_IN_ORDER if self._ordered else rules.BISECTION_PARTS)
        if len(parts) > 1 or not conclusive:
            self._parts[:0] = parts
            return []
        (only,) = batches
        return [only, *self.take_all()] if not expected and self._is_over(only, now) else [only]

    def _is_over(self, refused: Batch, now: float) -> bool:
        """Count a refused single record. Return True if everything was refused for DENIED_GRACE."""
        if now > self._refused_at + rules.DENIED_MEMORY:
            self.reset()
        if not self._refused:
            self._since = now
        self._refused_at = now
        self._refused += 1
        self._trials_refused += refused is self._trial
        return self._trials_refused >= rules.BISECTION_FAILURES and now >= self._since + rules.DENIED_GRACE

    def add_suspect(self, batch: Batch) -> None:
        """Send this batch, which may be refused, in a request of its own."""
        self._parts.append([batch])

    # --- waiting parts ---

    def take_all(self) -> Part:
        """Remove all batches and return them."""
        batches = list(self)
        self._parts.clear()
        return batches

    def take_of(self, queue: ShardQueue) -> Part:
        """Remove the batches of this queue and return them."""
        taken = [batch for batch in self if batch.queue is queue]
        if taken:
            self.replace_each(lambda batch: None if batch.queue is queue else batch)
        return taken

    def replace_each(self, keep: Callable[[Batch], Batch | None]) -> None:
        """Replace each waiting batch by the result of `keep`. None removes the batch."""
        parts = [[kept for batch in part if (kept := keep(batch)) is not None] for part in self._parts]
        self._parts = [part for part in parts if part]


def _count_fitting(batches: Part, max_bytes: float) -> int:
    """Return how many of the first batches fit into a request, at least one."""
    size = batches[0].wire_size
    for count, batch in enumerate(batches[1:], 1):
        size += batch.wire_size
        if size > max_bytes:
            return count
    return len(batches)


def _split(batches: Part, most: int) -> list[Part]:
    """Return up to `most` parts of the refused batches. One part if there is nothing to split.

    Batches are split by their bytes, the largest first. So a large batch, the first suspect, is soon alone. A single
    aggregate is split by the number of its records, in their order.
    """
    if len(batches) == 1:
        (only,) = batches
        if len(only.items) == 1:
            return [batches]
        size = -(-len(only.items) // most)
        starts = range(0, len(only.items), size)
        return [[batch_of(only.queue, only.items[start : start + size])] for start in starts]
    worth = sum(batch.wire_size for batch in batches) / most
    parts: list[Part] = [[]]
    size = 0
    for batch in sorted(batches, key=lambda each: -each.wire_size):
        if parts[-1] and size >= worth:
            parts.append([])
            size = 0
        parts[-1].append(batch)
        size += batch.wire_size
    return parts
