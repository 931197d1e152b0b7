"""Maps hash keys to shards, and shard ids to ranges of hash keys."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from kplpy.core import policy
from kplpy.core.routing.hash_key_ranges import HashKeyRanges
from kplpy.core.shard_range import LAST_KEY, ShardRange


class ShardMap:
    """The open shards as last listed, and when to list them again. The caller does the listing.

    ready: the last listing is trusted. An invalidated or long unused listing is kept, but not trusted.
    wanted: a new listing is wanted.
    updated_at: when the last listing started.
    open: the open shards, by range.
    ends: the last hash key of each open shard, ascending.
    covers_all_keys: the open shards cover every hash key, so that `ends` alone decides.
    by_first_byte: the index in `open` of the one shard that takes all hash keys with this first byte. -1 if several
        shards take them. Valid while `covers_all_keys`.
    ranges: finds the shards of many records. Valid while `covers_all_keys`.
    """

    def __init__(self) -> None:
        self.ready = False
        self.wanted = True
        self.updated_at = float("-inf")
        self.open: list[ShardRange] = []
        self.ends: list[int] = []
        self.covers_all_keys = False
        self.by_first_byte: list[int] = [-1] * 256
        self.ranges = HashKeyRanges([], self.by_first_byte)
        self._known: dict[str, ShardRange] = {}
        self._closed_at: dict[str, float] = {}
        self._used_at = float("-inf")
        self._alive_at = float("-inf")
        self._listing_since: float | None = None
        self._retry_at = float("-inf")
        self._backoff = self._relisting_backoff = policy.LISTING_BACKOFF_FIRST

    # --- predicting ---

    def trusted(self, now: float) -> bool:
        """Return True if predictions can be trusted. The call counts as use of the map."""
        if self.ready and now - self._used_at > policy.MAP_IDLE_TRUST and now - self.updated_at > policy.MAP_IDLE_TRUST:
            self._mark_stale()
        self._used_at = now
        return self.ready

    def index_of(self, hash_key: int) -> int:
        """Return the index in `open` of the hash key's shard. -1 if there is none."""
        index = bisect_left(self.ends, hash_key)
        if index < len(self.open) and self.open[index].start <= hash_key:
            return index
        return -1

    def _shard_of_all(self, first_byte: int) -> int:
        """Return the value of `by_first_byte` for this byte."""
        first, last = first_byte << 120, (first_byte + 1 << 120) - 1
        index = bisect_left(self.ends, first)
        return index if index == bisect_left(self.ends, last) else -1

    def range_of(self, shard_id: str) -> ShardRange | None:
        """Return the range of an open or recently closed shard. None if the shard is unknown."""
        return self._known.get(shard_id)

    # --- is it still the same stream? ---

    def ids_valid_at(self, ended: float) -> bool:
        """Return True if shard ids at this time mean the shards of the map.

        A stream that was deleted and recreated has the same ids with other ranges. That takes RECREATION_TIME. So it
        has not happened if the map's stream was seen alive within that time before `ended`.
        """
        return ended - self._alive_at < policy.RECREATION_TIME

    def seen_alive(self, at: float) -> None:
        """The map's stream took a record, or was listed, at this time or later."""
        self._alive_at = max(self._alive_at, at)

    def seen_missing(self) -> None:
        """The service responded that the stream does not exist."""
        self._alive_at = float("-inf")
        self._mark_stale()

    # --- listing ---

    def wants_listing(self, now: float) -> bool:
        return self.next_listing() <= now

    def next_listing(self) -> float:
        """Return when the next listing is due. Infinite while one is in flight, or if none is needed."""
        return self._retry_at if self.wanted and self._listing_since is None else float("inf")

    def listing_started(self, now: float) -> None:
        self._listing_since = now

    def update(self, shards: Iterable[ShardRange], now: float) -> None:
        """Take over the open shards, as they were when the listing started."""
        started = self._listing_since if self._listing_since is not None else now
        self._listing_since = None
        if not self.ids_valid_at(started):  # it may be another stream, whose ids have other ranges
            self._known.clear()
            self._closed_at.clear()
        before, self.open = self.open, sorted(shards, key=lambda shard: shard.end)
        self.ends = [shard.end for shard in self.open]
        starts = [shard.start for shard in self.open]
        self.covers_all_keys = (
            bool(starts) and starts == [0, *(end + 1 for end in self.ends[:-1])] and self.ends[-1] == LAST_KEY
        )
        self.by_first_byte = [self._shard_of_all(byte) for byte in range(256)]
        self.ranges = HashKeyRanges(self.ends, self.by_first_byte)
        still_open = {shard.shard_id: shard for shard in self.open}
        for shard_id in self._known:
            if shard_id not in still_open:
                self._closed_at.setdefault(shard_id, now)
        for shard_id in still_open:
            self._closed_at.pop(shard_id, None)
        for shard_id, closed_at in list(self._closed_at.items()):
            if now - closed_at > policy.CLOSED_RANGE_TTL:
                del self._closed_at[shard_id], self._known[shard_id]
        self._known.update(still_open)
        self.ready = bool(self.open)
        self.wanted = not self.ready
        self.updated_at = started
        self.seen_alive(started)
        self._backoff = policy.LISTING_BACKOFF_FIRST
        if before != self.open:
            self._relisting_backoff = policy.LISTING_BACKOFF_FIRST
        self._retry_at = now if self.ready else now + self._backoff
        if self.ready and not self.covers_all_keys:  # the next listing may close the gap
            self.relist(now)

    def listing_failed(self, now: float) -> None:
        self._listing_since = None
        self._retry_at = now + self._backoff
        self._backoff = min(self._backoff * policy.LISTING_BACKOFF_FACTOR, policy.LISTING_BACKOFF_MAX)

    def list_soon(self, now: float) -> None:
        """List at once if a listing is wanted. Call it when an outage is over."""
        self._retry_at = min(self._retry_at, now)

    def invalidate(self, seen_at: float, predicted: str | None) -> bool:
        """A response contradicts the map. Return True if the map is now invalid.

        Only a request that was sent after the listing counts, and only if its predicted shard is open. So a burst of
        late responses about a closed shard does not cause many listings.

        seen_at: when the request was sent. predicted: the id of its shard.
        """
        if not self.ready or seen_at <= self.updated_at:
            return False
        if predicted is not None and predicted in self._closed_at:
            return False
        self._mark_stale()
        return True

    def relist(self, now: float, after: float | None = None) -> None:
        """Request a new listing some time after the last one. Responses contradict it, so ListShards is stale.

        after: seconds until the new listing, if it has another reason.
        """
        if after is None and not (self.wanted and self._retry_at <= now + self._relisting_backoff):
            after = self._relisting_backoff
            self._relisting_backoff = min(after * policy.LISTING_BACKOFF_FACTOR, policy.RELISTING_BACKOFF_MAX)
        if after is not None:
            self.wanted = True
            self._retry_at = now + after

    def _mark_stale(self) -> None:
        if self.ready and self.wanted:
            self._retry_at = self.updated_at  # a listing that was wanted later is due now
        self.ready = False
        self.wanted = True
