"""Decides what a response means for each batch of its request: delivered, judged later, retried, or failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from kplpy.core import policy as rules
from kplpy.core.batching.collector import NEVER, Collector
from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch, ShardQueue, batch_of
from kplpy.core.exchange import Accepted, Exchange, RequestError
from kplpy.core.outcome import Reason
from kplpy.core.policy import Policy
from kplpy.core.record import PendingRecord, SendAttempt, add_attempts, payload_size
from kplpy.core.results.bisection import Bisection
from kplpy.core.results.circuit_breaker import CircuitBreaker
from kplpy.core.results.events import Events
from kplpy.core.results.landed import Landed, group_predicted
from kplpy.core.results.outcomes import WRONG_SHARD, Outcomes
from kplpy.core.results.retry_policy import (
    DELIVERY_THROTTLED,
    MALFORMED,
    NOT_FOUND,
    THROTTLED,
    TOO_LARGE,
    Landing,
    Verdict,
    backoff,
    judge_error,
    judge_landing,
)
from kplpy.core.routing.router import Router
from kplpy.core.size_limits import SizeLimits
from kplpy.escaping import shown
from kplpy.reports import StreamTotals

_OVERSIZED = (
    "it has {size} bytes, {what}; the stream takes at most {limit} (its MaxRecordSizeInKiB is {kib}), "
    "and max_user_record_size allows {accepted}"
)
_ALONE_TOO_LARGE = (
    "a request with this record alone, of {size} bytes before encoding, got HTTP 413: a proxy or gateway before the "
    "service does not accept it"
)


@dataclass(slots=True)
class _Judged:
    """An aggregate that landed on a shard that the map does not show.

    until: the aggregate is sent again at this time, if no listing shows the shard by then.
    """

    batch: Batch
    entry: dict[str, str]
    attempt: SendAttempt
    until: float


class Responses:
    """Judges responses. A Kinesis record that the service refused is retried, whatever its error code.

    The verdicts on failed requests and on landings are pure functions, in retry_policy.py.

    circuit_breaker: slows requests down after failures.
    bisection: the parts of refused requests.
    judging: aggregates that wait for a listing.
    events: what happened since the pipeline last took the events.
    outcomes: carries out what is decided here.
    """

    def __init__(
        self,
        policy: Policy,
        router: Router,
        collector: Collector,
        totals: StreamTotals,
        sizes: SizeLimits,
        random: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._router = router
        self._collector = collector
        self._sizes = sizes
        self._totals = totals
        self._random = random
        self._throttled = frozenset({THROTTLED}) if policy.has_shards else DELIVERY_THROTTLED
        self.circuit_breaker = CircuitBreaker(random)
        self.bisection = Bisection(policy.ordered)
        self.judging: list[_Judged] = []
        self.events = Events()
        self.outcomes = Outcomes(policy, router, collector, totals, self.bisection, self.circuit_breaker)

    # --- judging ---

    def handle(self, request: Request, exchange: Exchange, now: float) -> None:
        """Judge each batch of a request that has ended."""
        entries = exchange.entries or ()
        error = exchange.error or _unusable(request, entries)
        if error is not None:
            exchange = replace(exchange, entries=None, error=error)
            self.events.exchanges.append((request, exchange, 0))
            self._request_failed(request, error, exchange, now)
            return
        if self.circuit_breaker.is_open:
            self._router.map.list_soon(now)
        self.circuit_breaker.close()
        self._router.report_missing_map(now)
        self._router.report_unknown_strategy()
        self.bisection.reset()
        success = SendAttempt(exchange.wall, exchange.started, exchange.ended)
        ids_valid = self._router.map.ids_valid_at(exchange.ended)
        by_map = ids_valid and not self._router.placed_by_service
        if by_map and not request.is_part:
            groups = group_predicted(request.batches, entries, self._router.map.range_of, success)
            if groups is not None:
                self._all_as_predicted(request, exchange, groups, now)
                return
        attempts: dict[tuple[str, str], SendAttempt] = {}
        refused: list[tuple[Batch, SendAttempt]] = []
        # Nearly all batches are on their predicted shard. Each queue's limiter gets them together, which is faster.
        as_predicted: defaultdict[ShardQueue, list[Batch]] = defaultdict(list)
        delivered: list[tuple[Batch, dict[str, str]]] = []
        range_of = self._router.map.range_of
        for batch, entry in zip(request.batches, entries, strict=True):
            if entry.get("SequenceNumber"):
                shard = batch.queue.shard
                if by_map and shard is not None and range_of(entry.get("ShardId", "")) is shard:
                    as_predicted[batch.queue].append(batch)
                    delivered.append((batch, entry))
                elif self._accepted(batch, entry, success, ids_valid, now):
                    delivered.append((batch, entry))
                continue
            code = shown(entry.get("ErrorCode") or MALFORMED)
            message = shown(entry.get("ErrorMessage") or "the service gave no reason")
            attempt = attempts.get((code, message))
            if attempt is None:
                attempt = attempts[code, message] = SendAttempt(
                    exchange.wall, exchange.started, exchange.ended, code, message
                )
            refused.append((batch, attempt))
        self.events.exchanges.append((request, exchange, len(refused)))
        self.outcomes.deliver_all(delivered, success)
        if request.is_part:
            for batch, _ in delivered:
                batch.queue.limiter.ready_at(batch.wire_size, now)  # adds the tokens since the last call
                batch.queue.limiter.pay(batch.wire_size)
                self._sizes.accepted(batch.wire_size)
        for queue, batches in as_predicted.items():
            queue.hit(success.started, len(batches))
            queue.limiter.accepted(sum([batch.wire_size for batch in batches]), now, len(batches))
        if ids_valid and len(refused) < len(entries):
            self._router.map.seen_alive(exchange.started)
        for batch, attempt in reversed(refused):  # newest first, so that each finds its place at the front
            self._refused(batch, attempt, now)

    def _all_as_predicted(self, request: Request, exchange: Exchange, groups: list[Landed], now: float) -> None:
        """The service wrote each batch on its predicted shard, as nearly always."""
        self.events.exchanges.append((request, exchange, 0))
        for queue, batches, outcomes in groups:
            size = self.outcomes.deliver_group(queue, batches, outcomes)
            queue.hit(exchange.started, len(batches))
            queue.limiter.accepted(size, now, len(batches))
        self._router.map.seen_alive(exchange.started)

    def _accepted(self, batch: Batch, entry: dict[str, str], success: SendAttempt, ids_valid: bool, now: float) -> bool:
        """The service wrote the batch. Return True if it is where consumers can read it.

        Otherwise the batch waits to be judged again, or is sent again.
        """
        queue = batch.queue
        actual = entry.get("ShardId", "")
        landing = Landing.UNKNOWN_SHARD
        if ids_valid or not batch.must_stay_in_range:
            landing = self._land(batch, actual)
        if landing is Landing.UNKNOWN_SHARD and self._router.listing_denied and self._lands_by_key(batch):
            landing = Landing.DELIVERED
        if landing is Landing.UNKNOWN_SHARD:
            if self.outcomes.all_timed_out(batch):
                self.outcomes.pending_part(batch)
            else:
                latest = min(now + rules.JUDGE_PATIENCE, batch.arrival + self._policy.waiting_ttl)
                self.judging.append(_Judged(batch, entry, success, max(latest, now + rules.MAP_PATIENCE)))
            self._router.distrust(queue, success.started, now)
            self._router.map.relist(now)
            return False
        if (
            ids_valid
            and batch.outer_key is not None
            and self._router.note_landing(batch.items[0].hash_key, actual, now)
        ):
            pass  # the service chose the shard, so the map may be right
        elif queue.shard is not None and actual != queue.shard.shard_id:
            listed_at = self._router.map.updated_at
            self._router.distrust(queue, success.started, now)
            if queue.missed_at < listed_at < success.started:
                self._router.suspend_aggregation(queue, now)  # a new listing did not help
            queue.missed(success.started)
        elif ids_valid:
            queue.hit(success.started)
            queue.limiter.accepted(batch.wire_size, now)
        if landing is Landing.WRONG_SHARD:
            self._landed_wrong(batch, actual, success, now)
        return landing is Landing.DELIVERED

    def _land(self, batch: Batch, actual: str) -> Landing:
        predicted = batch.queue.shard
        known = self._router.map.range_of(actual)
        return judge_landing(predicted, batch.must_stay_in_range, (item.hash_key for item in batch.items), known)

    def _lands_by_key(self, batch: Batch) -> bool:
        """Return True if no shard was ever listed, and the hash key puts the batch on the right shard all the same.

        The hash key goes along with the Kinesis record, so an aggregate of one record cannot be outside its shard's
        range. Only a service-managed stream puts it elsewhere, which its range in a listing would show.
        """
        router = self._router
        return len(batch.items) == 1 and not router.map.open and not router.placement.placed_by_service

    def judge_again(self, now: float) -> None:
        """Judge the waiting aggregates by a new listing."""
        judging, self.judging = self.judging, []
        for each in judging:
            batch, actual = each.batch, each.entry.get("ShardId", "")
            # Only ranges count, because a recreated stream has the same ids.
            known = self._router.map.range_of(actual)
            landing = judge_landing(None, True, (item.hash_key for item in batch.items), known)
            if landing is Landing.DELIVERED:
                self.outcomes.deliver(batch, each.entry, each.attempt)
            elif landing is Landing.WRONG_SHARD:
                self._landed_wrong(batch, actual, each.attempt, now)
            else:
                self.judging.append(each)
            predicted = batch.queue.shard
            predicted_wrong = (
                predicted in self._router.map.open and predicted is not None and predicted.shard_id != actual
            )
            if landing is Landing.UNKNOWN_SHARD or predicted_wrong:
                self._router.suspend_aggregation(batch.queue, now)

    def reroute_closed_shards(self, now: float) -> None:
        """Route the bisection's records for closed shards again. Consumers would drop misplaced aggregates."""
        for queue in {batch.queue: None for batch in self.bisection if not batch.queue.alive}:
            for batch in self.bisection.take_of(queue):
                self.outcomes.send_again(batch, now)

    def check_patience(self, now: float) -> None:
        """Send aggregates again that no listing has explained for too long."""
        if not any(each.until <= now for each in self.judging):
            return
        judging, self.judging = self.judging, []
        for each in judging:
            if each.until <= now and self._lands_by_key(each.batch):
                self.outcomes.deliver(each.batch, each.entry, each.attempt)
            elif each.until <= now:
                self._landed_wrong(each.batch, each.entry.get("ShardId", ""), each.attempt, now)
            else:
                self.judging.append(each)

    def _landed_wrong(self, batch: Batch, actual: str, success: SendAttempt, now: float) -> None:
        self._totals.wrong_shard += 1
        self.events.misplaced.append(batch)
        predicted = batch.queue.shard.shard_id if batch.queue.shard is not None else None
        message = f"landed on {actual} instead of {predicted}, where consumers would drop it"
        if batch.is_compressed:
            message = f"landed on {actual} instead of {predicted}, where its records' order would be lost"
        if actual == predicted:
            message = (
                f"landed on {actual}, and no listing came in time to show whether that shard still has the same range"
            )
        _note_maybe_written(batch)
        self.outcomes.retry(batch, SendAttempt(success.wall, success.started, success.ended, WRONG_SHARD, message), now)

    def _refused(self, batch: Batch, attempt: SendAttempt, now: float) -> None:
        queue = batch.queue
        if attempt.code in self._throttled:
            self._totals.entries_throttled += 1
            queue.limiter.refused(attempt.started, now)
            if self._policy.fail_if_throttled:
                self.outcomes.fail_batch(batch, attempt, Reason.THROTTLED)
                return
        else:
            self._totals.entries_failed += 1
        if queue.not_before <= now:
            # Only one step a response, because the other entries belong to the same burst.
            queue.not_before = now + backoff(queue.failures, self._random())
            queue.failures += 1
            queue.limiter.rest(queue.not_before)
        self._retry(batch, attempt, now)

    def _retry(self, batch: Batch, attempt: SendAttempt, now: float) -> None:
        """Queue the batch again, except records that had too many malformed responses."""
        left: Batch | None = batch
        if attempt.code == MALFORMED:
            _note_maybe_written(batch)
            failed_too_often = {item: None for item in batch.items if _malformed(item) + 1 >= rules.MALFORMED_ATTEMPTS}
            if failed_too_often:
                self.outcomes.fail_batch(batch_of(batch.queue, [*failed_too_often]), attempt, Reason.UNCLEAR)
                left = batch.without(failed_too_often.keys())
        if left is not None:
            self.outcomes.retry(left, attempt, now)

    def _request_failed(self, request: Request, error: RequestError, exchange: Exchange, now: float) -> None:
        self._totals.requests_failed += 1
        attempt = SendAttempt(exchange.wall, exchange.started, exchange.ended, error.code, error.message)
        verdict = judge_error(error)
        if error.maybe_written:
            for batch in request.batches:
                _note_maybe_written(batch)
        if verdict is Verdict.INVALID and self._router.keys_are_refused(request.batches, now):
            for batch in reversed(request.batches):
                self.outcomes.retry(batch, attempt, now)
            return
        if verdict in (Verdict.INVALID, Verdict.TOO_LARGE):
            if verdict is Verdict.TOO_LARGE:
                self._sizes.request_refused(request.size, now)
            if not request.is_part:
                self._return_tokens(request, now)
            self._bisect(request.batches, attempt, error, now)
            return
        self.bisection.reset()
        if error.code in self._throttled and not self._policy.has_shards:
            self._request_throttled(request, attempt, now)
            return
        if error.code == NOT_FOUND:
            self._router.stream_missing(now)
        self.circuit_breaker.failed(exchange.started, now, error)
        if self._is_final(verdict, now):
            reason = Reason.SET_UP
            if verdict is Verdict.GRACE:
                reason = Reason.UNCLEAR if error.code == MALFORMED else Reason.REJECTED
            for batch in request.batches:
                self.outcomes.fail_batch(batch, attempt, reason, error.cause)
            # Waiting records would fail the same way, but so slowly, at an outage's pace, that most would expire.
            self.outcomes.fail_waiting(reason, f"{error.code}: {error.message}", error.cause, error.code)
            return
        for batch in reversed(request.batches):
            self._retry(batch, attempt, now)

    def _request_throttled(self, request: Request, attempt: SendAttempt, now: float) -> None:
        """Treat each record of a delivery stream's request as throttled: Firehose may refuse them together."""
        self.circuit_breaker.close()
        for batch in reversed(request.batches):
            self._refused(batch, attempt, now)

    def cannot_send(self, error: RequestError, now: float) -> None:
        """No request can be made, because the client cannot be made."""
        if self._is_final(judge_error(error), now):
            self.outcomes.fail_waiting(Reason.SET_UP, f"{error.code}: {error.message}", error.cause, error.code)

    def _is_final(self, verdict: Verdict, now: float) -> bool:
        return verdict is Verdict.HOPELESS or (
            verdict in (Verdict.GRACE, Verdict.SET_UP) and self.circuit_breaker.denied(now)
        )

    def _return_tokens(self, request: Request, now: float) -> None:
        """Return the tokens of a refused request, because nothing of it reached a shard."""
        for batch in request.batches:
            batch.queue.limiter.return_tokens(batch.wire_size)
        for queue in {batch.queue: None for batch in request.batches}:
            self._collector.tokens_returned(queue, now)

    def _bisect(self, batches: list[Batch], attempt: SendAttempt, error: RequestError, now: float) -> None:
        pending = [kept for batch in batches if (kept := self.outcomes.pending_part(batch)) is not None]
        if not pending:
            return
        for batch in pending:
            batch.tried = True
            add_attempts(batch.items, attempt)
        sent = sum(len(batch.items) for batch in batches)
        conclusive = sent == sum(len(batch.items) for batch in pending)
        first, invalid = pending[0], error.code != TOO_LARGE
        expected = invalid and first.wire_size > self._sizes.record
        given_up = self.bisection.refused(pending, now, conclusive, expected)
        if given_up and invalid and self._sizes.refused(first.wire_size):
            self._router.placement.ask_again()
        for batch in given_up:
            batch.queue.release(len(batch.items), batch.payload)
            reason, message = Reason.INVALID, f"{attempt.code}: {attempt.message}"
            if not invalid:
                reason, message = Reason.TOO_LARGE, _ALONE_TOO_LARGE.format(size=batch.wire_size)
            self.outcomes.fail(batch.items, reason, message, error.cause, batch.queue, attempt.code or "")

    def oversized(self, batch: Batch, now: float) -> None:
        """Treat an unsent batch that is above the stream's known limit: pack it again, fail it, or send it alone."""
        self._router.placement.ask_again()  # the limit may have been raised
        if len(batch.items) > 1:
            self.outcomes.send_again(batch, now, reroute=True)
        elif self._sizes.is_known(now):
            batch.queue.release(1, batch.payload)
            limit, accepted = self._sizes.record, self._policy.max_user_record_size
            what = "an aggregate and its partition key" if batch.aggregated else "data and partition key"
            message = _OVERSIZED.format(
                size=batch.wire_size, what=what, limit=limit, kib=limit >> 10, accepted=accepted
            )
            self.outcomes.fail(batch.items, Reason.TOO_LARGE, message, queue=batch.queue)
        else:
            self.bisection.add_suspect(batch)

    # --- in flight ---

    def expire_in_flight(self, batches: list[Batch], now: float) -> float:
        """Fail records that are in flight or being judged for user_record_timeout, which covers them too.

        batches: those in flight. Return the arrival time of the oldest record that is left.
        """
        oldest = self.outcomes.expire_in_flight([*batches, *(each.batch for each in self.judging)], now)
        self.judging = [each for each in self.judging if not self.outcomes.all_timed_out(each.batch)]
        return oldest

    def oldest(self, batches: list[Batch]) -> float:
        """Return the arrival time of the oldest record without an outcome. Infinite if there is none.

        batches: those in flight. The waiting aggregates and the bisection count too.
        """
        held = [*batches, *(each.batch for each in self.judging), *self.bisection]
        return min((self.outcomes.oldest(batch) for batch in held), default=NEVER)

    def fail_in_flight(self, requests: Iterable[Request], reason: Reason, message: str) -> None:
        """Fail all pending records that are in flight (in `requests`) or wait to be judged.

        Nothing of a request that is not sealed has been sent, and its sender will find it given up.
        """
        batches = [each.batch for each in self.judging]
        unsent: list[Batch] = []
        for request in requests:
            (batches if request.is_sealed else unsent).extend(request.batches)
        for batch in batches:
            _note_maybe_written(batch)
        for batch in [*batches, *unsent]:
            pending = self.outcomes.pending_items(batch)
            batch.queue.release(len(pending), payload_size(pending))
            self.outcomes.fail(pending, reason, message, queue=batch.queue)
        self.judging.clear()


def _unusable(request: Request, entries: Sequence[dict[str, str]]) -> RequestError | None:
    """Return the error for a response without a result for any record. None if the response is usable."""
    if len(entries) != len(request.batches):
        message = f"the response has {len(entries)} entries for {len(request.batches)} records"
        return RequestError("RecordCountMismatch", message, maybe_written=True)
    if isinstance(entries, Accepted):
        return None
    if any(entry.get("SequenceNumber") or entry.get("ErrorCode") for entry in entries):
        return None
    return RequestError(MALFORMED, entries[0].get("ErrorMessage") or "the entry is empty", maybe_written=True)


def _malformed(item: PendingRecord) -> int:
    """Return how many of the record's attempts had a malformed response."""
    return sum([each.code == MALFORMED for each in item.tries])


def _note_maybe_written(batch: Batch) -> None:
    for item in batch.items:
        item.maybe_written = True
