"""One stream's way from accepted records to answers: predict, aggregate, limit, collect, judge, retry.

Told the time by its caller, which holds the stream's lock. Nothing here waits: `accept` and `answered` take events
in, `next_request` and `wants_listing` say what to do, `next_wakeup` says when to ask again, and
`take_completions` hands out the records whose answer is final.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kplpy.core import policy as rules
from kplpy.core.aggregator import Batch
from kplpy.core.collector import NEVER, Collector
from kplpy.core.item import Completion, Delivered, Failed, Item, Reason, Try, add_try, payload_size
from kplpy.core.lane import Lane
from kplpy.core.limiter import Limiter
from kplpy.core.policy import Policy
from kplpy.core.retry import (
    THROTTLED,
    Exchange,
    Landing,
    RequestError,
    Verdict,
    backoff,
    judge_error,
    judge_landing,
)
from kplpy.core.shard_map import ShardMap, ShardRange


@dataclass(slots=True)
class Totals:
    """What a stream's pipeline has done so far."""

    user_records_accepted: int = 0
    user_records_put: int = 0
    user_records_failed: int = 0
    kinesis_records_put: int = 0
    kinesis_bytes_put: int = 0
    kinesis_records_sent: int = 0
    put_records_requests: int = 0
    requests_failed: int = 0
    entries_throttled: int = 0
    entries_failed: int = 0
    wrong_shard: int = 0
    listings: int = 0


class Request:
    """The batches of one PutRecords request.

    `size`: as the service counts it. `lost_at`: when its answer is no longer waited for. `wall`: the sender's note of
    the Unix time at which it was sent.
    """

    __slots__ = ("batches", "lost_at", "size", "started", "wall")

    def __init__(self, batches: list[Batch], started: float, lost_at: float) -> None:
        self.batches = batches
        self.size = sum(batch.wire_size for batch in batches)
        self.started = started
        self.lost_at = lost_at
        self.wall = 0.0


@dataclass(slots=True)
class _Judged:
    """An aggregate that landed on a shard that no listing has shown yet."""

    batch: Batch
    entry: dict[str, str]
    attempt: Try
    listings: int = 0


@dataclass(slots=True)
class _Flushes:
    """Acceptance numbers below which a flush waits, ascending, and how many records of each part are outstanding."""

    marks: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


class Pipeline:
    """See the module. `random` returns a float in [0, 1)."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self.map = ShardMap()
        self.totals = Totals()
        self.notices: list[str] = []
        self.outstanding = 0  # accepted and not yet settled
        self._next_number = 0
        self._collector = Collector(policy)
        self._lanes: list[Lane] = []  # aligned with map.open
        self._alone: Lane | None = None
        self._waiting: list[Item] = []  # for the shard map
        self._blind_since: float | None = None
        self._said_blind = False
        self._in_flight: dict[Request, None] = {}
        self._hunts: deque[list[Batch]] = deque()  # parts of a request that one invalid record spoiled
        self._hunt_failures = 0  # single records refused in a row
        self._judging: list[_Judged] = []
        self._not_before = float("-inf")
        self._failures = 0  # request-level, in a row
        self._denied_since: float | None = None
        self._next_expiry = NEVER
        self._flushes = _Flushes()
        self._completions: list[Completion] = []

    # --- records come in ---

    def accept(self, items: Iterable[Item], now: float) -> None:
        """Number the records and put each into the open aggregate of its predicted shard."""
        number = self._next_number
        blind = not self._can_predict(now)
        for item in items:
            item.number = number
            number += 1
            if blind:
                self._waiting.append(item)
            else:
                self._route(item, now)
        accepted = number - self._next_number
        self._next_number = number
        self.outstanding += accepted
        self.totals.user_records_accepted += accepted
        self._next_expiry = min(self._next_expiry, now + self._policy.waiting_ttl)
        if blind:
            self._go_alone_when_blind_for_long(now)

    def _can_predict(self, now: float) -> bool:
        if self.map.trusted(now):
            return True
        if self._blind_since is None:
            self._blind_since = now
        return False

    def _route(self, item: Item, now: float) -> None:
        index = self.map.index_of(item.hash_key)
        lane = self._lanes[index] if index >= 0 else self._alone_lane(now)
        batch = lane.add(item)
        if batch is not None:
            self._collector.opened(batch, now)

    def _reroute(self, items: list[Item], now: float) -> None:
        """Send records through prediction again, those of an old batch or of a shard that is no more."""
        if not items:
            return
        if self._blind_since is not None:
            self._waiting.extend(items)
            self._go_alone_when_blind_for_long(now)
            return
        for item in sorted(items, key=lambda each: each.number):
            self._route(item, now)
        # An old record may have joined a younger open aggregate, whose deadline is then the older one's.
        for lane in self._lanes:
            if lane.open is not None:
                self._collector.opened(lane.open, now)
        if self._flushes.marks:
            self._collector.close_all(now)

    def _alone_lane(self, now: float) -> Lane:
        if self._alone is None:
            scale = self._policy.rate * max(1, len(self.map.open))
            self._alone = Lane(None, self._policy, Limiter(scale, now))
        return self._alone

    # --- the shard map ---

    def wants_listing(self, now: float) -> bool:
        return self.map.wants_listing(now) and (self._blind_since is not None or bool(self._judging))

    def listing_started(self, now: float) -> None:
        self.totals.listings += 1
        self.map.listing_started(now)

    def listed(self, shards: Iterable[ShardRange], now: float) -> None:
        """The open shards, as listed."""
        self.map.listed(shards, now)
        if not self.map.ready:
            return
        if self._said_blind:
            self.notices.append("the shards are listed again; records are aggregated from now on")
            self._said_blind = False
        self._blind_since = None
        items, self._waiting = self._waiting, []
        kept = {lane.shard: lane for lane in self._lanes}
        lanes: list[Lane] = []
        for shard in self.map.open:
            lane = kept.pop(shard, None)
            lanes.append(lane or Lane(shard, self._policy, Limiter(self._policy.rate, now)))
        self._lanes = lanes
        for lane in [*kept.values(), *([self._alone] if self._alone else [])]:
            lane.alive = False
            items += self._empty(lane)
        self._alone = None
        self._reroute(items, now)
        self._judge_again(now)

    def listing_failed(self, message: str, now: float) -> None:
        self.map.listing_failed(now)
        self._go_alone_when_blind_for_long(now, message)

    def _empty(self, lane: Lane) -> list[Item]:
        items = lane.take_all()
        self._collector.drop(lane)
        return items

    def _go_alone_when_blind_for_long(self, now: float, message: str = "") -> None:
        """Without a map for MAP_PATIENCE, records travel alone: slower, but nothing can land on a wrong shard."""
        if self._blind_since is None or now < self._blind_since + rules.MAP_PATIENCE:
            return
        if not self._said_blind:
            self._said_blind = True
            why = f" ({message})" if message else ""
            self.notices.append(f"the shards cannot be listed{why}; records travel alone, unaggregated, until they are")
        items, self._waiting = self._waiting, []
        for lane in self._lanes:
            if lane.queue or lane.open is not None:
                items += self._empty(lane)
        lane = self._alone_lane(now)
        for item in sorted(items, key=lambda each: each.number):
            batch = lane.add(item)
            if batch is not None:
                self._collector.opened(batch, now)

    # --- requests go out ---

    def tick(self, now: float) -> None:
        """Do what the time asks for: deadlines, expiry, lost requests, patience with the map."""
        self._collector.tick(now)
        if now >= self._next_expiry:
            self._expire(now)
        for request in list(self._in_flight):
            if request.lost_at > now:
                break
            self._forget(request, now)
        self._go_alone_when_blind_for_long(now)

    def has_request(self, now: float) -> bool:
        if now < self._not_before or (self._failures and self._in_flight):
            return False  # after a failure one request at a time asks whether it is over
        return bool(self._hunts) or (not self._holds(now) and self._collector.due(now))

    def _holds(self, now: float) -> bool:
        """Is everything held back until the map is there again?"""
        return self._blind_since is not None and now < self._blind_since + rules.MAP_PATIENCE

    def next_request(self, now: float, max_bytes: float = NEVER) -> Request | None:
        """Form a request from what is due, or None. Its answer must come back through `answered`."""
        self.tick(now)
        if not self.has_request(now):
            return None
        batches = self._hunts.popleft() if self._hunts else self._collector.take(now, max_bytes)
        if not batches:
            return None
        request = Request(batches, now, now + self._policy.request_timeout + rules.REQUEST_SLACK)
        self._in_flight[request] = None
        self.totals.put_records_requests += 1
        self.totals.kinesis_records_sent += len(batches)
        return request

    def next_wakeup(self, now: float) -> float:
        """When to call tick, next_request or wants_listing again; not later than `now` when there is work already."""
        if self.wants_listing(now) or self.has_request(now):
            return now
        times = [self._next_expiry]
        if self._in_flight:
            times.append(next(iter(self._in_flight)).lost_at)
        if self._blind_since is not None or self._judging:
            times.append(self.map.next_listing())
        send = now if self._hunts else self._collector.next_time()
        if self._blind_since is not None and self._holds(now):
            times.append(self._blind_since + rules.MAP_PATIENCE)
            send = now if self._hunts else NEVER
        if not (self._failures and self._in_flight):
            times.append(max(send, self._not_before))
        return max(now, min(times)) if self.outstanding else NEVER

    def _expire(self, now: float) -> None:
        """Fail what waited longer than its TTL; say when the next record can expire."""
        limit = self._expired_before(now)
        expired = [item for item in self._waiting if item.arrival <= limit]
        if expired:
            gone = set(expired)
            self._waiting = [item for item in self._waiting if item not in gone]
            self._fail(expired, Reason.EXPIRED, now)
        oldest = min((item.arrival for item in self._waiting), default=NEVER)
        for lane in [*self._lanes, *([self._alone] if self._alone else [])]:
            if lane.open is not None and lane.open.arrival <= limit:
                lane.close_open()
                self._collector.closed_in(lane, now)
            if lane.open is not None:
                oldest = min(oldest, lane.open.arrival)
            if any(batch.arrival <= limit for batch in lane.queue):
                self._expire_in(lane, limit, now)
            oldest = min(oldest, min((batch.arrival for batch in lane.queue), default=NEVER))
        if self._policy.answer_timeout < NEVER:
            oldest = min(oldest, self._expire_in_flight(now))
        self._next_expiry = min(oldest, now) + self._policy.waiting_ttl

    def _expired_before(self, now: float) -> float:
        """Records that arrived at this time or earlier are expired; the microsecond is for rounding."""
        return now - self._policy.waiting_ttl + 1e-6

    def _expire_in(self, lane: Lane, limit: float, now: float) -> None:
        batches = list(lane.queue)
        self._collector.drop(lane)
        lane.queue.clear()
        lane.queue_bytes = 0
        for batch in batches:
            if batch.arrival <= limit:
                gone = {item for item in batch.items if item.arrival <= limit}
                lane.release(len(gone), payload_size(list(gone)))
                self._fail([item for item in batch.items if item in gone], Reason.EXPIRED, now)
                kept = batch.without(gone)
                if kept is None:
                    continue
                batch = kept
            lane.put_back(batch)
        if lane.queue:
            self._collector.returned(lane, now)

    def _expire_in_flight(self, now: float) -> float:
        """user_record_timeout covers records under way too: they fail, and their answer is not waited for."""
        limit = now - self._policy.answer_timeout
        oldest = NEVER
        for batch in self._under_way():
            gone = [item for item in batch.items if item.arrival <= limit]
            if gone:
                for item in gone:
                    item.maybe_written = True
                batch.items = [item for item in batch.items if item.arrival > limit]
                batch.lane.release(len(gone), payload_size(gone))
                self._fail(gone, Reason.EXPIRED, now)
            oldest = min((item.arrival for item in batch.items), default=oldest)
        return oldest

    def _under_way(self) -> list[Batch]:
        judged = [each.batch for each in self._judging]
        return [*judged, *(batch for request in self._in_flight for batch in request.batches)]

    # --- answers come back ---

    def answered(self, request: Request, exchange: Exchange, now: float) -> None:
        """The answer to a request. One that was taken as lost before is past caring for."""
        if request not in self._in_flight:
            return
        del self._in_flight[request]
        error = exchange.error
        if error is None and len(exchange.entries or ()) != len(request.batches):
            error = RequestError(
                "RecordCountMismatch",
                f"the answer has {len(exchange.entries or ())} entries for {len(request.batches)} records",
                maybe_written=True,
            )
        if error is not None:
            self._request_failed(request, error, exchange, now)
            return
        self._failures = 0
        self._denied_since = None
        self._hunt_failures = 0
        success = Try(exchange.wall, exchange.started, exchange.ended)
        tries: dict[tuple[str, str], Try] = {}
        for batch, entry in zip(request.batches, exchange.entries or (), strict=True):
            if entry.get("SequenceNumber"):
                self._accepted(batch, entry, success, now)
                continue
            code = entry.get("ErrorCode") or "UnknownError"
            message = entry.get("ErrorMessage") or "the service gave no reason"
            attempt = tries.get((code, message))
            if attempt is None:
                attempt = tries[code, message] = Try(exchange.wall, exchange.started, exchange.ended, code, message)
            self._refused(batch, attempt, now)

    def _accepted(self, batch: Batch, entry: dict[str, str], success: Try, now: float, listings: int = 0) -> None:
        actual = entry.get("ShardId", "")
        predicted = batch.lane.shard
        predicted_id = predicted.shard_id if predicted is not None else None
        if predicted_id == actual:
            batch.lane.failures = 0
            self._deliver(batch, entry, success)
            return
        known = self.map.range_of(actual)
        landing = judge_landing(actual, predicted, batch.aggregated, (item.hash_key for item in batch.items), known)
        if landing is Landing.DELIVERED:
            self._deliver(batch, entry, success)
            if predicted is not None:
                self._distrust(success.started, predicted_id, now)
        elif landing is Landing.UNKNOWN_SHARD and listings < rules.JUDGE_LISTINGS:
            self._judging.append(_Judged(batch, entry, success, listings))
            self._distrust(success.started, predicted_id, now)
            if self.map.ready:
                self.map.relist(now)
        else:
            self.totals.wrong_shard += 1
            message = f"landed on {actual} instead of {predicted_id}, where consumers would drop it"
            attempt = Try(success.wall, success.started, success.ended, "WrongShard", message)
            for item in batch.items:
                item.maybe_written = True
            self._distrust(success.started, predicted_id, now)
            self._retry(batch, attempt, now)

    def _distrust(self, seen_at: float, predicted: str | None, now: float) -> None:
        if self.map.invalidate(seen_at, predicted) and self._blind_since is None:
            self._blind_since = now

    def _judge_again(self, now: float) -> None:
        judging, self._judging = self._judging, []
        for each in judging:
            self._accepted(each.batch, each.entry, each.attempt, now, each.listings + 1)

    def _deliver(self, batch: Batch, entry: dict[str, str], success: Try) -> None:
        self.totals.kinesis_records_put += 1
        self.totals.kinesis_bytes_put += batch.wire_size
        if batch.items:
            self.totals.user_records_put += len(batch.items)
            outcome = Delivered(entry.get("ShardId", ""), entry["SequenceNumber"], success)
            size = payload_size(batch.items)
            batch.lane.release(len(batch.items), size)
            self._completions.append(Completion(batch.items, outcome, size))

    def _refused(self, batch: Batch, attempt: Try, now: float) -> None:
        lane = batch.lane
        if attempt.code == THROTTLED:
            self.totals.entries_throttled += 1
            if self._policy.fail_if_throttled:
                self._give_up_batch(batch, attempt, Reason.THROTTLED, now)
                return
        else:
            self.totals.entries_failed += 1
        if lane.not_before <= now:
            # One step an answer: the other entries of the same burst say nothing new.
            lane.not_before = now + backoff(lane.failures, self._random())
            lane.failures += 1
        self._retry(batch, attempt, now)

    def _request_failed(self, request: Request, error: RequestError, exchange: Exchange, now: float) -> None:
        self.totals.requests_failed += 1
        attempt = Try(exchange.wall, exchange.started, exchange.ended, error.code, error.message)
        verdict = judge_error(error)
        if error.maybe_written:
            for batch in request.batches:
                for item in batch.items:
                    item.maybe_written = True
        if verdict is Verdict.INVALID:
            self._hunt(request, attempt, error.cause, now)
            return
        self._not_before = now + backoff(self._failures, self._random())
        self._failures += 1
        if verdict is Verdict.GRACE:
            if self._denied_since is None:
                self._denied_since = now
            elif now >= self._denied_since + rules.DENIED_GRACE:
                for batch in request.batches:
                    self._give_up_batch(batch, attempt, Reason.REJECTED, now, error.cause)
                return
        for batch in reversed(request.batches):
            self._retry(batch, attempt, now)

    def _hunt(self, request: Request, attempt: Try, cause: BaseException | None, now: float) -> None:
        """One record made the service refuse the request: halve it until that one stands alone, and fail only it."""
        batches = request.batches
        if len(batches) == 1:
            self._give_up_batch(batches[0], attempt, Reason.REJECTED, now, cause)
            self._hunt_failures += 1
            if self._hunt_failures >= rules.HUNT_FAILURES:
                # Nothing but refusals: the cause is not one record but all of them.
                for batch in [each for group in self._hunts for each in group]:
                    self._give_up_batch(batch, attempt, Reason.REJECTED, now, cause)
                self._hunts.clear()
            return
        middle = len(batches) // 2
        self._hunts.extendleft([batches[middle:], batches[:middle]])  # depth first: single ones are reached soon

    def _forget(self, request: Request, now: float) -> None:
        """No answer within every timeout: take it as lost, whatever the HTTP client still waits for."""
        error = RequestError("RequestTimeout", f"no answer within {now - request.started:.1f} s", maybe_written=True)
        self.answered(request, Exchange(request.started, now, request.wall, error=error), now)

    def _retry(self, batch: Batch, attempt: Try, now: float) -> None:
        """Queue the batch again: as it is while its lane lives, through prediction otherwise."""
        for item in batch.items:
            add_try(item, attempt)
        limit = self._expired_before(now)
        if batch.arrival <= limit:
            expired = [item for item in batch.items if item.arrival <= limit]
            batch.lane.release(len(expired), payload_size(expired))
            self._fail(expired, Reason.EXPIRED, now)
            kept = batch.without(set(expired))
            if kept is None:
                return
            batch = kept
        elif not batch.items:
            return
        self._next_expiry = min(self._next_expiry, batch.arrival + self._policy.waiting_ttl)
        lane = batch.lane
        lives = lane is self._alone or (self._blind_since is None and lane.alive)
        if lives and attempt.code != "WrongShard":
            lane.put_back(batch)
            self._collector.returned(lane, now)
        else:
            lane.release(len(batch.items), payload_size(batch.items))
            self._reroute(batch.items, now)

    def _give_up_batch(
        self, batch: Batch, attempt: Try, reason: Reason, now: float, cause: BaseException | None = None
    ) -> None:
        for item in batch.items:
            add_try(item, attempt)
        batch.lane.release(len(batch.items), payload_size(batch.items))
        self._fail(batch.items, reason, now, f"{attempt.code}: {attempt.message}", cause)

    def _fail(
        self, items: list[Item], reason: Reason, now: float, message: str = "", cause: BaseException | None = None
    ) -> None:
        if items:
            self.totals.user_records_failed += len(items)
            outcome = Failed(reason, message or reason.value, cause)
            self._completions.append(Completion(items, outcome, payload_size(items)))

    # --- answers go out ---

    def take_completions(self) -> list[Completion]:
        """Records whose answer is final; once it was given to them, the caller says `settled`."""
        completions, self._completions = self._completions, []
        return completions

    def settled(self, items: list[Item]) -> None:
        """These records' futures are answered and their callbacks have run."""
        self.outstanding -= len(items)
        marks = self._flushes.marks
        if marks:
            counts = self._flushes.counts
            for item in items:
                part = bisect_right(marks, item.number)
                if part < len(counts):
                    counts[part] -= 1
            while counts and counts[0] <= 0:
                del counts[0], marks[0]

    def flush(self, now: float) -> int:
        """Make all that was accepted so far due at once; the returned mark is for `unflushed`."""
        mark = self._next_number
        flushes = self._flushes
        below = self.outstanding - sum(flushes.counts)
        if below > 0:
            flushes.marks.append(mark)
            flushes.counts.append(below)
        self._collector.close_all(now)
        return mark

    def unflushed(self, mark: int) -> int:
        """How many records accepted before the flush that gave this mark are not settled."""
        flushes = self._flushes
        return sum(count for each, count in zip(flushes.marks, flushes.counts, strict=True) if each <= mark)

    def make_room(self, now: float) -> None:
        """Room is running out: the older half of the open aggregates is due at once."""
        self._collector.close_oldest(now)

    def held_by_shard_of(self, hash_key: int) -> tuple[int, int]:
        """Records and payload bytes that wait for, or are under way to, the shard of this hash key."""
        if self._blind_since is not None:
            return 0, 0
        index = self.map.index_of(hash_key)
        lane = self._lanes[index] if 0 <= index < len(self._lanes) else self._alone
        return (0, 0) if lane is None else (lane.held, lane.held_bytes)

    def give_up(self, reason: Reason, message: str, now: float) -> None:
        """Fail everything that has no answer yet; records under way may have been written."""
        items, self._waiting = self._waiting, []
        for lane in [*self._lanes, *([self._alone] if self._alone else [])]:
            items += self._empty(lane)
        for group in self._hunts:
            items += [item for batch in group for item in batch.items]
        self._hunts.clear()
        for batch in self._under_way():
            for item in batch.items:
                item.maybe_written = True
            items += batch.items
            batch.items = []
        self._in_flight.clear()
        self._judging.clear()
        self._fail(items, reason, now, message)
