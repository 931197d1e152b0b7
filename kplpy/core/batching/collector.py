"""Which lanes send, and when: requests are formed from what is due at the moment a sender asks."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from math import ceil

from kplpy.core.batching.batch import Batch
from kplpy.core.batching.shard_queue import Lane
from kplpy.core.policy import LANE_TURN_BYTES, TOKEN_GRID, WORTH_SENDING, Policy
from kplpy.core.size_limits import SizeLimits

NEVER = float("inf")


class Collector:
    """Closed batches of all lanes of a stream, on their way into PutRecords requests.

    A lane with closed batches is in `_ready`, or, when its tokens or its backoff forbid sending, in `_blocked` until
    it may. A request is due when a deadline has passed, when a lane has closed LANE_TURN_BYTES, or when a whole
    request is there; it takes along whatever else is closed.
    """

    def __init__(self, policy: Policy, sizes: SizeLimits) -> None:
        self._policy = policy
        self._sizes = sizes
        self._oversized: list[Batch] = []
        # A record must not be due only when it expires.
        self._linger = min(policy.linger, policy.waiting_ttl / 2)
        self._serial = count()  # heaps never compare batches or lanes
        self._deadlines: list[tuple[float, int, Batch]] = []
        self._ready: deque[Lane] = deque()
        self._blocked: list[tuple[float, int, Lane]] = []
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
        self.closed_in(batch.lane, now)

    def closed_in(self, lane: Lane, now: float) -> None:
        """The lane may have closed batches now."""
        if not lane.queue or not lane.may_send:
            return
        if not lane.waiting:
            lane.waiting = True
            self._ready.append(lane)
        elif lane.blocked:
            return
        self._count += len(lane.queue) - lane.counted
        self._bytes += lane.queue_bytes - lane.counted_bytes
        lane.counted, lane.counted_bytes = len(lane.queue), lane.queue_bytes
        if (
            lane.queue_bytes >= LANE_TURN_BYTES
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
        """Close what has come due, let lanes go whose tokens are there, decide whether a request is due."""
        while self._blocked and self._blocked[0][0] <= now:
            lane = heappop(self._blocked)[2]
            lane.blocked = lane.waiting = False
            self.closed_in(lane, now)
            if lane.queue:
                self._due_at = min(self._due_at, now)
        first_due = NEVER
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, batch = heappop(self._deadlines)
            first_due = min(first_due, deadline)
            if not batch.lane.fills_on:
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

    def take(self, now: float, max_bytes: float) -> list[Batch]:
        """The batches of one request, taken from the lanes in turn, each lane paying its tokens.

        Those that are larger than the stream is known to take are left for `take_oversized`, and pay nothing.
        """
        taken: list[Batch] = []
        room = min(self._sizes.request, max_bytes)
        largest = self._sizes.record
        full = False
        while self._ready and not full:
            lane = self._ready.popleft()
            self._uncount(lane)
            lane.limiter.grow(now)
            turn = 0
            queue, limiter = lane.queue, lane.limiter
            while queue and turn < LANE_TURN_BYTES and lane.may_send:
                size = queue[0].wire_size
                if size > largest:
                    self._oversized.append(lane.pop())
                    continue
                if lane.not_before > now or not limiter.has(size, now):
                    ready_at = lane.ready_at(now)
                    if ready_at > now:
                        self._block(lane, ready_at)
                        break
                # A batch above the room is sent by itself.
                if taken and (size > room or len(taken) >= self._policy.collection_max_count):
                    full = True
                    break
                limiter.take(size)
                taken.append(lane.pop())
                room -= size
                turn += size
            if not lane.blocked:
                lane.waiting = False
                if lane.queue and lane.may_send:
                    self._recount(lane, first=full)
        if not self._ready:
            self._due_at = NEVER
        return taken

    def take_oversized(self) -> list[Batch]:
        batches, self._oversized = self._oversized, []
        return batches

    def paid_back(self, lane: Lane, now: float) -> None:
        """The lane has tokens again that it waits for."""
        if lane.blocked and lane.not_before <= now:
            self.drop(lane)
            self.closed_in(lane, now)
            self._due_at = min(self._due_at, now)

    def drop(self, lane: Lane) -> None:
        """The lane was emptied for good."""
        if lane.blocked:
            self._blocked = [entry for entry in self._blocked if entry[2] is not lane]
            heapify(self._blocked)
        elif lane.waiting:
            self._uncount(lane)
            self._ready.remove(lane)
        lane.waiting = lane.blocked = False

    def returned(self, lane: Lane, now: float) -> None:
        """A failed batch is back in the lane's queue: it is overdue, and waits only for the lane's backoff."""
        if lane.blocked:
            return
        if lane.not_before > now:
            self.drop(lane)
            self._block(lane, lane.not_before)
            return
        self.closed_in(lane, now)
        self._due_at = min(self._due_at, now)

    def let_go(self, lane: Lane, now: float) -> None:
        """Ordered mode: nothing holds the lane back (any more). What has waited for that is overdue."""
        if lane.waiting or not lane.may_send:
            return
        if not lane.queue and lane.open is not None and lane.open.arrival + self._linger <= now:
            lane.close_open()
        if lane.queue:
            self.closed_in(lane, now)
            self._due_at = min(self._due_at, now)

    def pending(self) -> int:
        """How much of the lanes is marked here."""
        return self._count + self._bytes + len(self._ready) + len(self._blocked)

    def _close(self, batch: Batch, now: float) -> None:
        if not batch.closed and batch.lane.open is batch:
            batch.lane.close_open()
            self.closed_in(batch.lane, now)

    def _block(self, lane: Lane, until: float) -> None:
        lane.waiting = lane.blocked = True
        # Never before `until`, which rounding could make of it: the lane would be woken for nothing, again and again.
        wake_at = max(until, ceil(until / TOKEN_GRID) * TOKEN_GRID)
        heappush(self._blocked, (wake_at, next(self._serial), lane))

    def _uncount(self, lane: Lane) -> None:
        self._count -= lane.counted
        self._bytes -= lane.counted_bytes
        lane.counted = lane.counted_bytes = 0

    def _recount(self, lane: Lane, first: bool) -> None:
        lane.waiting = True
        lane.counted, lane.counted_bytes = len(lane.queue), lane.queue_bytes
        self._count += lane.counted
        self._bytes += lane.counted_bytes
        if first:
            self._ready.appendleft(lane)
        else:
            self._ready.append(lane)
