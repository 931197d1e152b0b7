"""Routes the records of a delivery stream: to its one queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kplpy.core.batching.collector import NEVER, Collector
from kplpy.core.batching.joined import DeliveryQueue
from kplpy.core.batching.quota_limiter import QuotaLimiter
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.flush_tracker import FlushTracker
from kplpy.core.policy import Policy
from kplpy.core.routing.placement import Placement, Summary
from kplpy.core.routing.router import Router
from kplpy.core.routing.shard_map import ShardMap
from kplpy.core.routing.sticky import EVERYWHERE
from kplpy.core.shard_range import ShardRange
from kplpy.core.size_limits import SizeLimits


class DeliveryRouter(Router):
    """A Router that knows all from the start: a delivery stream is like one shard without an id, for all hash keys.

    Firehose's responses name no shard, which is this shard's id. So all records land as predicted.
    """

    def __init__(
        self,
        policy: Policy,
        collector: Collector,
        flushes: FlushTracker,
        sizes: SizeLimits,
        random: Callable[[], float],
    ) -> None:
        super().__init__(policy, collector, flushes, sizes, random)
        self.map = _OneRange()
        self.placement = _NoPlacement(None, random)

    def can_route(self, now: float) -> bool:
        """Return True. The first call makes the queue."""
        if not self.queues:
            self._open_queues(now)
        return True

    def _new_queue(self, shard: ShardRange, now: float) -> ShardQueue:
        return DeliveryQueue(shard, self._policy, QuotaLimiter(now), self._sizes)

    def update_map(self, shards: Iterable[ShardRange], now: float) -> None:
        """Do nothing, because there are no shards to list."""

    def described(self, summary: Summary, now: float) -> None:
        """Do nothing, because the limits of a record are the same for all delivery streams."""

    def stream_missing(self, now: float) -> None:
        """Do nothing, because a delivery stream that is made again is like the one before."""

    def keys_are_refused(self, batches: Iterable[Batch], now: float) -> bool:
        """Return False: no key is ever sent."""
        return False


class _OneRange(ShardMap):
    """A map of one range that is never listed again."""

    def __init__(self) -> None:
        super().__init__()
        self.update([EVERYWHERE], 0.0)

    def trusted(self, now: float) -> bool:
        return True

    def ids_valid_at(self, ended: float) -> bool:
        return True

    def next_listing(self) -> float:
        return NEVER


class _NoPlacement(Placement):
    """A Placement that asks for nothing."""

    def next_request_at(self) -> float:
        return NEVER
