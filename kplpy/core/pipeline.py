"""One stream's way from accepted records to answers: predict, aggregate, limit, collect, judge, retry.

Told the time by its caller, which holds the stream's lock. Nothing here waits: `accept` and `answered` take events
in, `next_request` and `wants_listing` say what to do, `next_wakeup` says when to ask again, and
`take_completions` hands out the records whose answer is final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kplpy.core import policy as rules
from kplpy.core.batching.collector import NEVER, Collector
from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.flush_tracker import FlushTracker
from kplpy.core.gauges import ShardUse, StreamGauges
from kplpy.core.notice import Notice
from kplpy.core.ordering import block_overtaking
from kplpy.core.outcome import Completion, Reason
from kplpy.core.policy import Policy
from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.core.results.events import Events
from kplpy.core.results.responses import Responses
from kplpy.core.results.retry_policy import meets_puts_too
from kplpy.core.routing.placement import Summary
from kplpy.core.routing.router import Router
from kplpy.core.routing.shard_map import ShardMap
from kplpy.core.shard_range import ShardRange
from kplpy.core.size_limits import SizeLimits
from kplpy.reports import StreamTotals


class Pipeline:
    """See the module. `random` returns a float in [0, 1)."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self.totals = StreamTotals()
        self.outstanding = 0  # accepted and not yet settled
        self._next_number = 0
        self._flushes = FlushTracker()
        self._sizes = SizeLimits(policy)
        self._collector = Collector(policy, self._sizes)
        self._router = Router(policy, self._collector, self._flushes, self._sizes, random)
        self._responses = Responses(policy, self._router, self._collector, self.totals, self._sizes, random)
        self._outcomes = self._responses.outcomes
        self._circuit_breaker = self._responses.circuit_breaker
        self._bisection = self._responses.bisection
        self._sent_part_last = False  # was the request before this one part of a hunt
        self._in_flight: dict[Request, None] = {}
        self._next_expiry = NEVER
        self._awaits_client = self._client_asked = False

    # --- records come in ---

    def accept(self, items: Sequence[PendingRecord], now: float) -> None:
        """Number the records and put each into the open aggregate of its predicted shard."""
        number = self._next_number
        router = self._router
        if router.can_route(now):
            number = router.accept(items, number, now)
        else:
            for item in items:
                item.number = number
                number += 1
            router.wait(items, now)
        accepted = number - self._next_number
        self._next_number = number
        self.outstanding += accepted
        self.totals.user_records_accepted += accepted
        self._next_expiry = min(self._next_expiry, now + self._policy.waiting_ttl)

    def adopt(self, items: Sequence[PendingRecord]) -> None:
        """Of another pipeline, in whose place this one is: their answers are decided, and will be settled here."""
        for item in items:
            item.number = -1  # before all that is accepted here
        self.outstanding += len(items)

    # --- the client ---

    def await_client(self) -> None:
        """Call before the first record: there may be no client yet. Its making takes nothing from the patience."""
        self._awaits_client = True
        self._router.patience_begins = NEVER

    def wants_client(self) -> bool:
        """Is the client to be made?"""
        return self._awaits_client and not self._client_asked and self.outstanding > 0

    def client_started(self) -> None:
        self._client_asked = True

    def client_made(self, now: float, error: RequestError | None = None) -> None:
        """The client is there. error: or could not be made, and each request will try again."""
        self._awaits_client = False
        self._router.patience_begins = now
        if error is not None:
            self._note_failure("making the client", error)
            self._responses.cannot_send(error, now)

    def connected(self, shards: Iterable[ShardRange] | None, summary: Summary, asked_at: float, now: float) -> None:
        """Take in what was learnt outside, before any record or among them. shards: None if they were not listed."""
        self.client_made(asked_at)
        self.description_started(asked_at)
        self.described(summary, now)
        if shards is not None:
            self.listing_started(asked_at)
            self.listing_succeeded(shards, now)

    # --- the shard map ---

    @property
    def map(self) -> ShardMap:
        return self._router.map

    def wants_listing(self, now: float) -> bool:
        return self._next_listing() <= now

    def _next_listing(self) -> float:
        if self._awaits_client:
            return NEVER
        return self.map.next_listing() if self._router.needs_listings or self._responses.judging else NEVER

    def listing_started(self, now: float) -> None:
        self.totals.listings += 1
        self.map.listing_started(now)

    def listing_succeeded(self, shards: Iterable[ShardRange], now: float) -> None:
        """The open shards, as listed."""
        self._router.listing_failure = ""
        self._router.update_map(shards, now)
        if self.map.ready:
            self._responses.judge_again(now)
        self._block_overtaking(now)

    def listing_failed(self, message: str, now: float, error: RequestError | None = None) -> None:
        """message: what records that expire meanwhile waited for. error: what the request met, if that is known."""
        self.map.listing_failed(now)
        self._router.listing_failure = message
        if error is not None and meets_puts_too(error):
            self._router.end_patience(now)
        self._router.check_patience(now)
        if error is not None and not self._router.missing_map_reported:
            self._note_failure("ListShards", error)

    def _note_failure(self, operation: str, error: RequestError) -> None:
        """Have the log tell the cause. Failures of PutRecords are told by the sender that met them."""
        fields = {"operation": operation, "code": error.code, "reason": error.message}
        self.notices.append(Notice("requests_failed", fields))

    # --- who chooses the shards ---

    def wants_description(self, now: float) -> bool:
        """Is DescribeStreamSummary to be asked?"""
        return self.outstanding > 0 and not self._awaits_client and self._router.placement.next_request_at() <= now

    def description_started(self, now: float) -> None:
        self._router.placement.asked(now)

    def described(self, summary: Summary, now: float) -> None:
        """The answer, or that there was none."""
        self._router.described(summary, now)
        if self.map.ready:
            self._responses.judge_again(now)

    # --- requests go out ---

    def tick(self, now: float) -> None:
        """Do what the time asks for: deadlines, expiry, lost requests, patience with the map."""
        self._next_expiry = min(self._next_expiry, self._outcomes.first_expiry)
        self._outcomes.first_expiry = NEVER
        if now >= self._next_expiry:
            self._expire(now)
        while self._in_flight:
            oldest = next(iter(self._in_flight))
            if oldest.lost_at > now:
                break
            self._forget(oldest, now)
        self._router.check_patience(now)
        if now >= self._sizes.grows_at:
            self._sizes.grow(now)
        if self._responses.judging:
            self._responses.check_patience(now)
        if self._bisection:
            self._responses.bisect_in_open_shards(now)
        self._collector.tick(now)  # last: what came back or went alone may be due
        self._block_overtaking(now)

    def _block_overtaking(self, now: float) -> None:
        """In ordered mode, whenever what is under way or the queues may have changed."""
        if self._policy.ordered:
            answers = self._responses
            judged = [each.batch for each in answers.judging]
            block_overtaking(
                self._router, self._collector, [*self._batches_in_flight(), *judged, *self._bisection], now
            )

    def _has_part(self) -> bool:
        """May a part of a hunt be sent?"""
        if not self._bisection:
            return False
        in_flight = sum(request.is_part for request in self._in_flight)
        return self._bisection.has_part(in_flight, self._queues_ahead())

    def _queues_ahead(self) -> set[ShardQueue]:
        """In ordered mode: the queues of shards for which something is under way, or waits to be judged."""
        if not self._policy.ordered:
            return set()
        judged = [each.batch for each in self._responses.judging]
        return {batch.queue for batch in [*self._batches_in_flight(), *judged] if batch.queue.shard is not None}

    def has_request(self, now: float) -> bool:
        ready = not self._awaits_client and now >= self._circuit_breaker.not_before
        return ready and (self._has_part() or self._collects(now))

    def _collects(self, now: float) -> bool:
        """May a request of what is due be sent, or of what is worth one?"""
        if self._router.waits_for_map(now):
            return False
        # With nothing under way, there is nothing to be gained by letting a good part of a request wait for the rest.
        return self._collector.due(now) or (not self._in_flight and self._collector.worth_sending)

    def next_request(self, now: float, max_bytes: float = NEVER) -> Request | None:
        """Form a request from what is due, or None. Its answer must come back through `answered`."""
        self.tick(now)
        if self._circuit_breaker.is_open:
            max_bytes = 1  # one batch asks as well
        request = None
        while request is None and self.has_request(now):
            # In turn with others, as there may be but one sender.
            self._sent_part_last = self._has_part() and not (self._sent_part_last and self._collects(now))
            if self._sent_part_last:
                request = self._sent(self._bisection.next_part(self._queues_ahead(), self._sizes.request), now)
                continue
            batches = self._collector.take_batches(now, max_bytes)
            if batches:
                request = self._sent(batches, now)
            oversized = self._collector.take_oversized()
            if not batches and not oversized and not self._has_part():
                break
            self._set_aside(oversized, now)
        return request

    def _sent(self, batches: list[Batch], now: float) -> Request:
        lost_at = now + self._policy.request_timeout + rules.REQUEST_SLACK
        request = Request(batches, now, lost_at, self._sent_part_last)
        self._in_flight[request] = None
        self._circuit_breaker.request_sent(now)
        self.totals.put_records_requests += 1
        self.totals.kinesis_records_sent += len(batches)
        return request

    def _set_aside(self, oversized: list[Batch], now: float) -> None:
        """These are not to be sent with others, if at all."""
        for batch in oversized:
            self._responses.oversized(batch, now)
        if oversized:
            self._block_overtaking(now)

    def next_wakeup(self, now: float) -> float:
        """When to call tick, next_request or wants_listing again; not later than `now` when there is work already."""
        if not self.outstanding:
            return NEVER
        if self._awaits_client:
            return now if self.wants_client() else max(now, min(self._next_expiry, self._outcomes.first_expiry))
        if self.has_request(now) or self.wants_listing(now) or self.wants_description(now):
            return now
        if self._has_part():
            send = now
        elif self._router.waits_for_map(now):
            send = self._router.waits_until
        else:
            send = self._collector.next_time()
        times = [
            self._next_expiry,
            self._outcomes.first_expiry,
            self._next_listing(),
            self._router.placement.next_request_at(),
            max(send, self._circuit_breaker.not_before),
            min((each.until for each in self._responses.judging), default=NEVER),
        ]
        if self._router.waiting:
            times.append(self._router.waits_until)
        if self._in_flight:
            times.append(next(iter(self._in_flight)).lost_at)
        return max(now, min(times))

    # --- expiry ---

    def _expire(self, now: float) -> None:
        """Fail what waited longer than its TTL; say when the next record can expire."""
        outcomes, router, collector = self._outcomes, self._router, self._collector
        limit = outcomes.expired_before(now)
        expired = [item for item in router.waiting if item.arrival <= limit]
        if expired:
            router.waiting = [item for item in router.waiting if item.arrival > limit]
            outcomes.expire(expired)
        oldest = min((item.arrival for item in router.waiting), default=NEVER)
        for queue in router:
            if queue.oldest() <= limit:
                collector.drop(queue)
                outcomes.expire(queue.expire(limit), queue)
                if queue.closed_batches:
                    collector.returned(queue, now)
            oldest = min(oldest, queue.oldest())
        if self._bisection:
            self._bisection.sift(lambda batch: outcomes.drop_expired(batch, limit))
            oldest = min(oldest, min((batch.arrival for batch in self._bisection), default=NEVER))
        if self._policy.answer_timeout < NEVER:
            oldest = min(oldest, self._responses.expire_in_flight(self._batches_in_flight(), now))
        self._next_expiry = max(min(oldest, now) + self._policy.waiting_ttl, now + rules.EXPIRY_INTERVAL)

    def _batches_in_flight(self) -> list[Batch]:
        return [batch for request in self._in_flight for batch in request.batches]

    # --- answers come back ---

    def request_ended(self, request: Request, exchange: Exchange, now: float) -> None:
        """The answer to a request. One that was taken as lost before is past caring for."""
        if request in self._in_flight:
            del self._in_flight[request]
            self._responses.handle(request, exchange, now)
            self._block_overtaking(now)

    def _forget(self, request: Request, now: float) -> None:
        """No answer within every timeout: take it as lost, whatever the HTTP client still waits for."""
        error = RequestError("RequestTimeout", f"no answer within {now - request.started:.1f} s", maybe_written=True)
        self.request_ended(request, Exchange(request.started, now, request.wall, error=error), now)

    # --- answers go out ---

    def take_completions(self) -> list[Completion]:
        """Records whose answer is final; once it was given to them, the caller says `settled`."""
        completions, self._outcomes.completions = self._outcomes.completions, []
        return completions

    def take_events(self) -> Events:
        events, self._responses.events = self._responses.events, Events()
        return events

    def stream_gauges(self, now: float) -> StreamGauges:
        router = self._router
        arrivals = [self._responses.oldest(self._batches_in_flight())]
        arrivals += [item.arrival for item in router.waiting]
        for queue in router:
            if queue.closed_batches:
                arrivals.append(queue.closed_batches[0].arrival)  # they are in the order of acceptance
            if queue.open is not None:
                arrivals.append(queue.open.arrival)
        shards = {
            queue.shard.shard_id: ShardUse(queue.limiter.scale_at(now), queue.limiter.taken(now))
            for queue in router.queues
            if queue.shard is not None
        }
        return StreamGauges(self.totals.user_records_accepted, self.outstanding, min(arrivals), shards)

    @property
    def notices(self) -> list[Notice]:
        """What a person should know, for the caller to log and clear."""
        return self._router.notices

    @notices.setter
    def notices(self, notices: list[Notice]) -> None:
        self._router.notices = notices

    def settled(self, items: list[PendingRecord]) -> None:
        """These records' futures are answered and their callbacks have run."""
        self.outstanding -= len(items)
        self._flushes.settled(items)

    def flush(self, now: float) -> int:
        """Make all that was accepted so far due at once; the returned mark is for `unflushed`."""
        self._flushes.add_mark(self._next_number, self.outstanding)
        self._collector.close_all(now)
        return self._next_number

    def unflushed(self, mark: int) -> int:
        """How many records accepted before the flush that gave this mark are not settled."""
        return self._flushes.left(mark)

    def buffer_full(self, now: float) -> None:
        """Room ran out: the older half of the open aggregates is due at once, unless answers are to come anyway."""
        if not self._in_flight and not self.has_request(now):
            self._collector.close_oldest(now)

    def held_by_shard_of(self, hash_key: int) -> tuple[int, int]:
        """Records and payload bytes that wait for, or are under way to, the one shard of this hash key, if any."""
        router = self._router
        if router.map_missing_since is not None or router.placed_by_service or hash_key == NO_HASH_KEY:
            return 0, 0
        index = self.map.index_of(hash_key)
        queue = router.queues[index] if 0 <= index < len(router.queues) else router.alone
        return (0, 0) if queue is None else (queue.held, queue.held_bytes)

    def most_held_by_a_shard(self) -> tuple[int, int]:
        """The most records, and the most payload bytes, that wait for, or are under way to, one shard."""
        queues = self._router.queues
        return max((queue.held for queue in queues), default=0), max((queue.held_bytes for queue in queues), default=0)

    def fail_all(self, reason: Reason, message: str, now: float) -> None:
        """Fail everything that has no answer yet; records under way may have been written."""
        self._outcomes.fail_waiting(reason, message)
        self._responses.fail_in_flight(self._batches_in_flight(), reason, message)
        self._in_flight.clear()

    def leftovers(self) -> dict[str, float]:
        """What is held of records, by kind; all zero when nothing is outstanding. For tests and for telling."""
        router, collector = self._router, self._collector
        return {
            "waiting": len(router.waiting),
            "in queues": sum(len(queue.closed_batches) + (queue.open is not None) for queue in router),
            "bytes in queues": sum(queue.queue_bytes for queue in router),
            "held": sum(abs(queue.held) + abs(queue.held_bytes) for queue in router),
            "collected": collector.pending(),
            "in flight": len(self._in_flight),
            "in bisection": bool(self._bisection),
            "judged": len(self._responses.judging),
            "to flush": bool(self._flushes),
        }
