"""Where records go: the shard map, one queue for each of its shards, and what waits or travels alone without a map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from kplpy.core import policy as rules
from kplpy.core.batching.collector import NEVER, Collector
from kplpy.core.batching.limiter import Limiter
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.flush_tracker import FlushTracker
from kplpy.core.notice import Notice
from kplpy.core.policy import Policy
from kplpy.core.record import PendingRecord
from kplpy.core.routing.grouping import append_by_shard, group_by_shard, is_sparse
from kplpy.core.routing.placement import Placement, Summary
from kplpy.core.routing.shard_map import ShardMap
from kplpy.core.routing.sticky import StickyPartitioner
from kplpy.core.shard_range import ShardRange
from kplpy.core.size_limits import SizeLimits


class Router:
    """Puts each record into the queue of its predicted shard.

    Without a map that can be trusted (`map_missing_since`) records wait, for MAP_PATIENCE at the most; then they travel
    alone, which is slower, but nothing can land on a wrong shard.
    """

    def __init__(
        self,
        policy: Policy,
        collector: Collector,
        flushes: FlushTracker,
        sizes: SizeLimits,
        random: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._sizes = sizes
        self._collector = collector
        self._flushes = flushes
        self._random = random
        self.map = ShardMap()
        self.queues: list[ShardQueue] = []  # aligned with map.open; none while `placed_by_service`
        self.alone: ShardQueue | None = None
        self.waiting: list[PendingRecord] = []  # for the shard map
        self.map_missing_since: float | None = None
        self.notices: list[Notice] = []
        self.missing_map_reported = False  # that records travel alone
        self.listing_failure = ""  # the latest one's reason
        self.patience_begins = -NEVER  # with the map, not before this; infinite while the client is being made
        self.placement = Placement(policy.assumed_strategy, random)
        # The service chooses the shards (RecordDistributionStrategy AUTO): all records travel alone, in one queue.
        self.placed_by_service = False
        self._keys_refused = False
        self._contrary = 0  # records in a row that landed as they would under the other strategy
        self._sticky = StickyPartitioner(random)

    def __iter__(self) -> Iterator[ShardQueue]:
        yield from self.queues
        if self.alone is not None:
            yield self.alone

    # --- routing ---

    def can_route(self, now: float) -> bool:
        """Can records be routed? If not, they are to wait."""
        if not self.map.trusted(now):
            if self.map_missing_since is None:
                self.placement.ask_again()
            self._note_missing_map(now)
        return self.map_missing_since is None

    def accept(self, items: Sequence[PendingRecord], number: int, now: float) -> int:
        """Number the records, from `number` on, and route each; returns the next number."""
        if self.placed_by_service or not self.map.covers_all_keys:
            for item in items:
                item.number = number
                number += 1
                self.route(item, now)
            return number
        sparse = self._policy.aggregate and is_sparse(items, len(self.queues))
        deal = append_by_shard if sparse else group_by_shard
        return deal(
            items,
            number,
            self.map,
            self.queues,
            lambda item: self.route(item, now),
            lambda batch: self._collector.opened(batch, now),
        )

    def route(self, item: PendingRecord, now: float) -> None:
        if item.keyless and not self.placed_by_service:
            queue = self._sticky.choose(self.queues, now)
        else:
            queue = self.queue_of(item.hash_key)
        self._put(item, queue or self._alone_queue(now), now)

    def queue_of(self, hash_key: int) -> ShardQueue | None:
        """Where a record with this hash key would go now; None: alone, and there is no queue for that yet."""
        if self.placed_by_service or self.map_missing_since is not None:
            return self.alone
        index = self.map.index_of(hash_key)
        return self.queues[index] if index >= 0 else self.alone

    def _put(self, item: PendingRecord, queue: ShardQueue, now: float) -> None:
        if item.keyless:
            self._sticky.give_key(item, queue.shard)
        for batch in queue.add([item], bool(item.tries)):
            self._collector.opened(batch, now)

    def wait(self, items: Iterable[PendingRecord], now: float) -> None:
        self.waiting.extend(items)
        self.check_patience(now)

    def reroute(self, items: list[PendingRecord], now: float) -> None:
        """Send records through prediction again, those of an old batch or of a shard that is no more."""
        if not items:
            return
        if self.map_missing_since is not None:
            self.wait(items, now)
            return
        for item in self._by_number(items):
            self.route(item, now)
        # An old record may have joined a younger open aggregate, whose deadline is then the older one's.
        for queue in self.queues:
            if queue.open is not None:
                self._collector.opened(queue.open, now)
        if self._flushes:
            self._collector.close_all(now)

    def _by_number(self, items: list[PendingRecord]) -> list[PendingRecord]:
        """The records sorted; in ordered mode together with those that wait where one of them belongs before them."""
        if self._policy.ordered and items:
            first = min(item.number for item in items)
            anywhere = any(item.keyless for item in items)
            for queue in list(self) if anywhere else {self.queue_of(item.hash_key): None for item in items}:
                if queue is not None and queue.newest() > first:
                    items = items + self.empty(queue)
        return sorted(items, key=lambda each: each.number)

    def is_current(self, queue: ShardQueue) -> bool:
        """May a batch be queued again in this queue, as it is?"""
        return queue is self.alone or (self.map_missing_since is None and queue.alive)

    def empty(self, queue: ShardQueue) -> list[PendingRecord]:
        items = queue.take_all()
        self._collector.drop(queue)
        return items

    def _alone_queue(self, now: float) -> ShardQueue:
        if self.alone is None:
            count = len(self.map.open) or self.placement.open_shards or 1
            self.alone = ShardQueue(None, self._policy, Limiter(self._policy.rate, now, count), self._sizes)
            self.alone.omits_keys = self._omits_keys
        return self.alone

    @property
    def _omits_keys(self) -> bool:
        return self.placed_by_service and self.placement.known and not self._keys_refused

    # --- the map ---

    def update_map(self, shards: Iterable[ShardRange], now: float) -> None:
        self.map.update(shards, now)
        # Records that wait for the map wait for the strategy as well.
        if self.map.ready and not (self.map_missing_since is not None and self.placement.is_asking):
            self._open_queues(now)

    def described(self, summary: Summary, now: float) -> None:
        """The answer to what `placement` asked for."""
        self._sizes.described(summary.max_record_size, self.placement.may_ask_at)
        notice = self.placement.learnt(summary)
        if notice:
            self.notices.append(notice)
        self._keys_refused = False
        if self.map.ready:
            self._open_queues(now)

    def _open_queues(self, now: float) -> None:
        """The queues that the map and the strategy call for; the records of others are routed again."""
        if self.missing_map_reported:
            self.notices.append(Notice("shards_listed_again"))
            self.missing_map_reported = False
        self.map_missing_since = None
        self.placed_by_service = self.placement.placed_by_service
        if self.placed_by_service and not self.map.wanted:  # the number of shards is its limit
            self.map.relist(now, rules.STRATEGY_POLL * (1 + self._random() / 2))
        items, self.waiting = self.waiting, []
        kept = {queue.shard: queue for queue in self.queues}
        queues: list[ShardQueue] = []
        for shard in () if self.placed_by_service else self.map.open:
            queue = kept.pop(shard, None)
            if queue is None:
                queue = ShardQueue(shard, self._policy, Limiter(self._policy.rate, now), self._sizes)
            queue.shard = shard  # the very object that the map has: that it is known is seen at a glance
            queues.append(queue)
        self.queues = queues
        dead = list(kept.values())
        alone = self.alone
        if alone is not None and not (
            self.placed_by_service and alone.shards == len(self.map.open) and alone.omits_keys == self._omits_keys
        ):
            dead.append(alone)
            self.alone = None
        for queue in dead:
            queue.alive = False
            items += self.empty(queue)
        self.reroute(items, now)

    def note_landing(self, hash_key: int, actual: str, now: float) -> bool:
        """A record with this hash key, written alone or leading an aggregate, is on shard `actual`.

        True: the key did not decide that. A shard's range never changes, so a shard that is known not to hold the key
        is proof; where the service places the records, those that land by their keys count.
        """
        known = self.map.range_of(actual)
        if known is None:
            return False
        by_key = known.holds(hash_key)
        if by_key == self.placed_by_service and len(self.map.open) > 1:
            self._contrary += 1
            if not by_key or self._contrary >= rules.PLACEMENT_PROOF:
                self._contrary = 0
                self.notices.append(self.placement.observed(not by_key))
                if self.map.ready:
                    self._open_queues(now)
        else:
            self._contrary = 0
        return not by_key

    def keys_are_refused(self, batches: Iterable[Batch], now: float) -> bool:
        """A request was found invalid: can it be for want of keys, which only a service-managed stream does without?"""
        if not any(batch.outer_key is None for batch in batches):
            return False
        queue = self.alone
        if queue is not None and queue.omits_keys:
            self._keys_refused = True
            self.placement.ask_again()
            self.alone = None
            queue.alive = False
            self.reroute(self.empty(queue), now)
        return True

    def distrust(self, queue: ShardQueue, seen_at: float, now: float) -> None:
        """A request of `seen_at` was taken by another shard than the queue's.

        At first everything waits for a fresh listing. If that shows the shard still open, it is behind the stream:
        the queue's records travel alone, and fresh ones are asked for now and then.
        """
        if queue.shard is None:
            return
        if queue.aggregation_suspended:
            self.placement.ask_again()
            self.map.relist(now)
        elif self.map.invalidate(seen_at, queue.shard.shard_id):
            self._note_missing_map(now)

    def suspend_aggregation(self, queue: ShardQueue, now: float) -> None:
        """A fresh listing does not explain where the queue's records land."""
        self.placement.ask_again()
        self.map.relist(now)
        if queue.alive and queue.shard is not None and not queue.aggregation_suspended:
            items = self.empty(queue)
            queue.suspend_aggregation(now)
            self.reroute(items, now)

    def stream_missing(self, now: float) -> None:
        """There is no such stream: what comes in its place may have other shards under the same ids."""
        self.placement.ask_again()
        self._sizes.forget()
        self.map.seen_missing()
        self._note_missing_map(now)

    def _note_missing_map(self, now: float) -> None:
        if self.map_missing_since is None:
            self.map_missing_since = now

    @property
    def needs_listings(self) -> bool:
        """Is there a use for a listing?"""
        return self.map_missing_since is not None or self.map.ready

    # --- patience ---

    def waits_for_map(self, now: float) -> bool:
        """Is everything held back until the map is there again?"""
        return self.map_missing_since is not None and now < self.waits_until

    @property
    def waits_until(self) -> float:
        if self.map_missing_since is None:
            return NEVER
        return max(self.map_missing_since, self.patience_begins) + rules.MAP_PATIENCE

    def end_patience(self, now: float) -> None:
        """Records go alone now: what stopped the listing stops PutRecords too, and is to show there."""
        self.patience_begins = -NEVER
        if self.map_missing_since is not None:
            self.map_missing_since = min(self.map_missing_since, now - rules.MAP_PATIENCE)

    def reason_for_waiting(self) -> str:
        """What records wait for that no queue has."""
        if self.patience_begins == NEVER:
            return "the AWS client is still being made"
        if self.listing_failure:
            return f"the shards cannot be listed ({self.listing_failure})"
        if self.map.ready and self.placement.is_asking:
            return "DescribeStreamSummary has no answer yet, and the shards cannot be chosen without it"
        return "ListShards has no answer yet, and the shard cannot be chosen without it"

    def report_missing_map(self, now: float) -> None:
        """Records were delivered: without a map they travelled alone. Where none are, their own errors say why."""
        if self.map_missing_since is not None and not self.missing_map_reported and not self.waits_for_map(now):
            self.missing_map_reported = True
            reason = self.listing_failure or "no answer yet"
            self.notices.append(Notice("shards_not_listed", {"reason": reason}))

    def report_unknown_strategy(self) -> None:
        """Records were delivered: if the strategy cannot be learnt, tell what to set."""
        notice = self.placement.unknown_strategy()
        if notice is not None:
            self.notices.append(notice)

    def check_patience(self, now: float) -> None:
        if self.map_missing_since is None or self.waits_for_map(now):
            return
        if self.map.ready:  # the strategy alone is awaited
            self._open_queues(now)
            return
        items, self.waiting = self.waiting, []
        for queue in self.queues:
            if queue.closed_batches or queue.open is not None:
                items += self.empty(queue)
        if not items:
            return
        alone = self._alone_queue(now)
        for item in self._by_number(items):
            self._put(item, alone, now)
        if self._flushes:
            self._collector.close_all(now)
