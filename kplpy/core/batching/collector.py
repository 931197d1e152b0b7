"""Which queues send, and when: requests are formed from what is due at the moment a sender asks."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from math import ceil

from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.policy import QUEUE_TURN_BYTES, TOKEN_GRID, WORTH_SENDING, Policy
from kplpy.core.size_limits import SizeLimits

NEVER = float("inf")


class Collector:
    """Closed batches of all queues of a stream, on their way into PutRecords requests.

    A queue with closed batches is in `_ready`, or, when its tokens or its backoff forbid sending, in `_blocked` until
    it may. A request is due when a deadline has passed, when a queue has closed LANE_TURN_BYTES, or when a whole
    request is there; it takes along whatever else is closed.
    """

    def __init__(self, policy: Policy, sizes: SizeLimits) -> None:
        self._policy = policy
        self._sizes = sizes
        self._oversized: list[Batch] = []
        # A record must not be due only when it expires.
        self._linger = min(policy.linger, policy.waiting_ttl / 2)
        self._serial = count()  # heaps never compare batches or queues
        self._deadlines: list[tuple[float, int, Batch]] = []
        self._ready: deque[ShardQueue] = deque()
        self._blocked: list[tuple[float, int, ShardQueue]] = []
        self._count = 0
        self._bytes = 0
        self._due_at = NEVER

    # --- filling ---

    def opened(self, batch: Batch, now: float) -> None:
        """A batch was begun (a single record's is closed at once): it is due when its oldest record is."""
        deadline = batch.arrival + self._linger
        # Whatever is closed goes along with an earlier deadline, so a closed batch needs one of its own only if first.
        if not batch.closed or not self._deadlines or deadline < self._deadlines[0][0]:
            heappush(self._deadlines, (deadline, next(self._serial), batch))
        self.closed_in(batch.queue, now)

    def closed_in(self, queue: ShardQueue, now: float) -> None:
        """The queue may have closed batches now."""
        if not queue.closed_batches or not queue.may_send:
            return
        if not queue.waiting:
            queue.waiting = True
            self._ready.append(queue)
        elif queue.blocked:
            return
        self._count += len(queue.closed_batches) - queue.counted
        self._bytes += queue.queue_bytes - queue.counted_bytes
        queue.counted, queue.counted_bytes = len(queue.closed_batches), queue.queue_bytes
        if (
            queue.queue_bytes >= QUEUE_TURN_BYTES
            or self._count >= self._policy.collection_max_count
            or self._bytes >= self._sizes.request
        ):
            self._due_at = min(self._due_at, now)

    def close_all(self, now: float) -> None:
        """A flush: every open aggregate is due at once."""
        for _, _, batch in sorted(self._deadlines):
            self._close(batch, now)
        self._deadlines.clear()
        if self._ready:
            self._due_at = min(self._due_at, now)

    def close_oldest(self, now: float) -> None:
        """Room is running out: the older half of what is open is due at once."""
        for _ in range((len(self._deadlines) + 1) // 2):
            self._close(heappop(self._deadlines)[2], now)
        if self._ready:
            self._due_at = min(self._due_at, now)

    # --- the time ---

    def tick(self, now: float) -> None:
        """Close what has come due, let queues go whose tokens are there, decide whether a request is due."""
        while self._blocked and self._blocked[0][0] <= now:
            queue = heappop(self._blocked)[2]
            queue.blocked = queue.waiting = False
            self.closed_in(queue, now)
            if queue.closed_batches:
                self._due_at = min(self._due_at, now)
        first_due = NEVER
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, batch = heappop(self._deadlines)
            first_due = min(first_due, deadline)
            if not batch.queue.keeps_filling:
                self._close(batch, now)
        if first_due < NEVER and self._ready:
            self._due_at = min(self._due_at, max(now, first_due + self._policy.collect_wait))
        if now < self._due_at < NEVER:
            # The small wait is for aggregates of other shards that come due within it; without any there is none.
            while self._deadlines and self._deadlines[0][2].closed:
                heappop(self._deadlines)
            if not self._deadlines or self._deadlines[0][0] > self._due_at:
                self._due_at = now

    def due(self, now: float) -> bool:
        return bool(self._ready) and self._due_at <= now

    @property
    def worth_sending(self) -> bool:
        """Is enough closed for a request to pay, though nothing is due?"""
        return self._bytes >= WORTH_SENDING

    def next_time(self) -> float:
        """When tick has something to do, or a request is due."""
        times = [self._due_at] if self._ready else []
        if self._deadlines:
            times.append(self._deadlines[0][0])
        if self._blocked:
            times.append(self._blocked[0][0])
        return min(times, default=NEVER)

    # --- emptying ---

    def take_batches(self, now: float, max_bytes: float) -> list[Batch]:
        """The batches of one request, taken from the queues in turn, each queue paying its tokens.

        Those that are larger than the stream is known to take are left for `take_oversized`, and pay nothing.
        """
        taken: list[Batch] = []
        room = min(self._sizes.request, max_bytes)
        largest = self._sizes.record
        full = False
        while self._ready and not full:
            queue = self._ready.popleft()
            self._uncount(queue)
            queue.limiter.grow(now)
            turn = 0
            closed_batches, limiter = queue.closed_batches, queue.limiter
            while closed_batches and turn < QUEUE_TURN_BYTES and queue.may_send:
                size = closed_batches[0].wire_size
                if size > largest:
                    self._oversized.append(queue.pop())
                    continue
                if queue.not_before > now or not limiter.has(size, now):
                    ready_at = queue.ready_at(now)
                    if ready_at > now:
                        self._block(queue, ready_at)
                        break
                # A batch above the room is sent by itself.
                if taken and (size > room or len(taken) >= self._policy.collection_max_count):
                    full = True
                    break
                limiter.pay(size)
                taken.append(queue.pop())
                room -= size
                turn += size
            if not queue.blocked:
                queue.waiting = False
                if queue.closed_batches and queue.may_send:
                    self._recount(queue, first=full)
        if not self._ready:
            self._due_at = NEVER
        return taken

    def take_oversized(self) -> list[Batch]:
        batches, self._oversized = self._oversized, []
        return batches

    def tokens_returned(self, queue: ShardQueue, now: float) -> None:
        """The queue has tokens again that it waits for."""
        if queue.blocked and queue.not_before <= now:
            self.drop(queue)
            self.closed_in(queue, now)
            self._due_at = min(self._due_at, now)

    def drop(self, queue: ShardQueue) -> None:
        """The queue was emptied for good."""
        if queue.blocked:
            self._blocked = [entry for entry in self._blocked if entry[2] is not queue]
            heapify(self._blocked)
        elif queue.waiting:
            self._uncount(queue)
            self._ready.remove(queue)
        queue.waiting = queue.blocked = False

    def returned(self, queue: ShardQueue, now: float) -> None:
        """A failed batch is back in the queue's queue: it is overdue, and waits only for the queue's backoff."""
        if queue.blocked:
            return
        if queue.not_before > now:
            self.drop(queue)
            self._block(queue, queue.not_before)
            return
        self.closed_in(queue, now)
        self._due_at = min(self._due_at, now)

    def unblock(self, queue: ShardQueue, now: float) -> None:
        """Ordered mode: nothing holds the queue back (any more). What has waited for that is overdue."""
        if queue.waiting or not queue.may_send:
            return
        if not queue.closed_batches and queue.open is not None and queue.open.arrival + self._linger <= now:
            queue.close_open()
        if queue.closed_batches:
            self.closed_in(queue, now)
            self._due_at = min(self._due_at, now)

    def pending(self) -> int:
        """How much of the queues is marked here."""
        return self._count + self._bytes + len(self._ready) + len(self._blocked)

    def _close(self, batch: Batch, now: float) -> None:
        if not batch.closed and batch.queue.open is batch:
            batch.queue.close_open()
            self.closed_in(batch.queue, now)

    def _block(self, queue: ShardQueue, until: float) -> None:
        queue.waiting = queue.blocked = True
        # Never before `until`, which rounding could make of it: the queue would be woken for nothing, again and again.
        wake_at = max(until, ceil(until / TOKEN_GRID) * TOKEN_GRID)
        heappush(self._blocked, (wake_at, next(self._serial), queue))

    def _uncount(self, queue: ShardQueue) -> None:
        self._count -= queue.counted
        self._bytes -= queue.counted_bytes
        queue.counted = queue.counted_bytes = 0

    def _recount(self, queue: ShardQueue, first: bool) -> None:
        queue.waiting = True
        queue.counted, queue.counted_bytes = len(queue.closed_batches), queue.queue_bytes
        self._count += queue.counted
        self._bytes += queue.counted_bytes
        if first:
            self._ready.appendleft(queue)
        else:
            self._ready.append(queue)
