"""Which shard takes a hash key, and which hash keys a shard took."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kplpy.core import policy
from kplpy.core.shard_range import LAST_KEY, ShardRange

if TYPE_CHECKING:
    pass


class ShardMap:
    """The open shards as last listed, and when to list them again. Knows nothing of how listing is done.

    `ready`: the last listing stands. Invalidated, or idle for too long, it is kept but not trusted: see `trusted`.
    `wanted`: a fresh listing is.
    """

    def __init__(self) -> None:
        self.ready = False
        self.wanted = True
        self.updated_at = float("-inf")
        self.open: list[ShardRange] = []
        self.ends: list[int] = []  # of the open shards, ascending
        self.covers_all_keys = False  # the open shards cover every hash key, so `ends` alone decides
        # Then, the place in `open` of the one shard that takes all hash keys with this first byte; -1: several do.
        self.by_first_byte: list[int] = [-1] * 256
        self._known: dict[str, ShardRange] = {}
        self._closed_at: dict[str, float] = {}
        self._used_at = float("-inf")
        self._alive_at = float("-inf")
        self._listing_since: float | None = None
        self._retry_at = float("-inf")
        self._backoff = self._relisting_backoff = policy.LISTING_BACKOFF_FIRST

    # --- predicting ---

    def trusted(self, now: float) -> bool:
        """May predictions be relied upon? Asking counts as use."""
        if self.ready and now - self._used_at > policy.MAP_IDLE_TRUST and now - self.updated_at > policy.MAP_IDLE_TRUST:
            self._mark_stale()
        self._used_at = now
        return self.ready

    def index_of(self, hash_key: int) -> int:
        """Position in `open` of the shard that takes the hash key, or -1 where none does."""
        index = bisect_left(self.ends, hash_key)
        if index < len(self.open) and self.open[index].start <= hash_key:
            return index
        return -1

    def _shard_of_all(self, first_byte: int) -> int:
        first, last = first_byte << 120, (first_byte + 1 << 120) - 1
        index = bisect_left(self.ends, first)
        return index if index == bisect_left(self.ends, last) else -1

    def range_of(self, shard_id: str) -> ShardRange | None:
        """The range of an open or recently closed shard."""
        return self._known.get(shard_id)

    # --- is it still the same stream? ---

    def ids_valid_at(self, ended: float) -> bool:
        """Were shard ids still those of the map at `ended`?

        A stream that was deleted and recreated has the same ids with other ranges. That takes RECREATION_TIME, so
        it has not happened since the last sign of life before `ended` if that is nearer.
        """
        return ended - self._alive_at < policy.RECREATION_TIME

    def seen_alive(self, at: float) -> None:
        """The stream that the map shows took a record at this time, or later."""
        self._alive_at = max(self._alive_at, at)

    def seen_missing(self) -> None:
        """The service says that there is no such stream."""
        self._alive_at = float("-inf")
        self._mark_stale()

    # --- listing ---

    def wants_listing(self, now: float) -> bool:
        return self.next_listing() <= now

    def next_listing(self) -> float:
        """When wants_listing becomes true by itself; infinite while a listing is under way or none is needed."""
        return self._retry_at if self.wanted and self._listing_since is None else float("inf")

    def listing_started(self, now: float) -> None:
        self._listing_since = now

    def update(self, shards: Iterable[ShardRange], now: float) -> None:
        """Take the open shards in, as they were when the listing started."""
        started = self._listing_since if self._listing_since is not None else now
        self._listing_since = None
        if not self.ids_valid_at(started):  # it may be another stream, to whose ids the closed ranges say nothing
            self._known.clear()
            self._closed_at.clear()
        before, self.open = self.open, sorted(shards, key=lambda shard: shard.end)
        self.ends = [shard.end for shard in self.open]
        starts = [shard.start for shard in self.open]
        self.covers_all_keys = (
            bool(starts) and starts == [0, *(end + 1 for end in self.ends[:-1])] and self.ends[-1] == LAST_KEY
        )
        self.by_first_byte = [self._shard_of_all(byte) for byte in range(256)]
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
        if self.ready and not self.covers_all_keys:  # a gap closes with the next one, perhaps
            self.relist(now)

    def listing_failed(self, now: float) -> None:
        self._listing_since = None
        self._retry_at = now + self._backoff
        self._backoff = min(self._backoff * policy.LISTING_BACKOFF_FACTOR, policy.LISTING_BACKOFF_MAX)

    def list_soon(self, now: float) -> None:
        """An outage is over: list at once, if a listing is due some time."""
        self._retry_at = min(self._retry_at, now)

    def invalidate(self, seen_at: float, predicted: str | None) -> bool:
        """An answer to a request of `seen_at` contradicts the map; True when it is to be listed again.

        Only answers that are newer than the listing count, and only while the predicted shard is one of the open ones:
        a burst of late answers about a shard that is known to be closed must not cause a listing each.
        """
        if not self.ready or seen_at <= self.updated_at:
            return False
        if predicted is not None and predicted in self._closed_at:
            return False
        self._mark_stale()
        return True

    def relist(self, now: float, after: float | None = None) -> None:
        """Ask for a fresh listing, some time after the last: answers contradict that one, so ListShards is behind.

        `after`: instead, in so many seconds, for no such reason.
        """
        if after is None and not (self.wanted and self._retry_at <= now + self._relisting_backoff):
            after = self._relisting_backoff
            self._relisting_backoff = min(after * policy.LISTING_BACKOFF_FACTOR, policy.RELISTING_BACKOFF_MAX)
        if after is not None:
            self.wanted = True
            self._retry_at = now + after

    def _mark_stale(self) -> None:
        if self.ready and self.wanted:
            self._retry_at = self.updated_at  # a listing that was wanted some time is now
        self.ready = False
        self.wanted = True
