"""Takes a stream's records from acceptance to outcome: predict, aggregate, limit, collect, judge, retry.

The caller passes the time and holds the stream's lock. Nothing here waits. `accept` and `request_ended` take events in.
`next_request` and `wants_listing` return what to do, and `next_wakeup` when to ask again. `take_completions` returns
the records that have an outcome.
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
from kplpy.core.results.retry_policy import is_access_denied, meets_puts_too
from kplpy.core.results.sealing import Sealing
from kplpy.core.routing.placement import Summary
from kplpy.core.routing.router import HEADERS_REFUSED, Router
from kplpy.core.routing.shard_map import ShardMap
from kplpy.core.shard_range import ShardRange
from kplpy.core.size_limits import SizeLimits
from kplpy.reports import StreamTotals


class Pipeline:
    """One stream's pipeline. Runs on kplpy's own threads only, under the stream's lock.

    policy: the stream's options.
    random: returns a float in [0, 1).
    outstanding: records that are accepted and not yet settled.
    totals: the stream's counts since the pipeline was made.
    """

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self.policy = policy
        self.totals = StreamTotals()
        self.outstanding = 0
        self._next_number = 0
        self._flushes = FlushTracker()
        self._sizes = SizeLimits(policy)
        self._collector = Collector(policy, self._sizes)
        self._router = Router(policy, self._collector, self._flushes, self._sizes, random)
        self._responses = Responses(policy, self._router, self._collector, self.totals, self._sizes, random)
        self._outcomes = self._responses.outcomes
        self._circuit_breaker = self._responses.circuit_breaker
        self._bisection = self._responses.bisection
        self._sealing = Sealing(self._router, self._collector, self._sizes, self._outcomes)
        self._sent_part_last = False  # the request before this one was a part of the bisection
        self._in_flight: dict[Request, None] = {}
        self._next_expiry = NEVER
        self._awaits_client = self._client_asked = False

    @property
    def in_outage(self) -> bool:
        """True from a failed request until the next good response."""
        return self._circuit_breaker.is_open

    # --- records come in ---

    def accept(self, items: Sequence[PendingRecord], now: float) -> None:
        """Number the records and put each into the queue of its predicted shard."""
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
        self._next_expiry = min(self._next_expiry, now + self.policy.waiting_ttl)

    @property
    def next_number(self) -> int:
        """The number that the next record gets."""
        return self._next_number

    def drop(self, items: Sequence[PendingRecord], reason: Reason, message: str) -> None:
        """Accept records, and fail them at once. message: the reason in words."""
        for number, item in enumerate(items, self._next_number):
            item.number = number
        self._next_number += len(items)
        self.outstanding += len(items)
        self.totals.user_records_accepted += len(items)
        self._outcomes.fail([*items], reason, message)

    # --- the client ---

    def await_client(self) -> None:
        """Send nothing until `client_made`. Call it before the first record.

        The time until then does not count as waiting for the shard map.
        """
        self._awaits_client = True
        self._router.patience_begins = NEVER

    def wants_client(self) -> bool:
        """Return True if the caller should make the client now."""
        return self._awaits_client and not self._client_asked and self.outstanding > 0

    def client_started(self) -> None:
        """The caller has begun to make the client."""
        self._client_asked = True

    def client_made(self, now: float, error: RequestError | None = None) -> None:
        """The client exists from now on. error: it could not be made, and each request will try again."""
        self._awaits_client = False
        self._router.patience_begins = now
        if error is not None:
            self._note_failure("making the client", error)
            self._responses.cannot_send(error, now)

    def connected(self, shards: Iterable[ShardRange] | None, summary: Summary, asked_at: float, now: float) -> None:
        """Take over what `Producer.connect` learnt. Works with and without records.

        shards: None if they were not listed. asked_at: when `connect` began to ask, on the core's clock.
        """
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
        """Return True if the caller should list the shards now."""
        return self._next_listing() <= now

    def _next_listing(self) -> float:
        if self._awaits_client:
            return NEVER
        return self.map.next_listing() if self._router.needs_listings or self._responses.judging else NEVER

    def listing_started(self, now: float) -> None:
        """The caller has begun to list the shards."""
        self.totals.listings += 1
        self.map.listing_started(now)

    def listing_succeeded(self, shards: Iterable[ShardRange], now: float) -> None:
        """The caller has listed the shards. shards: the open ones."""
        self._router.listing_failure = ""
        self._router.listing_denied = False
        self._router.update_map(shards, now)
        if self.map.ready:
            self._responses.judge_again(now)
        self._block_overtaking(now)

    def listing_failed(self, message: str, now: float, error: RequestError | None = None) -> None:
        """The listing has failed.

        message: the failure in words, for the errors of records that expire meanwhile.
        error: the request's error, if it is known.
        """
        self.map.listing_failed(now)
        self._router.listing_failure = message
        self._router.listing_denied = error is not None and is_access_denied(error)
        if error is not None and meets_puts_too(error):
            self._router.end_patience(now)
        self._router.check_patience(now)
        if error is not None and not self._router.missing_map_reported:
            self._note_failure("ListShards", error)

    def _note_failure(self, operation: str, error: RequestError) -> None:
        """Have the cause logged. Failures of PutRecords are logged by the sender itself."""
        fields = {"operation": operation, "code": error.code, "reason": error.message}
        self.notices.append(Notice("requests_failed", fields))

    # --- who chooses the shards ---

    def wants_description(self, now: float) -> bool:
        """Return True if the caller should request DescribeStreamSummary now."""
        return self.outstanding > 0 and not self._awaits_client and self._router.placement.next_request_at() <= now

    def description_started(self, now: float) -> None:
        """The caller has requested DescribeStreamSummary."""
        self._router.placement.asked(now)

    def described(self, summary: Summary, now: float) -> None:
        """DescribeStreamSummary has ended, with a response or without one (see Summary.problem)."""
        self._router.described(summary, now)
        if self.map.ready:
            self._responses.judge_again(now)

    # --- requests go out ---

    def tick(self, now: float) -> None:
        """Do what is due by now: deadlines, expiry, lost requests, the end of waiting for the map."""
        self._next_expiry = min(self._next_expiry, self._outcomes.first_expiry)
        self._outcomes.first_expiry = NEVER
        if now >= self._next_expiry:
            self._expire(now)
        while self._in_flight:
            oldest = next(iter(self._in_flight))
            if oldest.lost_at > now:
                break
            self._request_lost(oldest, now)
        self._router.check_patience(now)
        if now >= self._sizes.grows_at:
            self._sizes.grow(now)
        if self._responses.judging:
            self._responses.check_patience(now)
        if self._bisection:
            self._responses.reroute_closed_shards(now)
        self._collector.tick(now)  # last, because records that came back or went alone may be due
        self._block_overtaking(now)

    def _block_overtaking(self, now: float) -> None:
        """In ordered mode: hold queues back. Call it after each change of the queues or of what is in flight."""
        if self.policy.ordered:
            judged = [each.batch for each in self._responses.judging]
            block_overtaking(
                self._router, self._collector, [*self._batches_in_flight(), *judged, *self._bisection], now
            )

    def _has_part(self) -> bool:
        """Return True if a part of the bisection may be sent."""
        if not self._bisection:
            return False
        in_flight = sum(request.is_part for request in self._in_flight)
        return self._bisection.has_part(in_flight, self._queues_ahead())

    def _queues_ahead(self) -> set[ShardQueue]:
        """In ordered mode: the queues of shards with a batch in flight or waiting to be judged."""
        if not self.policy.ordered:
            return set()
        judged = [each.batch for each in self._responses.judging]
        return {batch.queue for batch in [*self._batches_in_flight(), *judged] if batch.queue.shard is not None}

    def has_request(self, now: float) -> bool:
        """Return True if `next_request` may return a request."""
        ready = not self._awaits_client and now >= self._circuit_breaker.not_before
        return ready and (self._has_part() or self._may_collect(now))

    def _may_collect(self, now: float) -> bool:
        """Return True if a request may be sent from the collector: one is due, or worth sending."""
        if self._router.waits_for_map(now):
            return False
        # Without a request in flight, half a request gains nothing by waiting for the rest.
        return self._collector.due(now) or (not self._in_flight and self._collector.worth_sending)

    def next_request(self, now: float, max_bytes: float = NEVER) -> Request | None:
        """Form a request from the batches that are due. None if there are none.

        A sender calls it, and must report the end of the request through `request_ended`. A request that is not sealed
        is compressed and sealed first (`Request.compress`, then `seal`).
        """
        self.tick(now)
        if self._circuit_breaker.is_open:
            max_bytes = 1  # one batch is enough to find out whether the outage is over
        request = None
        while request is None and self.has_request(now):
            # Parts of the bisection take turns with other requests, because there may be only one sender.
            self._sent_part_last = self._has_part() and not (self._sent_part_last and self._may_collect(now))
            if self._sent_part_last:
                request = self._start_request(self._bisection.next_part(self._queues_ahead(), self._sizes.request), now)
                continue
            batches = self._collector.take_batches(now, max_bytes)
            if batches:
                request = self._start_request(batches, now)
            oversized = self._collector.take_oversized()
            if not batches and not oversized and not self._has_part():
                break
            self._set_aside(oversized, now)
        return request

    def _start_request(self, batches: list[Batch], now: float) -> Request:
        lost_at = now + self.policy.request_timeout + rules.REQUEST_SLACK
        request = Request(batches, now, lost_at, self._sent_part_last)
        if self.policy.compression is not None:
            self._sealing.begin(request)
        self._in_flight[request] = None
        self._circuit_breaker.request_sent(now)
        self.totals.put_records_requests += 1
        self.totals.kinesis_records_sent += len(batches)
        return request

    def seal(self, request: Request, compressed: Sequence[bytes | None], now: float, max_bytes: float = NEVER) -> bool:
        """Set the compressed data of the request's batches, and make the request fit its limits by the exact sizes.

        compressed: what `request.compress()` returned. Return False if the request must not be sent: nothing is left
        in it, or it was given up as lost meanwhile.
        """
        if request not in self._in_flight:
            return False
        count = len(request.batches)
        oversized = self._sealing.end(request, compressed, now, max_bytes)
        if len(request.batches) < count:
            self.totals.kinesis_records_sent -= count - len(request.batches)
            if not request.batches:
                del self._in_flight[request]
                self.totals.put_records_requests -= 1
            self._block_overtaking(now)
        self._set_aside(oversized, now)
        return bool(request.batches)

    def _set_aside(self, oversized: list[Batch], now: float) -> None:
        """Take out batches that may be too large. They are sent alone, or fail."""
        for batch in oversized:
            self._responses.oversized(batch, now)
        if oversized:
            self._block_overtaking(now)

    def next_wakeup(self, now: float) -> float:
        """Return when to call tick, next_request or wants_listing again. At most `now` if there is work already."""
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
        """Fail the records that waited longer than their TTL. Find when the next record can expire."""
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
            self._bisection.replace_each(lambda batch: outcomes.drop_expired(batch, limit))
            oldest = min(oldest, min((batch.arrival for batch in self._bisection), default=NEVER))
        if self.policy.answer_timeout < NEVER:
            oldest = min(oldest, self._responses.expire_in_flight(self._batches_in_flight(), now))
        self._next_expiry = max(min(oldest, now) + self.policy.waiting_ttl, now + rules.EXPIRY_INTERVAL)

    def _batches_in_flight(self) -> list[Batch]:
        return [batch for request in self._in_flight for batch in request.batches]

    # --- responses come in ---

    def request_ended(self, request: Request, exchange: Exchange, now: float) -> None:
        """A request has ended. Ignored if it was given up as lost before."""
        if request in self._in_flight:
            del self._in_flight[request]
            self._responses.handle(request, exchange, now)
            self._block_overtaking(now)

    def _request_lost(self, request: Request, now: float) -> None:
        """Give the request up as lost: all timeouts are over. The HTTP client may still wait for its response.

        A request that is not sealed was not sent, and `seal` will refuse it.
        """
        what = "no response" if request.is_sealed else "not compressed, so not sent,"
        error = RequestError(
            "RequestTimeout", f"{what} within {now - request.started:.1f} s", maybe_written=request.is_sealed
        )
        self.request_ended(request, Exchange(request.started, now, request.wall, error=error), now)

    # --- outcomes go out ---

    def take_completions(self) -> list[Completion]:
        """Return the records with new outcomes. The caller resolves their futures, then calls `settled`."""
        if self._router.refused:
            refused, self._router.refused = self._router.refused, []
            self._outcomes.fail(refused, Reason.HEADERS, HEADERS_REFUSED)
        completions, self._outcomes.completions = self._outcomes.completions, []
        return completions

    def take_events(self) -> Events:
        """Return what happened since the last call, for the metrics."""
        events, self._responses.events = self._responses.events, Events()
        return events

    def stream_gauges(self, now: float) -> StreamGauges:
        router = self._router
        arrivals = [self._responses.oldest(self._batches_in_flight())]
        arrivals += [item.arrival for item in router.waiting]
        for queue in router:
            if queue.closed_batches:
                arrivals.append(queue.closed_batches[0].arrival)  # the oldest
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
        """Log events. The caller logs them and clears the list."""
        return self._router.notices

    @notices.setter
    def notices(self, notices: list[Notice]) -> None:
        self._router.notices = notices

    def settled(self, items: list[PendingRecord]) -> None:
        """The records' futures are resolved and their callbacks have run."""
        self.outstanding -= len(items)
        self._flushes.settled(items)

    def flush(self, now: float) -> int:
        """Make all records accepted so far due at once. Return the mark for `unflushed`."""
        self._flushes.add_mark(self._next_number, self.outstanding)
        self._collector.close_all(now)
        return self._next_number

    def unflushed(self, mark: int) -> int:
        """Return how many records accepted before the flush that returned this mark are not settled."""
        return self._flushes.left(mark)

    def buffer_full(self, now: float) -> None:
        """The buffer is full: make the older half of the open aggregates due at once.

        Not needed if a request is in flight or about to be sent, because its response frees buffer space.
        """
        if not self._in_flight and not self.has_request(now):
            self._collector.close_oldest(now)

    def held_by_shard_of(self, hash_key: int) -> tuple[int, int]:
        """Return records and payload bytes, queued or in flight, for this hash key's shard.

        0, 0 if no shard is predicted.
        """
        router = self._router
        if router.map_missing_since is not None or router.placed_by_service or hash_key == NO_HASH_KEY:
            return 0, 0
        index = self.map.index_of(hash_key)
        queue = router.queues[index] if 0 <= index < len(router.queues) else router.alone
        return (0, 0) if queue is None else (queue.held, queue.held_bytes)

    def most_held_by_a_shard(self) -> tuple[int, int]:
        """Return the most records and the most payload bytes, queued or in flight, for one shard."""
        queues = self._router.queues
        return max((queue.held for queue in queues), default=0), max((queue.held_bytes for queue in queues), default=0)

    def fail_all(self, reason: Reason, message: str, now: float) -> None:
        """Fail all records without an outcome. Those of requests in flight may have been written, once sealed."""
        self._outcomes.fail_waiting(reason, message)
        self._responses.fail_in_flight(self._in_flight, reason, message)
        self._in_flight.clear()

    def leftovers(self) -> dict[str, float]:
        """Return how much the pipeline holds, by kind. All are zero when nothing is outstanding. For tests."""
        router, collector = self._router, self._collector
        return {
            "waiting": len(router.waiting) + len(router.refused),
            "in queues": sum(len(queue.closed_batches) + (queue.open is not None) for queue in router),
            "bytes in queues": sum(queue.queue_bytes for queue in router),
            "held": sum(abs(queue.held) + abs(queue.held_bytes) for queue in router),
            "collected": collector.pending(),
            "in flight": len(self._in_flight),
            "in bisection": bool(self._bisection),
            "judged": len(self._responses.judging),
            "to flush": bool(self._flushes),
        }
