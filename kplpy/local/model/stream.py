"""One stream: its status, its shards, and its scheduled changes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge
from random import Random

from kplpy.local.model.limits import CallRate, Limits
from kplpy.local.model.resources import Resource
from kplpy.local.model.sequence import HASH_KEYS, sequence_count
from kplpy.local.model.shard import Record, Shard

USER_KEY, AUTO = "USER_PARTITION_KEY", "AUTO"
PROVISIONED, ON_DEMAND = "PROVISIONED", "ON_DEMAND"


class ScheduledChanges:
    """The changes of one stream, queue or channel that take effect at a given time.

    schedule() notes a change, apply_changes(now) carries it out when it is due. Every operation calls
    apply_changes(now) first, so it sees the stream as it is at `now`.
    """

    def __init__(self) -> None:
        self.status = "CREATING"
        self._pending: deque[tuple[float, Callable[[float], None]]] = deque()

    def schedule(self, at: float, change: Callable[[float], None]) -> None:
        """Schedule `change(at)`.

        `at` must not be before the time of a change that is already scheduled.
        """
        self._pending.append((at, change))

    def apply_changes(self, now: float) -> None:
        """Carry out the changes that are due at `now`."""
        while self._pending and self._pending[0][0] <= now:
            at, change = self._pending.popleft()
            change(at)

    def cancel_changes(self) -> None:
        """Remove all changes that are scheduled."""
        self._pending.clear()

    def set_status(self, status: str) -> None:
        self.status = status

    def update(self, now: float, seconds: float, change: Callable[[float], None] | None = None) -> None:
        """Be UPDATING for `seconds`, then carry out `change` and be ACTIVE again."""
        self.status = "UPDATING"
        if change is not None:
            self.schedule(now + seconds, change)
        self.schedule(now + seconds, lambda _: self.set_status("ACTIVE"))
        self.apply_changes(now)

    def delete(self, now: float, seconds: float, remove: Callable[[float], None]) -> None:
        """Be DELETING for `seconds`, then carry out `remove`. Other changes that are scheduled do not take place."""
        self.status = "DELETING"
        self.cancel_changes()
        self.schedule(now + seconds, remove)
        self.apply_changes(now)


class Stream(ScheduledChanges, Resource):
    """A stream and all its shards, open and closed.

    open: the open shards in the order of their hash ranges
    count: records accepted so far; part of each sequence number
    held_bytes: size of the records that are held
    metrics: names of the shards' metrics that enhanced monitoring switched on
    key_id: the KMS key by which new records are said to be encrypted; None without encryption
    warm_mibps: the warm throughput that was asked for, MiB/s; None if it never was
    """

    def __init__(self, name: str, arn: str, now: float, incarnation: int, limits: Limits, random: Random) -> None:
        ScheduledChanges.__init__(self)
        Resource.__init__(self, arn)
        self.name = name
        self.created = now
        self.incarnation = incarnation
        self.limits = limits
        self.mode = PROVISIONED
        self.strategy = USER_KEY
        self.max_record_kib = 1024
        self.retention_hours = 24
        self.metrics: list[str] = []
        self.key_id: str | None = None
        self.warm_mibps: int | None = None
        self._encryption: list[tuple[int, bool]] = []  # by the count of records: was it switched on or off
        self.shards: dict[int, Shard] = {}
        self.next_index = 0
        self.open: list[Shard] = []
        self._starts: list[int] = []  # the first hash keys of `open`, for binary search
        self.count = 0
        self.held_bytes = 0
        self._next_trim_at = 0.0
        self._random = random
        self.list_rate = CallRate(limits.list_shards_per_second, now) if limits.list_shards_per_second else None

    # --- shards ---

    def open_shards(self, count: int, now: float) -> None:
        """Open the stream's first shards: `count` equal ranges.

        The last range includes the remainder.
        """
        width = HASH_KEYS // count
        for each in range(count):
            last = HASH_KEYS - 1 if each == count - 1 else width * (each + 1) - 1
            self.open.append(self._new_shard(width * each, last, (), now))
        self._starts = [each.first for each in self.open]

    def route(self, hash_key: int) -> Shard:
        """Return the open shard whose range holds a hash key."""
        return self.open[bisect_right(self._starts, hash_key) - 1]

    def since(self, count: int) -> Iterator[Record]:
        """Yield the held records after the one with this count, in the order of acceptance."""
        return merge(
            *(each.since(count) for each in self.shards.values()), key=lambda each: sequence_count(each.number)
        )

    def split(self, boundary: int, now: float) -> None:
        """Close the shard that holds `boundary` and open two shards; the second begins at `boundary`."""
        parent = self.route(boundary)
        children = [
            self._new_shard(parent.first, boundary - 1, (parent,), now),
            self._new_shard(boundary, parent.last, (parent,), now),
        ]
        self._replace([parent], children, now)

    def merge(self, boundary: int, now: float) -> None:
        """Close the two shards on both sides of `boundary` and open one shard in their place."""
        left, right = self.route(boundary - 1), self.route(boundary)
        self._replace([left, right], [self._new_shard(left.first, right.last, (left, right), now)], now)

    def _replace(self, parents: list[Shard], children: list[Shard], now: float) -> None:
        for each in parents:
            each.close(now, children)
        at = bisect_left(self._starts, parents[0].first)
        self.open[at : at + len(parents)] = children
        self._starts[at : at + len(parents)] = [each.first for each in children]

    def _new_shard(self, first: int, last: int, parents: tuple[Shard, ...], now: float) -> Shard:
        phase = self._random.random() if self.limits.rate_form == "window" else 0.0
        shard = Shard(self.next_index, first, last, parents, now, self.limits, phase)
        self.shards[self.next_index] = shard
        self.next_index += 1
        return shard

    # --- settings ---

    def set_key(self, key_id: str | None) -> None:
        """Encrypt records from now on with this key; None: not at all."""
        self.key_id = key_id
        self._encryption.append((self.count, key_id is not None))

    @property
    def was_encrypted(self) -> bool:
        """True if records of this stream may be encrypted."""
        return bool(self._encryption)

    def is_encrypted(self, count: int) -> bool:
        """Return True if encryption was on when the record with this count was put."""
        at = bisect_right(self._encryption, count - 1, key=lambda each: each[0])
        return at > 0 and self._encryption[at - 1][1]

    def warm_throughput(self) -> dict[str, int]:
        """Return the WarmThroughputObject structure. A shard takes 1 MiB/s."""
        current = len(self.open)
        return {"TargetMiBps": current if self.warm_mibps is None else self.warm_mibps, "CurrentMiBps": current}

    # --- retention ---

    def set_retention(self, hours: int, now: float) -> None:
        """Change the retention. Records that were too old by the earlier retention stay out of reach."""
        for each in (self.retention_hours, hours):
            self.retention_hours = each
            self._next_trim_at = now
            self.trim(now)

    def horizon(self, now: float) -> float:
        """Return the time before which records are trimmed, epoch seconds."""
        return now - self.retention_hours * 3600

    def trim(self, now: float) -> int:
        """Drop records older than the retention; return the bytes dropped.

        Also drops closed shards that are empty by then. Does nothing if the last trim was less than a minute ago, by
        `now`.
        """
        if now < self._next_trim_at:
            return 0
        self._next_trim_at = now + 60
        horizon = self.horizon(now)
        freed = sum(each.drop(each.position_at(horizon)) for each in self.shards.values())
        for shard in [each for each in self.shards.values() if each.closed is not None and each.closed <= horizon]:
            del self.shards[shard.index]
        self.held_bytes -= freed
        return freed

    def trim_to(self, size: int) -> int:
        """Drop the oldest records until at most `size` bytes are held; return the bytes dropped."""
        freed = 0
        while self.held_bytes - freed > size:
            filled = [each for each in self.shards.values() if each.head < len(each.records)]
            oldest = min(filled, key=lambda each: sequence_count(each.records[each.head].number))
            count = max(1, min(64, (len(oldest.records) - oldest.head) // 16))
            freed += oldest.drop(oldest.head + count)
        self.held_bytes -= freed
        return freed
