"""Room: how much may be accepted and unanswered at once, shared fairly, and waiting for it."""

from __future__ import annotations

import threading
from heapq import heappop, heappush
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

from kplpy.runtime.line import Line, Waiter

if TYPE_CHECKING:
    from kplpy.future import RecordFuture
    from kplpy.runtime.stream import Stream

RECORD_OVERHEAD = 400
"""Bytes charged for each record beside its data and key: the future, its numbers, its place in the buffers."""

LEAST_PORTION = 16 << 10
"""Bytes. When less can be kept for a stream's next puts, each is counted by itself."""
PORTIONS = 16
"""So many are made of the room that is left. With 4 the first streams left none for others (64 streams: 0.61 of the
records a second), with 64 a drain had few records of 1 KB (0.93)."""


Bound = Literal["records", "bytes"]


class Shortage(NamedTuple):
    """Why a record finds no room: `taken` of `limit` are, and by the bytes it would be too large for the rest.

    share: whose part of the room that is: all of it, the stream's three quarters, the shard's half. "turn": `taken`
    others wait already, and it must not overtake them.
    """

    share: Literal["room", "stream", "shard", "turn"]
    bound: Bound
    taken: int
    limit: int


class Room:
    """Counts records and bytes (data + key + RECORD_OVERHEAD) of a producer.

    What is drained into the core is counted exactly, by `add` and `release`; what is still staged is read off the
    stream, without a lock, so threads together can pass the bounds, by up to waiting.DRAINED_AT records. A put comes
    here only when more than `stage_limit` is staged, which is 0 while the room is tight: more than half full. Then a
    stream is given room by the portion.

    One stream alone may use all of it, unless `shared`: dead letters are to come. While another one has records, waits
    for room, or was refused its first record, no stream is given more than three quarters; one that has more already
    gets none until it is below. No shard of a stream with several gets more than a half. So a dead stream or a hot
    shard leaves room for the others.
    """

    def __init__(self, max_records: int, max_bytes: int, shared: bool = False) -> None:
        self._shared = shared
        self._max_records = max_records
        self._max_bytes = max_bytes
        # A signal handler or a __del__ may put in the middle of a section of its own thread.
        self.lock = threading.RLock()
        self._waiters = Line()
        self._newcomers: set[Stream] = set()  # refused their first record, until it is there or the room is empty
        self._kept_records = 0  # granted, or in a portion; the streams have their own part
        self._kept_bytes = 0
        self.records = 0
        self.bytes = 0
        # A small room is always counted exactly.
        self._always_tight = max_records < 2000 or max_bytes < 16 << 20
        self._stage_limit = min(max_bytes, max_records * RECORD_OVERHEAD) // 4
        self._judge()

    @property
    def short(self) -> bool:
        """Does somebody wait for room?"""
        return bool(self._waiters)

    @property
    def tight(self) -> bool:
        """Is every record counted before it is staged?"""
        return self.stage_limit == 0

    def add(self, stream: Stream, records: int, size: int) -> None:
        """Records were drained into the core."""
        with self.lock:
            self._return_portion(stream)
            self._count(stream, records, size)
            self._newcomers.discard(stream)
            self._grant()
            self._judge()

    def release(self, stream: Stream, records: int, size: int) -> None:
        """Records were answered."""
        with self.lock:
            self._count(stream, -records, -size)
            self._grant()
            self._judge()

    def recount(self, stream: Stream, records: int, size: int) -> None:
        """This is what the stream's core holds, whatever was counted before."""
        with self.lock:
            self._return_portion(stream)
            self._count(stream, records - stream.held_records, size - stream.held_bytes)
            self._grant()
            self._judge()

    def _count(self, stream: Stream, records: int, size: int) -> None:
        # In one go, and so whole, whatever strikes the thread.
        self.records, self.bytes, stream.held_records, stream.held_bytes = (
            self.records + records,
            self.bytes + size,
            stream.held_records + records,
            stream.held_bytes + size,
        )

    def try_take(self, stream: Stream, hash_key: int, size: int) -> bool:
        """May the record be staged now? Nobody overtakes those who wait for room as such, or for the same stream's."""
        with self.lock:
            if self._may_take(stream, hash_key, size):
                return True
            if not self._held_by(stream)[0]:
                self._newcomers.add(stream)
            return False

    def _may_take(self, stream: Stream, hash_key: int, size: int) -> bool:
        if self._waiters:
            if self._waiters.has(stream, hash_key):
                return False
            full: set[Stream] = set()
            for waiter in self._waiters.firsts():
                if not self._lets_pass(waiter, full):
                    return False
            if stream in full:
                return False
        return self._fits(stream, hash_key, size)

    def shortage(self, stream: Stream, hash_key: int, size: int) -> Shortage | None:
        """What stands in the record's way, now that it was refused; None: nothing any more."""
        with self.lock:
            if bound := self._over_the_room(stream, size):
                most = self._max_records if bound == "records" else self._max_bytes
                return Shortage("room", bound, self._taken(stream)[bound == "bytes"], most)
            if bound := self._over_the_streams_share(stream, size):
                share, held = self._share_of(stream), self._held_by(stream)
                return Shortage("stream", bound, held[bound == "bytes"], share[bound == "bytes"])
            if bound := self._over_the_shards_share(stream, hash_key):
                most = self._max_records if bound == "records" else self._max_bytes
                return Shortage("shard", bound, stream.held_by_shard_of(hash_key)[bound == "bytes"], ceil(most / 2))
            return Shortage("turn", "records", len(self._waiters), self._max_records) if self._waiters else None

    def reserve(self, stream: Stream) -> None:
        """A record was staged in the tight room: keep a portion for it and those to come until the next drain, of what
        nobody waits for, and a small part of what is left.

        Puts look at no more than `stream.portion` meanwhile: 0.5 µs instead of 3.5.
        """
        with self.lock:
            # Were it drained already, nobody might come to give the portion back.
            if self._always_tight or self._waiters or stream.portion or not stream.staging:
                return
            left = self._left(stream)
            portion = max(LEAST_PORTION, left // PORTIONS)
            if portion <= left // 4:
                self._keep_portion(stream, portion)

    def _left(self, stream: Stream) -> int:
        """Bytes that the stream can have, whichever shard they are for, by all the bounds."""
        records, size = self._held_by(stream)
        share, share_bytes = self._share_of(stream)
        taken, taken_bytes = self._taken(stream)
        held, held_bytes = stream.most_held_by_a_shard()
        left = min(self._max_records - taken, share - records, self._max_records // 2 - held)
        left_bytes = min(self._max_bytes - taken_bytes, share_bytes - size, self._max_bytes // 2 - held_bytes)
        return min(left * RECORD_OVERHEAD, left_bytes)

    def _return_portion(self, stream: Stream) -> None:
        if stream.portion:
            self._keep_portion(stream, -stream.portion)

    def _keep_portion(self, stream: Stream, size: int) -> None:
        sign = 1 if size > 0 else -1
        records = sign * (abs(size) // RECORD_OVERHEAD)
        stream.portion, self._kept_records, self._kept_bytes, stream.kept_records, stream.kept_bytes = (
            max(0, size),
            self._kept_records + records,
            self._kept_bytes + size,
            stream.kept_records + records,
            stream.kept_bytes + size,
        )

    def wait_for(self, waiter: Waiter) -> bool:
        """Queue up; True when there is room at once after all."""
        with self.lock:
            self._return_portion(waiter.stream)  # or others would overtake
            if self._waiters.add(waiter):
                self._grant()
            self._judge()
            return waiter.granted

    def stage(self, waiter: Waiter, record: RecordFuture) -> None:
        """The room that was kept for the waiter is the staged record's now. In one step, lest it be counted twice
        while others are granted theirs."""
        stream = waiter.stream
        with self.lock:
            stream.staged_bytes += waiter.size
            stream.staging.append(record)
            self._keep(waiter, -1)

    def staged(self, waiter: Waiter) -> None:
        """The room that was kept for the waiter is taken, or no longer wanted."""
        with self.lock:
            if waiter.granted:
                self._keep(waiter, -1)
                self._grant()

    def leave(self, waiter: Waiter) -> bool:
        """Stop waiting; True when the room was granted meanwhile, and is kept until `staged`."""
        with self.lock:
            if waiter.group is not None:
                self._waiters.remove(waiter)
                self._grant()  # those behind may have waited only for their turn
                self._judge()
            return waiter.granted

    def withdraw(self, waiter: Waiter) -> None:
        """Stop waiting, and give back what was granted meanwhile."""
        self.leave(waiter)
        self.staged(waiter)

    def close(self) -> None:
        """Nobody gets room any more."""
        with self.lock:
            for waiter in self._waiters:
                waiter.closed = True
                try:
                    waiter.wake()
                except RuntimeError:
                    pass  # its event loop is closed
            self._waiters.clear()
            self._always_tight = True
            self._judge()

    def _grant(self) -> None:
        """Keep room for those who wait, in their order; one over its stream's share lets other streams pass, one over
        its shard's share everybody."""
        turns = self._waiters.firsts()
        full: set[Stream] = set()
        while turns:
            waiter = heappop(turns)
            if waiter.stream not in full and self._fits(waiter.stream, waiter.hash_key, waiter.size):
                following = self._waiters.remove(waiter)
                if following is not None:
                    heappush(turns, following)
                try:
                    waiter.wake()
                except RuntimeError:
                    continue  # its event loop is closed: nobody waits any longer
                self._keep(waiter, 1)
            elif not self._lets_pass(waiter, full):
                break

    def _lets_pass(self, waiter: Waiter, full: set[Stream]) -> bool:
        """Do others get room before this waiter? Not those of the `full` streams, to which its own may be added."""
        if waiter.stream in full or self._over_the_streams_share(waiter.stream, waiter.size):
            full.add(waiter.stream)
            return True
        return self._over_the_shards_share(waiter.stream, waiter.hash_key) is not None

    def _keep(self, waiter: Waiter, sign: int) -> None:
        stream, size = waiter.stream, sign * waiter.size
        waiter.granted, self._kept_records, self._kept_bytes, stream.kept_records, stream.kept_bytes = (
            sign > 0,
            self._kept_records + sign,
            self._kept_bytes + size,
            stream.kept_records + sign,
            stream.kept_bytes + size,
        )

    def _fits(self, stream: Stream, hash_key: int, size: int) -> bool:
        return not (
            self._over_the_room(stream, size)
            or self._over_the_streams_share(stream, size)
            or self._over_the_shards_share(stream, hash_key)
        )

    def _over_the_room(self, stream: Stream, size: int) -> Bound | None:
        records, taken = self._taken(stream)
        if records >= self._max_records:
            return "records"
        return "bytes" if records and taken + size > self._max_bytes else None

    def _over_the_streams_share(self, stream: Stream, size: int) -> Bound | None:
        records, held = self._held_by(stream)
        if not records:  # an empty stream may always have one record, whatever its size
            return None
        share, share_bytes = self._share_of(stream)
        if records >= share:
            return "records"
        return "bytes" if held + size > share_bytes else None

    def _share_of(self, stream: Stream) -> tuple[int, int]:
        """Records and bytes that the stream may have: all, while no other has any or wants some."""
        others = self.records + self._kept_records - stream.held_records - stream.kept_records
        newcomers = self._newcomers and self._newcomers != {stream}
        if others or self._shared or newcomers or self._waiters.has_others(stream):
            return ceil(0.75 * self._max_records), ceil(0.75 * self._max_bytes)
        return self._max_records, self._max_bytes

    def _taken(self, stream: Stream) -> tuple[int, int]:
        """Records and bytes of the whole room that are taken, as the stream's next put sees it."""
        return (
            self.records + self._kept_records + len(stream.staging),
            self.bytes + self._kept_bytes + stream.staged_bytes,
        )

    def _held_by(self, stream: Stream) -> tuple[int, int]:
        records = stream.held_records + stream.kept_records + len(stream.staging)
        return records, stream.held_bytes + stream.kept_bytes + stream.staged_bytes

    def _over_the_shards_share(self, stream: Stream, hash_key: int) -> Bound | None:
        records, size = self._held_by(stream)
        if 2 * records < self._max_records and 2 * size < self._max_bytes:
            return None
        held, held_bytes = stream.held_by_shard_of(hash_key)
        if 2 * held >= self._max_records:
            return "records"
        return "bytes" if 2 * held_bytes >= self._max_bytes else None

    def _judge(self) -> None:
        if self._newcomers and not self.records and not self._kept_records:
            self._newcomers.clear()  # who comes back finds room
        tight = (
            self._always_tight
            or self._waiters
            or 2 * self.records >= self._max_records
            or 2 * self.bytes >= self._max_bytes
        )
        self.stage_limit = 0 if tight else self._stage_limit
