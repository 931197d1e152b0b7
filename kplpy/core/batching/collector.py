"""Decides which queues send, and when. A request is formed at the moment a sender asks for one."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from math import ceil

from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.policy import QUEUE_TURN_BYTES, TOKEN_GRID, UNCOMPRESSED_REQUEST, WORTH_SENDING, Policy
from kplpy.core.size_limits import SizeLimits

NEVER = float("inf")


class Collector:
    """Collects the closed batches of a stream's queues into PutRecords requests.

    A queue with closed batches is in `_ready`. While it lacks tokens or backs off, it is in `_blocked` instead. A
    request is due when a deadline has passed, when a queue has closed QUEUE_TURN_BYTES, or when a whole request is
    closed. It takes along all other closed batches that fit.
    """

    def __init__(self, policy: Policy, sizes: SizeLimits) -> None:
        self._policy = policy
        self._sizes = sizes
        self._oversized: list[Batch] = []
        # A record must be due before it expires.
        self._linger = min(policy.linger, policy.waiting_ttl / 2)
        self._serial = count()  # so that the heaps never compare batches or queues
        self._deadlines: list[tuple[float, int, Batch]] = []
        self._ready: deque[ShardQueue] = deque()
        self._blocked: list[tuple[float, int, ShardQueue]] = []
        self._count = 0
        self._bytes = 0
        self._due_at = NEVER

    # --- filling ---

    def opened(self, batch: Batch, now: float) -> None:
        """A batch was opened, or closed at once with a single record. It is due when its oldest record is due."""
        deadline = batch.arrival + self._linger
        # Closed batches go along with an earlier deadline. So a closed batch needs its own deadline only if it is
        # first.
        if not batch.closed or not self._deadlines or deadline < self._deadlines[0][0]:
            heappush(self._deadlines, (deadline, next(self._serial), batch))
        self.count_closed(batch.queue, now)

    def count_closed(self, queue: ShardQueue, now: float) -> None:
        """Count the batches that the queue may have closed. A request may be due then."""
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
        """Make every open aggregate due at once, for a flush."""
        for _, _, batch in sorted(self._deadlines):
            self._close(batch, now)
        self._deadlines.clear()
        if self._ready:
            self._due_at = min(self._due_at, now)

    def close_oldest(self, now: float) -> None:
        """Make the older half of the open aggregates due at once, because the buffer is full."""
        for _ in range((len(self._deadlines) + 1) // 2):
            self._close(heappop(self._deadlines)[2], now)
        if self._ready:
            self._due_at = min(self._due_at, now)

    # --- the time ---

    def tick(self, now: float) -> None:
        """Close due batches, unblock queues that have tokens again, and decide whether a request is due."""
        while self._blocked and self._blocked[0][0] <= now:
            queue = heappop(self._blocked)[2]
            queue.blocked = queue.waiting = False
            self.count_closed(queue, now)
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
            # The small wait is for other shards' aggregates that become due within it. Without any, do not wait.
            while self._deadlines and self._deadlines[0][2].closed:
                heappop(self._deadlines)
            if not self._deadlines or self._deadlines[0][0] > self._due_at:
                self._due_at = now

    def due(self, now: float) -> bool:
        """Return True if a request is due."""
        return bool(self._ready) and self._due_at <= now

    @property
    def worth_sending(self) -> bool:
        """True if enough is closed for a request that is not due."""
        return self._bytes >= WORTH_SENDING

    def next_time(self) -> float:
        """Return when `tick` is needed or a request is due. Infinite if never."""
        times = [self._due_at] if self._ready else []
        if self._deadlines:
            times.append(self._deadlines[0][0])
        if self._blocked:
            times.append(self._blocked[0][0])
        return min(times, default=NEVER)

    # --- emptying ---

    def take_batches(self, now: float, max_bytes: float) -> list[Batch]:
        """Take the batches of one request from the queues in turn. Each queue pays its tokens.

        With compression, sizes and tokens are estimates until the request is sealed.
        Batches above the stream's known limit pay nothing. `take_oversized` returns them.
        """
        taken: list[Batch] = []
        space = min(self._sizes.request, max_bytes)
        uncompressed_space = UNCOMPRESSED_REQUEST * self._policy.collection_max_size
        largest = self._sizes.record
        full = False
        while self._ready and not full:
            queue = self._ready.popleft()
            self._uncount(queue)
            queue.limiter.grow(now)
            closed_batches, limiter = queue.closed_batches, queue.limiter
            turn = 0
            if not queue.ordered and queue.not_before <= now:
                # Many batches at once, as far as no limit is near. 0.1 µs a batch, where the loop below takes 0.8.
                records, size = limiter.available(now)
                count = min(int(records), self._policy.collection_max_count - len(taken))
                most = min(size, space, QUEUE_TURN_BYTES)
                moved, turn, data_size = queue.pop_run(taken, count, most, largest, uncompressed_space)
                limiter.pay(turn, moved)
                space -= turn
                uncompressed_space -= data_size
            while closed_batches and turn < QUEUE_TURN_BYTES and queue.may_send:
                size = closed_batches[0].wire_size
                if size > largest and closed_batches[0].is_sealed:
                    self._oversized.append(queue.pop())
                    continue
                if queue.not_before > now or not limiter.has(size, now):
                    ready_at = queue.ready_at(now)
                    if ready_at > now:
                        self._block(queue, ready_at)
                        break
                # A batch larger than the space left is sent alone.
                uncompressed_space -= closed_batches[0].data_size
                if taken and (
                    size > space or uncompressed_space < 0 or len(taken) >= self._policy.collection_max_count
                ):
                    full = True
                    break
                limiter.pay(size)
                taken.append(queue.pop())
                space -= size
                turn += size
            if not queue.blocked:
                queue.waiting = False
                if queue.closed_batches and queue.may_send:
                    self._recount(queue, first=full)
        if not self._ready:
            self._due_at = NEVER
        return taken

    def take_oversized(self) -> list[Batch]:
        """Return the batches above the stream's known limit that `take_batches` found."""
        batches, self._oversized = self._oversized, []
        return batches

    def tokens_returned(self, queue: ShardQueue, now: float) -> None:
        """The queue got tokens back, perhaps those that it waits for."""
        if queue.blocked and queue.not_before <= now:
            self.drop(queue)
            ready_at = queue.ready_at(now)
            if ready_at > now:
                self._block(queue, ready_at)
                return
            self.count_closed(queue, now)
            self._due_at = min(self._due_at, now)

    def drop(self, queue: ShardQueue) -> None:
        """Forget the queue, because it was emptied or its batches have changed."""
        if queue.blocked:
            self._blocked = [entry for entry in self._blocked if entry[2] is not queue]
            heapify(self._blocked)
        elif queue.waiting:
            self._uncount(queue)
            self._ready.remove(queue)
        queue.waiting = queue.blocked = False

    def returned(self, queue: ShardQueue, now: float) -> None:
        """A failed batch is back in its queue. It is overdue, and waits only for the queue's backoff."""
        if queue.blocked:
            return
        if queue.not_before > now:
            self.drop(queue)
            self._block(queue, queue.not_before)
            return
        self.count_closed(queue, now)
        self._due_at = min(self._due_at, now)

    def unblock(self, queue: ShardQueue, now: float) -> None:
        """In ordered mode: let the queue send if nothing holds it back. Its waiting batches are overdue."""
        if queue.waiting or not queue.may_send:
            return
        if not queue.closed_batches and queue.open is not None and queue.open.arrival + self._linger <= now:
            queue.close_open()
        if queue.closed_batches:
            self.count_closed(queue, now)
            self._due_at = min(self._due_at, now)

    def pending(self) -> int:
        """Return how much the collector counts in all. 0 means that it is empty."""
        return self._count + self._bytes + len(self._ready) + len(self._blocked)

    def _close(self, batch: Batch, now: float) -> None:
        if not batch.closed and batch.queue.open is batch:
            batch.queue.close_open()
            self.count_closed(batch.queue, now)

    def _block(self, queue: ShardQueue, until: float) -> None:
        queue.waiting = queue.blocked = True
        # Rounding could lead to a time before `until`. Then the queue would wake for nothing, again and again.
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
