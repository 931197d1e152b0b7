"""What an answer means for each batch of its request: delivered, judged once the map is fresh, retried, or failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from kplpy.core import policy as rules
from kplpy.core.aggregator import Batch
from kplpy.core.collector import NEVER, Collector
from kplpy.core.endings import WRONG_SHARD, Endings
from kplpy.core.events import Events
from kplpy.core.hunt import Hunt
from kplpy.core.item import Reason, Try, add_tries, payload_size
from kplpy.core.lane import Lane
from kplpy.core.outage import Outage
from kplpy.core.policy import Policy
from kplpy.core.request import Request
from kplpy.core.retry import (
    NOT_FOUND,
    THROTTLED,
    Exchange,
    Landing,
    RequestError,
    Verdict,
    backoff,
    judge_error,
    judge_landing,
)
from kplpy.core.router import Router
from kplpy.core.totals import Totals
from kplpy.escaping import shown


@dataclass(slots=True)
class _Judged:
    """An aggregate that cannot be judged by the listing at hand; at `until` it is sent again without one that can."""

    batch: Batch
    entry: dict[str, str]
    attempt: Try
    until: float


class Answers:
    """Judges answers; see retry.py for the rules, which are pure functions."""

    def __init__(
        self, policy: Policy, router: Router, collector: Collector, totals: Totals, random: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._router = router
        self._totals = totals
        self._random = random
        self.outage = Outage(random)
        self.hunt = Hunt()
        self.judging: list[_Judged] = []
        self.events = Events()
        self.endings = Endings(policy, router, collector, totals, self.hunt, self.outage)

    # --- answers ---

    def take(self, request: Request, exchange: Exchange, now: float) -> None:
        entries = exchange.entries or ()
        error = exchange.error
        if error is None and len(entries) != len(request.batches):
            message = f"the answer has {len(entries)} entries for {len(request.batches)} records"
            error = RequestError("RecordCountMismatch", message, maybe_written=True)
            exchange = replace(exchange, entries=None, error=error)
        if error is not None:
            self.events.exchanges.append((request, exchange, 0))
            self._request_failed(request, error, exchange, now)
            return
        if self.outage.lasts:
            self._router.map.hurry(now)
        self.outage.over()
        self._router.say_blind(now)
        self._router.say_unknown()
        self.hunt.interrupted()
        success = Try(exchange.wall, exchange.started, exchange.ended)
        vouched = self._router.map.vouches_for(exchange.ended)
        tries: dict[tuple[str, str], Try] = {}
        refused: list[tuple[Batch, Try]] = []
        # As nearly all are: taken by the shard that was predicted. Limits are told of a lane's together.
        as_predicted: defaultdict[Lane, list[Batch]] = defaultdict(list)
        delivered: list[tuple[Batch, dict[str, str]]] = []
        plain = vouched and not self._router.managed
        range_of = self._router.map.range_of
        for batch, entry in zip(request.batches, entries, strict=True):
            if entry.get("SequenceNumber"):
                shard = batch.lane.shard
                if plain and shard is not None and range_of(entry.get("ShardId", "")) is shard:
                    as_predicted[batch.lane].append(batch)
                    delivered.append((batch, entry))
                elif self._accepted(batch, entry, success, vouched, now):
                    delivered.append((batch, entry))
                continue
            code = shown(entry.get("ErrorCode") or "UnknownError")
            message = shown(entry.get("ErrorMessage") or "the service gave no reason")
            attempt = tries.get((code, message))
            if attempt is None:
                attempt = tries[code, message] = Try(exchange.wall, exchange.started, exchange.ended, code, message)
            refused.append((batch, attempt))
        self.events.exchanges.append((request, exchange, len(refused)))
        self.endings.deliver_all(delivered, success)
        for lane, batches in as_predicted.items():
            lane.took(success.started, len(batches))
            lane.limiter.accepted(sum([batch.wire_size for batch in batches]), now, len(batches))
        if vouched and len(refused) < len(entries):
            self._router.map.seen_alive(exchange.started)
        for batch, attempt in reversed(refused):  # each goes back before the later ones
            self._refused(batch, attempt, now)

    def _accepted(self, batch: Batch, entry: dict[str, str], success: Try, vouched: bool, now: float) -> bool:
        """Is it delivered, where consumers can read it? If not, what becomes of it is seen to."""
        lane = batch.lane
        actual = entry.get("ShardId", "")
        landing = Landing.UNKNOWN_SHARD
        if vouched or not batch.aggregated:
            landing = self._land(batch, actual)
        if landing is Landing.UNKNOWN_SHARD:
            if self.endings.all_gone(batch):
                self.endings.live(batch)
            else:
                latest = min(now + rules.JUDGE_PATIENCE, batch.arrival + self._policy.waiting_ttl)
                self.judging.append(_Judged(batch, entry, success, max(latest, now + rules.MAP_PATIENCE)))
            self._router.distrust(lane, success.started, now)
            self._router.map.relist(now)
            return False
        if vouched and batch.outer_key is not None and self._router.landed(batch.items[0].hash_key, actual, now):
            pass  # it says nothing of the map
        elif lane.shard is not None and actual != lane.shard.shard_id:
            listed_at = self._router.map.updated_at
            self._router.distrust(lane, success.started, now)
            if lane.missed_at < listed_at < success.started:
                self._router.doubt(lane, now)  # a fresh listing did not help
            lane.missed(success.started)
        elif vouched:
            lane.took(success.started)
            lane.limiter.accepted(batch.wire_size, now)
        if landing is Landing.WRONG_SHARD:
            self._landed_wrong(batch, actual, success, now)
        return landing is Landing.DELIVERED

    def _land(self, batch: Batch, actual: str) -> Landing:
        predicted = batch.lane.shard
        known = self._router.map.range_of(actual)
        return judge_landing(predicted, batch.aggregated, (item.hash_key for item in batch.items), known)

    def listed(self, now: float) -> None:
        """There is a fresh listing: judge again what the one before did not explain."""
        judging, self.judging = self.judging, []
        for each in judging:
            batch, actual = each.batch, each.entry.get("ShardId", "")
            # By ranges alone: an id says nothing where the stream may have been recreated.
            known = self._router.map.range_of(actual)
            landing = judge_landing(None, True, (item.hash_key for item in batch.items), known)
            if landing is Landing.DELIVERED:
                self.endings.deliver(batch, each.entry, each.attempt)
            elif landing is Landing.WRONG_SHARD:
                self._landed_wrong(batch, actual, each.attempt, now)
            else:
                self.judging.append(each)
            predicted = batch.lane.shard
            misled = predicted in self._router.map.open and predicted is not None and predicted.shard_id != actual
            if landing is Landing.UNKNOWN_SHARD or misled:
                self._router.doubt(batch.lane, now)

    def hunt_in_open_shards(self, now: float) -> None:
        """What the hunt holds for closed ones goes through prediction again; consumers would drop it there."""
        for lane in {batch.lane: None for batch in self.hunt if not batch.lane.alive}:
            for batch in self.hunt.take_of(lane):
                self.endings.send_again(batch, now)

    def check_patience(self, now: float) -> None:
        """Send again what no listing has explained for too long."""
        if not any(each.until <= now for each in self.judging):
            return
        judging, self.judging = self.judging, []
        for each in judging:
            if each.until <= now:
                self._landed_wrong(each.batch, each.entry.get("ShardId", ""), each.attempt, now)
            else:
                self.judging.append(each)

    def _landed_wrong(self, batch: Batch, actual: str, success: Try, now: float) -> None:
        self._totals.wrong_shard += 1
        self.events.misplaced.append(batch)
        predicted = batch.lane.shard.shard_id if batch.lane.shard is not None else None
        message = f"landed on {actual} instead of {predicted}, where consumers would drop it"
        if actual == predicted:
            message = f"landed on {actual}, and whether that still has the same range could not be learnt in time"
        _note_maybe_written(batch)
        self.endings.retry(batch, Try(success.wall, success.started, success.ended, WRONG_SHARD, message), now)

    def _refused(self, batch: Batch, attempt: Try, now: float) -> None:
        lane = batch.lane
        if attempt.code == THROTTLED:
            self._totals.entries_throttled += 1
            lane.limiter.refused(attempt.started, now)
            if self._policy.fail_if_throttled:
                self.endings.give_up(batch, attempt, Reason.THROTTLED)
                return
        else:
            self._totals.entries_failed += 1
        if lane.not_before <= now:
            # One step an answer: the other entries of the same burst say nothing new.
            lane.not_before = now + backoff(lane.failures, self._random())
            lane.failures += 1
            lane.limiter.rest(lane.not_before)
        self.endings.retry(batch, attempt, now)

    def _request_failed(self, request: Request, error: RequestError, exchange: Exchange, now: float) -> None:
        self._totals.requests_failed += 1
        attempt = Try(exchange.wall, exchange.started, exchange.ended, error.code, error.message)
        verdict = judge_error(error)
        if error.maybe_written:
            for batch in request.batches:
                _note_maybe_written(batch)
        if verdict is Verdict.INVALID:
            if self._router.keys_are_refused(request.batches, now):
                for batch in reversed(request.batches):
                    self.endings.retry(batch, attempt, now)
            else:
                self._hunt_among(request.batches, attempt, error.cause)
            return
        self.hunt.interrupted()
        if error.code == NOT_FOUND:
            self._router.missing(now)
        self.outage.failed(exchange.started, now, error)
        if verdict is Verdict.GRACE and self.outage.denied(now):
            for batch in request.batches:
                self.endings.give_up(batch, attempt, Reason.REJECTED, error.cause)
            # What waits would meet with the same, but at an outage's pace: most of it would expire instead.
            self.endings.fail_waiting(Reason.REJECTED, f"{error.code}: {error.message}", error.cause, error.code)
            return
        for batch in reversed(request.batches):
            self.endings.retry(batch, attempt, now)

    def _hunt_among(self, batches: list[Batch], attempt: Try, cause: BaseException | None) -> None:
        live = [kept for batch in batches if (kept := self.endings.live(batch)) is not None]
        if not live:
            return
        for batch in live:
            batch.tried = True
            add_tries(batch.items, attempt)
        sent = sum(len(batch.items) for batch in batches)
        conclusive = sent == sum(len(batch.items) for batch in live)
        for batch in self.hunt.refused(live, conclusive):
            batch.lane.release(len(batch.items), batch.payload)
            message = f"{attempt.code}: {attempt.message}"
            self.endings.fail(batch.items, Reason.REJECTED, message, cause, batch.lane, attempt.code or "")

    # --- what is under way ---

    def expire_under_way(self, batches: list[Batch], now: float) -> float:
        """user_record_timeout covers records under way too. Returns the arrival of the oldest that is left."""
        oldest = self.endings.expire_under_way([*batches, *(each.batch for each in self.judging)], now)
        self.judging = [each for each in self.judging if not self.endings.all_gone(each.batch)]
        return oldest

    def oldest(self, batches: list[Batch]) -> float:
        """When the oldest record without an answer arrived, of what is under way (`batches`), judged and hunted."""
        held = [*batches, *(each.batch for each in self.judging), *self.hunt]
        return min((self.endings.oldest(batch) for batch in held), default=NEVER)

    def give_up(self, batches: list[Batch], reason: Reason, message: str) -> None:
        """Fail everything that has no answer yet, of what is under way (`batches`), judged and hunted."""
        for batch in [*batches, *(each.batch for each in self.judging)]:
            _note_maybe_written(batch)
            live = self.endings.live_items(batch)
            batch.lane.release(len(live), payload_size(live))
            self.endings.fail(live, reason, message, lane=batch.lane)
        self.judging.clear()
        for batch in self.hunt.take_all():
            batch.lane.release(len(batch.items), batch.payload)
            self.endings.fail(batch.items, reason, message, lane=batch.lane)


def _note_maybe_written(batch: Batch) -> None:
    for item in batch.items:
        item.maybe_written = True
