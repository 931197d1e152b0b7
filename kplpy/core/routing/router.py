"""Routes records: the shard map, a queue for each of its shards, and records without a predicted shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter

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

HEADERS_REFUSED = (
    "the stream is service-managed (RecordDistributionStrategy AUTO), where headers need a compressed batch: set "
    'compression="gzip" or "zstd", or put the record without headers'
)


class Router:
    """Puts each record into the queue of its predicted shard.

    Without a map that can be trusted, records wait for MAP_PATIENCE at most. Then they travel alone, unaggregated. That
    is slower, but they cannot land on a wrong shard.

    map: the shard map.
    queues: one for each shard in map.open, in the same order. Empty while `placed_by_service`.
    alone: the queue of records that travel alone, if there is one.
    waiting: records that wait for the shard map.
    map_missing_since: since when the map cannot be trusted. None while it can.
    notices: log events for the caller.
    missing_map_reported: it is logged that records travel alone.
    listing_failure: why the latest listing failed. Empty if it did not.
    listing_denied: the latest listing failed because these credentials may not list shards.
    patience_begins: waiting for the map counts from here at the earliest. Infinite while the client is being made.
    placement: who chooses the shards, as far as it is known.
    placed_by_service: the service chooses the shards (RecordDistributionStrategy AUTO). All records are in the queue
        `alone`. With compression they are packed there.
    refused: records with headers for such a stream without compression, which cannot be sent. The pipeline fails them.
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
        self.queues: list[ShardQueue] = []
        self.alone: ShardQueue | None = None
        self.waiting: list[PendingRecord] = []
        self.refused: list[PendingRecord] = []
        self.map_missing_since: float | None = None
        self.notices: list[Notice] = []
        self.missing_map_reported = False
        self.listing_failure = ""
        self.listing_denied = False
        self.patience_begins = -NEVER
        self.placement = Placement(policy.assumed_strategy, random)
        self.placed_by_service = False
        self._keys_refused = False
        self._contrary_landings = 0  # records in a row that landed as they would under the other strategy
        self._sticky = StickyPartitioner(random)

    def __iter__(self) -> Iterator[ShardQueue]:
        yield from self.queues
        if self.alone is not None:
            yield self.alone

    # --- routing ---

    def can_route(self, now: float) -> bool:
        """Return True if records can be routed. Otherwise they must wait."""
        if not self.map.trusted(now):
            if self.map_missing_since is None:
                self.placement.ask_again()
            self._note_missing_map(now)
        return self.map_missing_since is None

    def accept(self, items: Sequence[PendingRecord], number: int, now: float) -> int:
        """Number the records, from `number` on, and route each. Return the next number."""
        if self._packs_anywhere:
            return self._accept_anywhere(items, number, now)
        if self.placed_by_service or not self.map.covers_all_keys:
            for item in items:
                item.number = number
                number += 1
                self.route(item, now)
            return number
        sparse = self._policy.aggregate and is_sparse(items, len(self.queues))
        group = append_by_shard if sparse else group_by_shard
        return group(
            items,
            number,
            self.map,
            self.queues,
            lambda item: self.route(item, now),
            lambda batch: self._collector.opened(batch, now),
        )

    def _accept_anywhere(self, items: Sequence[PendingRecord], number: int, now: float) -> int:
        """Do the same as `accept` where the service places the records. They are added together, as in grouping.py."""
        queue = self._alone_queue(now)
        joins = queue.open is not None
        for item in items:
            item.number = number
            number += 1
            if item.keyless:
                self._sticky.give_key(item, None, joins)
                joins = True
        for batch in queue.add(list(items)):
            self._collector.opened(batch, now)
        return number

    def route(self, item: PendingRecord, now: float) -> None:
        """Put the record into the queue of its shard."""
        if self.placed_by_service and item.tags and not self._packs_anywhere:
            self.refused.append(item)  # headers need an aggregate, which the KCL would drop on most shards
            return
        if item.keyless and not self.placed_by_service:
            queue = self._sticky.choose(self.queues, now)
        else:
            queue = self.queue_of(item.hash_key)
        self._put(item, queue or self._alone_queue(now), now)

    def queue_of(self, hash_key: int) -> ShardQueue | None:
        """Return the queue of records with this hash key. None: they travel alone, and that queue is not there yet."""
        if self.placed_by_service or self.map_missing_since is not None:
            return self.alone
        index = self.map.index_of(hash_key)
        return self.queues[index] if index >= 0 else self.alone

    def _put(self, item: PendingRecord, queue: ShardQueue, now: float) -> None:
        if item.keyless:
            self._sticky.give_key(item, queue.shard, queue.open is not None)
        for batch in queue.add([item], bool(item.tries)):
            self._collector.opened(batch, now)

    def wait(self, items: Iterable[PendingRecord], now: float) -> None:
        """Let the records wait for the shard map."""
        self.waiting.extend(items)
        self.check_patience(now)

    def reroute(self, items: list[PendingRecord], now: float) -> None:
        """Route records of an old batch or of a closed shard again."""
        if not items:
            return
        if self.map_missing_since is not None:
            self.wait(items, now)
            return
        items = self._by_number(items)
        first = items[0].number
        if items[-1].number == first + len(items) - 1 and not any(map(_was_queued, items)):
            self.accept(items, first, now)  # much faster for many records; their numbers stay
        else:
            for item in items:
                self.route(item, now)
        self._count_deadlines(now)
        if self._flushes:
            self._collector.close_all(now)

    def _count_deadlines(self, now: float) -> None:
        """An old record may have joined a younger open batch. Then the older deadline counts."""
        for queue in self:
            if queue.open is not None:
                self._collector.opened(queue.open, now)

    def _by_number(self, items: list[PendingRecord]) -> list[PendingRecord]:
        """Return the records sorted by number.

        In ordered mode, also take along the records of each queue that must come after one of them.
        """
        if self._policy.ordered and items:
            first = min(item.number for item in items)
            anywhere = any(item.keyless for item in items)
            for queue in list(self) if anywhere else {self.queue_of(item.hash_key): None for item in items}:
                if queue is not None and queue.newest() > first:
                    items = items + self.empty(queue)
        return sorted(items, key=attrgetter("number"))

    def is_current(self, queue: ShardQueue) -> bool:
        """Return True if a batch of this queue can be queued in it again, unchanged."""
        return queue is self.alone or (self.map_missing_since is None and queue.alive)

    def empty(self, queue: ShardQueue) -> list[PendingRecord]:
        """Remove all records from the queue and return them."""
        items = queue.take_all()
        self._collector.drop(queue)
        return items

    def _alone_queue(self, now: float) -> ShardQueue:
        if self.alone is None:
            count = len(self.map.open) or self.placement.open_shards or 1
            limiter = Limiter(self._policy.rate, now, count)
            self.alone = ShardQueue(None, self._policy, limiter, self._sizes, self._packs_anywhere)
            self.alone.omits_keys = self._omits_keys
            if self.placed_by_service:
                self.alone.wraps_singles = False
        return self.alone

    @property
    def _packs_anywhere(self) -> bool:
        """True if records without a predicted shard travel in batches, which must be compressed ones."""
        return self.placed_by_service and self._policy.compression is not None

    @property
    def _omits_keys(self) -> bool:
        return self.placed_by_service and self.placement.known and not self._keys_refused

    # --- the map ---

    def update_map(self, shards: Iterable[ShardRange], now: float) -> None:
        """A listing has ended: open the queues of its shards."""
        self.map.update(shards, now)
        # Records that wait for the map also wait for the strategy.
        if self.map.ready and not (self.map_missing_since is not None and self.placement.is_asking):
            self._open_queues(now)

    def described(self, summary: Summary, now: float) -> None:
        """DescribeStreamSummary has ended. Take over the strategy and the size limit."""
        self._sizes.described(summary.max_record_size, self.placement.may_ask_at)
        notice = self.placement.learnt(summary)
        if notice:
            self.notices.append(notice)
        self._keys_refused = False
        if self.map.ready:
            self._open_queues(now)

    def _open_queues(self, now: float) -> None:
        """Make the queues fit the map and the strategy. Records of other queues are routed again."""
        if self.missing_map_reported:
            self.notices.append(Notice("shards_listed_again"))
            self.missing_map_reported = False
        self.map_missing_since = None
        was_placed_by_service, self.placed_by_service = self.placed_by_service, self.placement.placed_by_service
        if self.placed_by_service and not self.map.wanted:  # the number of shards sets the rate limit
            self.map.relist(now, rules.STRATEGY_POLL * (1 + self._random() / 2))
        items, self.waiting = self.waiting, []
        kept = {queue.shard: queue for queue in self.queues}
        queues: list[ShardQueue] = []
        for shard in () if self.placed_by_service else self.map.open:
            queue = kept.pop(shard, None)
            if queue is None:
                queue = self._new_queue(shard, now)
            queue.shard = shard  # the same object as in the map, so that identity decides that it is known
            queues.append(queue)
        self.queues = queues
        dead = list(kept.values())
        alone = self.alone
        if alone is not None and not (  # other queues may hold aggregates of one record
            was_placed_by_service
            and self.placed_by_service
            and alone.packs_anywhere == self._packs_anywhere
            and alone.shards == len(self.map.open)
            and alone.omits_keys == self._omits_keys
        ):
            dead.append(alone)
            self.alone = None
        for queue in dead:
            queue.alive = False
            items += self.empty(queue)
        self.reroute(items, now)

    def _new_queue(self, shard: ShardRange, now: float) -> ShardQueue:
        return ShardQueue(shard, self._policy, Limiter(self._policy.rate, now), self._sizes)

    def note_landing(self, hash_key: int, actual: str, now: float) -> bool:
        """Learn the strategy from a record with this hash key that landed on shard `actual`.

        The record was written alone or is the first of an aggregate. Return True if the key did not decide the shard.

        One record outside the shard's range proves that the service places the records, because ranges never change.
        PLACEMENT_PROOF records in a row inside their ranges show that the keys do.
        """
        known = self.map.range_of(actual)
        if known is None:
            return False
        by_key = known.holds(hash_key)
        if by_key == self.placed_by_service and len(self.map.open) > 1:
            self._contrary_landings += 1
            if not by_key or self._contrary_landings >= rules.PLACEMENT_PROOF:
                self._contrary_landings = 0
                self.notices.append(self.placement.observed(not by_key))
                if self.map.ready:
                    self._open_queues(now)
        else:
            self._contrary_landings = 0
        return not by_key

    def keys_are_refused(self, batches: Iterable[Batch], now: float) -> bool:
        """Return True if the request may be invalid because it has records without keys.

        Only a service-managed stream takes such records. Records get their keys again from now on.
        """
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
        """Another shard took a record of the queue. seen_at: when its request was sent.

        At first, all records wait for a new listing. If that listing shows the queue's shard still open, ListShards is
        stale. Then the queue's records travel alone, and kplpy lists the shards again from time to time.
        """
        if queue.shard is None:
            return
        if queue.aggregation_suspended:
            self.placement.ask_again()
            self.map.relist(now)
        elif self.map.invalidate(seen_at, queue.shard.shard_id):
            self._note_missing_map(now)

    def suspend_aggregation(self, queue: ShardQueue, now: float) -> None:
        """Let the queue's records travel alone: a new listing does not explain where they land."""
        self.placement.ask_again()
        self.map.relist(now)
        if queue.alive and queue.shard is not None and not queue.aggregation_suspended:
            items = self.empty(queue)
            queue.suspend_aggregation(now)
            self.reroute(items, now)

    def stream_missing(self, now: float) -> None:
        """The stream does not exist. A new one in its place may have the same shard ids with other ranges."""
        self.placement.ask_again()
        self._sizes.forget()
        self.map.seen_missing()
        self._note_missing_map(now)

    def _note_missing_map(self, now: float) -> None:
        if self.map_missing_since is None:
            self.map_missing_since = now

    @property
    def needs_listings(self) -> bool:
        """Return True if a listing would help."""
        return self.map_missing_since is not None or self.map.ready

    # --- patience ---

    def waits_for_map(self, now: float) -> bool:
        """Return True while all records wait for the map."""
        return self.map_missing_since is not None and now < self.waits_until

    @property
    def waits_until(self) -> float:
        """When records stop waiting for the map and travel alone. Infinite while there is a map."""
        if self.map_missing_since is None:
            return NEVER
        return max(self.map_missing_since, self.patience_begins) + rules.MAP_PATIENCE

    def end_patience(self, now: float) -> None:
        """Let records travel alone now. The listing's error will also stop PutRecords, and is reported there."""
        self.patience_begins = -NEVER
        if self.map_missing_since is not None:
            self.map_missing_since = min(self.map_missing_since, now - rules.MAP_PATIENCE)

    def reason_for_waiting(self) -> str:
        """Return what records that are in no queue wait for."""
        if self.patience_begins == NEVER:
            return "the AWS client is still being made"
        if self.listing_failure:
            return f"the shards cannot be listed ({self.listing_failure})"
        if self.map.ready and self.placement.is_asking:
            return "DescribeStreamSummary has no response yet, and the shards cannot be chosen without it"
        return "ListShards has no response yet, and the shard cannot be chosen without it"

    def report_missing_map(self, now: float) -> None:
        """Log that records travel alone, without a map. Call it when records are delivered.

        As long as no record is delivered, the records' own errors show the cause.
        """
        if self.map_missing_since is not None and not self.missing_map_reported and not self.waits_for_map(now):
            self.missing_map_reported = True
            reason = self.listing_failure or "no response yet"
            self.notices.append(Notice("shards_not_listed", {"reason": reason}))

    def report_unknown_strategy(self) -> None:
        """Log what to set if the strategy cannot be learnt. Call it when records are delivered."""
        notice = self.placement.unknown_strategy()
        if notice is not None:
            self.notices.append(notice)

    def check_patience(self, now: float) -> None:
        """Let the waiting records travel alone if the wait for the map is over."""
        if self.map_missing_since is None or self.waits_for_map(now):
            return
        if self.map.ready:  # only the strategy was missing
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
        self._count_deadlines(now)
        if self._flushes:
            self._collector.close_all(now)


def _was_queued(item: PendingRecord) -> bool:
    """Return True if the record was sent before, or has the key that was chosen for another shard."""
    return bool(item.tries) or (item.keyless and item.hash_key >= 0)
