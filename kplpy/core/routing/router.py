"""Where records go: the shard map, one lane for each of its shards, and what waits or travels alone without a map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from kplpy.core import policy as rules
from kplpy.core.batching.batch import Batch
from kplpy.core.batching.collector import NEVER, Collector
from kplpy.core.batching.limiter import Limiter
from kplpy.core.batching.shard_queue import Lane
from kplpy.core.flush_tracker import Flushes
from kplpy.core.notice import Notice
from kplpy.core.policy import Policy
from kplpy.core.record import Item
from kplpy.core.routing.grouping import deal_few, deal_many, is_sparse
from kplpy.core.routing.placement import Distribution, Summary
from kplpy.core.routing.shard_map import ShardMap, ShardRange
from kplpy.core.routing.sticky import Keyless
from kplpy.core.size_limits import SizeLimits


class Router:
    """Puts each record into the lane of its predicted shard.

    Without a map that can be trusted (`blind_since`) records wait, for MAP_PATIENCE at the most; then they travel
    alone, which is slower, but nothing can land on a wrong shard.
    """

    def __init__(
        self,
        policy: Policy,
        collector: Collector,
        flushes: Flushes,
        sizes: SizeLimits,
        random: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._sizes = sizes
        self._collector = collector
        self._flushes = flushes
        self._random = random
        self.map = ShardMap()
        self.lanes: list[Lane] = []  # aligned with map.open; none while `managed`
        self.alone: Lane | None = None
        self.waiting: list[Item] = []  # for the shard map
        self.blind_since: float | None = None
        self.notices: list[Notice] = []
        self.said_blind = False  # that records travel alone
        self.listing_failure = ""  # the latest one's reason
        self.patience_begins = -NEVER  # with the map, not before this; infinite while the client is being made
        self.distribution = Distribution(policy.assumed_strategy, random)
        # The service chooses the shards (RecordDistributionStrategy AUTO): all records travel alone, in one lane.
        self.managed = False
        self._keys_refused = False
        self._contrary = 0  # records in a row that landed as they would under the other strategy
        self._keyless = Keyless(random)

    def __iter__(self) -> Iterator[Lane]:
        yield from self.lanes
        if self.alone is not None:
            yield self.alone

    # --- routing ---

    def sees(self, now: float) -> bool:
        """Can records be routed? If not, they are to wait."""
        if not self.map.trusted(now):
            if self.blind_since is None:
                self.distribution.doubt()
            self._go_blind(now)
        return self.blind_since is None

    def accept(self, items: Sequence[Item], number: int, now: float) -> int:
        """Number the records, from `number` on, and route each; returns the next number."""
        if self.managed or not self.map.whole:
            for item in items:
                item.number = number
                number += 1
                self.route(item, now)
            return number
        sparse = self._policy.aggregate and is_sparse(items, len(self.lanes))
        deal = deal_few if sparse else deal_many
        return deal(
            items,
            number,
            self.map,
            self.lanes,
            lambda item: self.route(item, now),
            lambda batch: self._collector.opened(batch, now),
        )

    def route(self, item: Item, now: float) -> None:
        if item.keyless and not self.managed:
            lane = self._keyless.choose(self.lanes, now)
        else:
            lane = self.lane_of(item.hash_key)
        self._put(item, lane or self._alone_lane(now), now)

    def lane_of(self, hash_key: int) -> Lane | None:
        """Where a record with this hash key would go now; None: alone, and there is no lane for that yet."""
        if self.managed or self.blind_since is not None:
            return self.alone
        index = self.map.index_of(hash_key)
        return self.lanes[index] if index >= 0 else self.alone

    def _put(self, item: Item, lane: Lane, now: float) -> None:
        if item.keyless:
            self._keyless.give_key(item, lane.shard)
        for batch in lane.add([item], bool(item.tries)):
            self._collector.opened(batch, now)

    def wait(self, items: Iterable[Item], now: float) -> None:
        self.waiting.extend(items)
        self.check_patience(now)

    def reroute(self, items: list[Item], now: float) -> None:
        """Send records through prediction again, those of an old batch or of a shard that is no more."""
        if not items:
            return
        if self.blind_since is not None:
            self.wait(items, now)
            return
        for item in self._by_number(items):
            self.route(item, now)
        # An old record may have joined a younger open aggregate, whose deadline is then the older one's.
        for lane in self.lanes:
            if lane.open is not None:
                self._collector.opened(lane.open, now)
        if self._flushes:
            self._collector.close_all(now)

    def _by_number(self, items: list[Item]) -> list[Item]:
        """The records sorted; in ordered mode together with those that wait where one of them belongs before them."""
        if self._policy.ordered and items:
            first = min(item.number for item in items)
            anywhere = any(item.keyless for item in items)
            for lane in list(self) if anywhere else {self.lane_of(item.hash_key): None for item in items}:
                if lane is not None and lane.newest() > first:
                    items = items + self.empty(lane)
        return sorted(items, key=lambda each: each.number)

    def lives(self, lane: Lane) -> bool:
        """May a batch be queued again in this lane, as it is?"""
        return lane is self.alone or (self.blind_since is None and lane.alive)

    def empty(self, lane: Lane) -> list[Item]:
        items = lane.take_all()
        self._collector.drop(lane)
        return items

    def _alone_lane(self, now: float) -> Lane:
        if self.alone is None:
            count = len(self.map.open) or self.distribution.open_shards or 1
            self.alone = Lane(None, self._policy, Limiter(self._policy.rate, now, count), self._sizes)
            self.alone.omits_keys = self._omits_keys
        return self.alone

    @property
    def _omits_keys(self) -> bool:
        return self.managed and self.distribution.known and not self._keys_refused

    # --- the map ---

    def listed(self, shards: Iterable[ShardRange], now: float) -> None:
        self.map.listed(shards, now)
        # Records that wait for the map wait for the strategy as well.
        if self.map.ready and not (self.blind_since is not None and self.distribution.asking):
            self._open_lanes(now)

    def described(self, summary: Summary, now: float) -> None:
        """The answer to what `distribution` asked for."""
        self._sizes.described(summary.max_record_size, self.distribution.may_ask_at)
        notice = self.distribution.learnt(summary)
        if notice:
            self.notices.append(notice)
        self._keys_refused = False
        if self.map.ready:
            self._open_lanes(now)

    def _open_lanes(self, now: float) -> None:
        """The lanes that the map and the strategy call for; the records of others are routed again."""
        if self.said_blind:
            self.notices.append(Notice("shards_listed_again"))
            self.said_blind = False
        self.blind_since = None
        self.managed = self.distribution.managed
        if self.managed and not self.map.wanted:  # the number of shards is its limit
            self.map.relist(now, rules.STRATEGY_POLL * (1 + self._random() / 2))
        items, self.waiting = self.waiting, []
        kept = {lane.shard: lane for lane in self.lanes}
        lanes: list[Lane] = []
        for shard in () if self.managed else self.map.open:
            lane = kept.pop(shard, None)
            if lane is None:
                lane = Lane(shard, self._policy, Limiter(self._policy.rate, now), self._sizes)
            lane.shard = shard  # the very object that the map has: that it is known is seen at a glance
            lanes.append(lane)
        self.lanes = lanes
        dead = list(kept.values())
        alone = self.alone
        if alone is not None and not (
            self.managed and alone.shards == len(self.map.open) and alone.omits_keys == self._omits_keys
        ):
            dead.append(alone)
            self.alone = None
        for lane in dead:
            lane.alive = False
            items += self.empty(lane)
        self.reroute(items, now)

    def landed(self, hash_key: int, actual: str, now: float) -> bool:
        """A record with this hash key, written alone or leading an aggregate, is on shard `actual`.

        True: the key did not decide that. A shard's range never changes, so a shard that is known not to hold the key
        is proof; where the service places the records, those that land by their keys count.
        """
        known = self.map.range_of(actual)
        if known is None:
            return False
        by_key = known.holds(hash_key)
        if by_key == self.managed and len(self.map.open) > 1:
            self._contrary += 1
            if not by_key or self._contrary >= rules.PLACEMENT_PROOF:
                self._contrary = 0
                self.notices.append(self.distribution.seen(not by_key))
                if self.map.ready:
                    self._open_lanes(now)
        else:
            self._contrary = 0
        return not by_key

    def keys_are_refused(self, batches: Iterable[Batch], now: float) -> bool:
        """A request was found invalid: can it be for want of keys, which only a service-managed stream does without?"""
        if not any(batch.outer_key is None for batch in batches):
            return False
        lane = self.alone
        if lane is not None and lane.omits_keys:
            self._keys_refused = True
            self.distribution.doubt()
            self.alone = None
            lane.alive = False
            self.reroute(self.empty(lane), now)
        return True

    def distrust(self, lane: Lane, seen_at: float, now: float) -> None:
        """A request of `seen_at` was taken by another shard than the lane's.

        At first everything waits for a fresh listing. If that shows the shard still open, it is behind the stream:
        the lane's records travel alone, and fresh ones are asked for now and then.
        """
        if lane.shard is None:
            return
        if lane.doubted:
            self.distribution.doubt()
            self.map.relist(now)
        elif self.map.invalidate(seen_at, lane.shard.shard_id):
            self._go_blind(now)

    def doubt(self, lane: Lane, now: float) -> None:
        """A fresh listing does not explain where the lane's records land."""
        self.distribution.doubt()
        self.map.relist(now)
        if lane.alive and lane.shard is not None and not lane.doubted:
            items = self.empty(lane)
            lane.doubt(now)
            self.reroute(items, now)

    def missing(self, now: float) -> None:
        """There is no such stream: what comes in its place may have other shards under the same ids."""
        self.distribution.doubt()
        self._sizes.forget()
        self.map.seen_missing()
        self._go_blind(now)

    def _go_blind(self, now: float) -> None:
        if self.blind_since is None:
            self.blind_since = now

    @property
    def asks(self) -> bool:
        """Is there a use for a listing?"""
        return self.blind_since is not None or self.map.ready

    # --- patience ---

    def holds(self, now: float) -> bool:
        """Is everything held back until the map is there again?"""
        return self.blind_since is not None and now < self.holds_until

    @property
    def holds_until(self) -> float:
        if self.blind_since is None:
            return NEVER
        return max(self.blind_since, self.patience_begins) + rules.MAP_PATIENCE

    def end_patience(self, now: float) -> None:
        """Records go alone now: what stopped the listing stops PutRecords too, and is to show there."""
        self.patience_begins = -NEVER
        if self.blind_since is not None:
            self.blind_since = min(self.blind_since, now - rules.MAP_PATIENCE)

    def awaited(self) -> str:
        """What records wait for that no lane has."""
        if self.patience_begins == NEVER:
            return "the AWS client is still being made"
        if self.listing_failure:
            return f"the shards cannot be listed ({self.listing_failure})"
        if self.map.ready and self.distribution.asking:
            return "DescribeStreamSummary has no answer yet, and the shards cannot be chosen without it"
        return "ListShards has no answer yet, and the shard cannot be chosen without it"

    def say_blind(self, now: float) -> None:
        """Records were delivered: without a map they travelled alone. Where none are, their own errors say why."""
        if self.blind_since is not None and not self.said_blind and not self.holds(now):
            self.said_blind = True
            reason = self.listing_failure or "no answer yet"
            self.notices.append(Notice("shards_not_listed", {"reason": reason}))

    def say_unknown(self) -> None:
        """Records were delivered: if the strategy cannot be learnt, tell what to set."""
        notice = self.distribution.unknown()
        if notice is not None:
            self.notices.append(notice)

    def check_patience(self, now: float) -> None:
        if self.blind_since is None or self.holds(now):
            return
        if self.map.ready:  # the strategy alone is awaited
            self._open_lanes(now)
            return
        items, self.waiting = self.waiting, []
        for lane in self.lanes:
            if lane.queue or lane.open is not None:
                items += self.empty(lane)
        if not items:
            return
        alone = self._alone_lane(now)
        for item in self._by_number(items):
            self._put(item, alone, now)
        if self._flushes:
            self._collector.close_all(now)
