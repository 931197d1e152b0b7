"""One stream: its status, its open shards, and the changes that are under way."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from random import Random

from kplpy.local.model.limits import CallRate, Limits
from kplpy.local.model.sequence import HASH_KEYS, sequence_count
from kplpy.local.model.shard import Shard

USER_KEY, AUTO = "USER_PARTITION_KEY", "AUTO"
PROVISIONED, ON_DEMAND = "PROVISIONED", "ON_DEMAND"


class Stream:
    """A stream and all its shards, open and closed.

    Changes take effect at a time: `schedule` notes them, `settle(now)` carries out those that are due. Every
    operation settles first, so the stream is always as it should be at `now`.
    """

    def __init__(self, name: str, arn: str, now: float, incarnation: int, limits: Limits, random: Random) -> None:
        self.name, self.arn = name, arn
        self.created = now
        self.incarnation = incarnation
        self.limits = limits
        self.mode = PROVISIONED
        self.strategy = USER_KEY
        self.max_record_kib = 1024
        self.retention_hours = 24
        self.status = "CREATING"
        self.shards: dict[int, Shard] = {}
        self.next_index = 0
        self.open: list[Shard] = []  # by hash range
        self._starts: list[int] = []  # their first hash keys, to search in
        self.count = 0  # records taken so far; part of each sequence number
        self.held_bytes = 0
        self.trimmed_until = 0.0  # no shard is looked at again for trimming before this
        self._pending: deque[tuple[float, Callable[[float], None]]] = deque()
        self._random = random
        self.list_rate = CallRate(limits.list_shards_per_second, now) if limits.list_shards_per_second else None

    # --- time ---

    def schedule(self, at: float, change: Callable[[float], None]) -> None:
        """Carry out `change(at)` at a time that is not before that of any change already scheduled."""
        self._pending.append((at, change))

    def settle(self, now: float) -> None:
        while self._pending and self._pending[0][0] <= now:
            at, change = self._pending.popleft()
            change(at)

    def abandon(self) -> None:
        """Forget all changes that are still to come."""
        self._pending.clear()

    def set_status(self, status: str) -> None:
        self.status = status

    # --- shards ---

    def open_shards(self, count: int, now: float) -> None:
        """The stream's first shards: `count` equal ranges, the last one taking the remainder."""
        width = HASH_KEYS // count
        for each in range(count):
            last = HASH_KEYS - 1 if each == count - 1 else width * (each + 1) - 1
            self.open.append(self._new_shard(width * each, last, (), now))
        self._starts = [each.first for each in self.open]

    def route(self, hash_key: int) -> Shard:
        """The open shard that holds a hash key."""
        return self.open[bisect_right(self._starts, hash_key) - 1]

    def split(self, boundary: int, now: float) -> None:
        """Close the shard that holds `boundary` and open two, the second of which begins there."""
        parent = self.route(boundary)
        children = [
            self._new_shard(parent.first, boundary - 1, (parent,), now),
            self._new_shard(boundary, parent.last, (parent,), now),
        ]
        self._replace([parent], children, now)

    def merge(self, boundary: int, now: float) -> None:
        """Close the two shards on both sides of `boundary` and open one in their place."""
        left, right = self.route(boundary - 1), self.route(boundary)
        self._replace([left, right], [self._new_shard(left.first, right.last, (left, right), now)], now)

    def _replace(self, parents: list[Shard], children: list[Shard], now: float) -> None:
        for each in parents:
            each.close(now, children)
        at = self.open.index(parents[0])
        self.open[at : at + len(parents)] = children
        self._starts = [each.first for each in self.open]

    def _new_shard(self, first: int, last: int, parents: tuple[Shard, ...], now: float) -> Shard:
        phase = self._random.random() if self.limits.rate_form == "window" else 0.0
        shard = Shard(self.next_index, first, last, parents, now, self.limits, phase)
        self.shards[self.next_index] = shard
        self.next_index += 1
        return shard

    # --- retention ---

    def horizon(self, now: float) -> float:
        """The oldest time of which records are still kept, epoch seconds."""
        return now - self.retention_hours * 3600

    def trim(self, now: float) -> int:
        """Drop what is older than the retention, and closed shards with nothing left; returns the bytes dropped.

        Looks at most once a minute of told time.
        """
        if now < self.trimmed_until:
            return 0
        self.trimmed_until = now + 60
        horizon = self.horizon(now)
        freed = sum(each.drop(each.position_at(horizon)) for each in self.shards.values())
        for shard in [each for each in self.shards.values() if each.closed is not None and each.closed <= horizon]:
            del self.shards[shard.index]
        self.held_bytes -= freed
        return freed

    def trim_to(self, size: int) -> int:
        """Drop the oldest records until at most `size` bytes are held; returns the bytes dropped."""
        freed = 0
        while self.held_bytes - freed > size:
            heads = [each for each in self.shards.values() if each.head < len(each.records)]
            oldest = min(heads, key=lambda each: sequence_count(each.records[each.head].number))
            some = max(1, min(64, (len(oldest.records) - oldest.head) // 16))
            freed += oldest.drop(oldest.head + some)
        self.held_bytes -= freed
        return freed
