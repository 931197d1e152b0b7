"""The buffer's bounds: how much may be accepted and unanswered at once, shared fairly, and waiting for it."""

from __future__ import annotations

import threading
import time
from heapq import heappop, heappush
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

from kplpy.runtime.wait_queue import Waiter, WaitQueue

if TYPE_CHECKING:
    from kplpy.futures.record_future import RecordFuture
    from kplpy.runtime.stream import Stream

RECORD_OVERHEAD = 400
"""Bytes charged for each record beside its data and key: the future, its numbers, its place in the buffers."""

CREDIT_DIVISOR, CREDIT_DIVISOR_HALF_FULL = 4, 16
"""A stream's credit is this part of the bytes left, while the buffer is less than half full, and above. In a tight
buffer a fourth left nothing for other streams (64 streams: 0.61 of the records a second), a 64th made drains of few
records of 1 KB (0.93)."""
MIN_CREDIT = 16 << 10
"""Bytes. With less to give, each put is charged by itself."""


Bound = Literal["records", "bytes"]


class Shortage(NamedTuple):
    """Why a record finds no room: `taken` of `limit` are, and by the bytes it would be too large for the rest.

    share: whose part of the room that is: all of it, the stream's three quarters, the shard's half. "turn": `taken`
    others wait already, and it must not overtake them.
    """

    share: Literal["buffer", "stream", "shard", "turn"]
    bound: Bound
    taken: int
    limit: int


class Buffer:
    """Counts records and bytes (data + key + RECORD_OVERHEAD) of a producer.

    A put compares what is staged with the stream's credit, which may be staged before the next drain. Each drain
    charges exactly what was staged, and gives new credit. A put beyond the credit comes here, is charged before it is
    staged, or waits: those who wait are served in their order. So the bounds can be passed by a few records that
    several threads or streams stage on credit at the same moment.

    One stream alone may use all of it, unless `shared`: dead letters are to come. While another one has records, waits
    for room, or was refused its first record, no stream is given more than three quarters; one that has more already
    gets none until it is below. No shard of a stream with several gets more than a half. So a dead stream or a hot
    shard leaves room for the others.
    """

    def __init__(self, max_records: int, max_bytes: int, shared: bool = False) -> None:
        self._shared = shared
        self._max_records = max_records
        self._max_bytes = max_bytes
        # Reentrant: the garbage collector may run a __del__ that puts within a section. Each change is one assignment.
        self.lock = threading.RLock()
        self._waiters = WaitQueue()
        self._charged_streams: set[Stream] = set()  # streams with charged records
        self._newcomers: set[Stream] = set()  # refused their first record, until it is there or the room is empty
        self.records = 0
        self.bytes = 0
        self._gives_no_credit = max_records < 2000 or max_bytes < 16 << 20  # a small buffer gives no credit
        self.closed = False

    @property
    def has_waiters(self) -> bool:
        """Does somebody wait for room?"""
        return bool(self._waiters)

    # --- charges ---

    def charge_drained(self, stream: Stream, records: int, size: int) -> None:
        """All that was staged was taken out just now, under the lock: so many records, and bytes with their overhead.

        `renew` is called when the pipeline knows them.
        """
        with self.lock:
            stream.staged_bytes = 0
            self._charge(stream, records - stream.charged_records, size - stream.charged_bytes)
            stream.charged_records = stream.charged_bytes = 0

    def renew(self, stream: Stream) -> None:
        """Let in who waits, and give the stream credit until its next drain."""
        with self.lock:
            self._grant()
            self._renew_credit(stream)

    def release(self, stream: Stream, records: int, size: int) -> None:
        """Records were answered."""
        with self.lock:
            self._charge(stream, -records, -size)
            self.renew(stream)

    def reset(self, stream: Stream) -> None:
        """None of the stream's drained records is outstanding any more; what is staged stays charged."""
        with self.lock:
            self._charge(
                stream,
                stream.charged_records - stream.held_records,
                stream.charged_bytes - stream.held_bytes,
            )
            self._grant()

    def _charge(self, stream: Stream, records: int, size: int) -> None:
        # One assignment, and so whole, whatever interrupts the thread.
        self.records, self.bytes, stream.held_records, stream.held_bytes = (
            self.records + records,
            self.bytes + size,
            stream.held_records + records,
            stream.held_bytes + size,
        )
        if stream.held_records:
            self._charged_streams.add(stream)
            self._newcomers.discard(stream)
        else:
            self._charged_streams.discard(stream)
            if not self.records:
                self._newcomers.clear()  # who comes back finds room

    def _stage(self, stream: Stream, record: RecordFuture, hash_key: int, size: int) -> None:
        """Charge the record and stage it."""
        place = stream.place_of(hash_key)
        records, held = stream.charged_by_place.get(place, (0, 0))
        stream.charged_by_place[place] = records + 1, held + size - RECORD_OVERHEAD  # as the pipeline counts
        stream.charged_records += 1
        stream.charged_bytes += size
        self._charge(stream, 1, size)
        stream.staging.append(record)

    def _renew_credit(self, stream: Stream) -> None:
        stream.credit = stream.credit_records = 0
        if self._gives_no_credit or self.closed or self._waiters:
            return
        tight = 2 * self.records >= self._max_records or 2 * self.bytes >= self._max_bytes
        part = max(CREDIT_DIVISOR_HALF_FULL if tight else CREDIT_DIVISOR, 2 * len(self._charged_streams))
        left = self._left(stream)
        credit = max(left // part, MIN_CREDIT)
        if credit > left // 4:
            return
        stream.credit = stream.staged_bytes + credit
        usual = max(RECORD_OVERHEAD, stream.held_bytes // max(1, stream.held_records))
        stream.credit_records = len(stream.staging) + credit // usual

    def _left(self, stream: Stream) -> int:
        """Bytes that the stream can have, whichever shard they are for, by all the bounds."""
        records, size = self._held_by(stream)
        taken, taken_bytes = self._taken(stream)
        share, share_bytes = self._share_of(stream)
        left = min(self._max_records - taken, share - records)
        left_bytes = min(self._max_bytes - taken_bytes, share_bytes - size)
        if 4 * records >= self._max_records or 4 * size >= self._max_bytes:  # one shard may come near its share
            held, held_bytes = stream.most_held_by_a_shard()
            left = min(left, self._max_records // 2 - held)
            left_bytes = min(left_bytes, self._max_bytes // 2 - held_bytes)
        return min(left * RECORD_OVERHEAD, left_bytes)

    # --- puts without credit ---

    def admit(self, stream: Stream, record: RecordFuture, hash_key: int, size: int) -> bool:
        """Charge and stage the record if there is room, and nobody who waits is overtaken."""
        with self.lock:
            if not self._may_pass(stream, hash_key) or not self._fits(stream, hash_key, size):
                if not self._held_by(stream)[0]:
                    self._newcomers.add(stream)
                    for each in self._charged_streams:
                        self._renew_credit(each)  # some may be over their share now
                return False
            self._stage(stream, record, hash_key, size)
            self._renew_credit(stream)
            return True

    def _may_pass(self, stream: Stream, hash_key: int) -> bool:
        """Nobody overtakes those who wait for room as such, or for the same stream's."""
        if not self._waiters:
            return True
        if self._waiters.has(stream, hash_key):
            return False
        full: set[Stream] = set()
        return all(self._lets_pass(waiter, full) for waiter in self._waiters.group_heads()) and stream not in full

    def wait_for(self, waiter: Waiter) -> bool:
        """Queue up; True when the record is staged at once after all."""
        with self.lock:
            if self.closed:
                waiter.closed = True
                return False
            for stream in [*self._charged_streams, waiter.stream]:  # or others would overtake
                stream.credit = stream.credit_records = 0
            if self._waiters.add(waiter):
                self._grant()
            return waiter.granted

    def stop_waiting(self, waiter: Waiter) -> bool:
        """Stop waiting; True when the record was staged meanwhile."""
        with self.lock:
            if waiter.group is not None:
                self._waiters.remove(waiter)
                self._grant()  # those behind may have waited only for their turn
            return waiter.granted

    def withdraw(self, waiter: Waiter) -> bool:
        """Stop waiting, and take the record out of staging again; False when it was drained already, and is sent."""
        with self.lock:
            if not self.stop_waiting(waiter):
                return True
            stream = waiter.stream
            try:
                stream.staging.remove(waiter.record)
            except ValueError:
                return False
            stream.charged_records -= 1
            stream.charged_bytes -= waiter.size
            self._charge(stream, -1, -waiter.size)
            self._grant()
            return True

    def close(self) -> None:
        """Nobody waits for room any more."""
        with self.lock:
            self.closed = True
            for waiter in self._waiters:
                waiter.closed = True
                try:
                    waiter.wake()
                except RuntimeError:
                    pass  # its event loop is closed
            self._waiters.clear()

    def _grant(self) -> None:
        """Stage the records of those who wait, in their order; one over its stream's share lets other streams pass,
        one over its shard's share everybody."""
        turns = self._waiters.group_heads()
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
                waiter.granted = True
                waiter.record.arrival = time.monotonic()  # its time to live counts from its acceptance
                self._stage(waiter.stream, waiter.record, waiter.hash_key, waiter.size)
                waiter.stream.request_wake()
            elif not self._lets_pass(waiter, full):
                break

    def _lets_pass(self, waiter: Waiter, full: set[Stream]) -> bool:
        """Do others get room before this waiter? Not those of the `full` streams, to which its own may be added."""
        if waiter.stream in full or self._over_stream_share(waiter.stream, waiter.size):
            full.add(waiter.stream)
            return True
        return self._over_shard_share(waiter.stream, waiter.hash_key) is not None

    # --- bounds and shares ---

    def shortage(self, stream: Stream, hash_key: int, size: int) -> Shortage | None:
        """What stands in the record's way, now that it was refused; None: nothing any more."""
        with self.lock:
            if bound := self._over_buffer_bound(stream, size):
                most = self._max_records if bound == "records" else self._max_bytes
                return Shortage("buffer", bound, self._taken(stream)[bound == "bytes"], most)
            if bound := self._over_stream_share(stream, size):
                share, held = self._share_of(stream), self._held_by(stream)
                return Shortage("stream", bound, held[bound == "bytes"], share[bound == "bytes"])
            if bound := self._over_shard_share(stream, hash_key):
                most = self._max_records if bound == "records" else self._max_bytes
                return Shortage("shard", bound, stream.held_by_shard_of(hash_key)[bound == "bytes"], ceil(most / 2))
            return Shortage("turn", "records", len(self._waiters), self._max_records) if self._waiters else None

    def _fits(self, stream: Stream, hash_key: int, size: int) -> bool:
        return not (
            self._over_buffer_bound(stream, size)
            or self._over_stream_share(stream, size)
            or self._over_shard_share(stream, hash_key)
        )

    def _over_buffer_bound(self, stream: Stream, size: int) -> Bound | None:
        records, taken = self._taken(stream)
        if records >= self._max_records:
            return "records"
        return "bytes" if records and taken + size > self._max_bytes else None

    def _over_stream_share(self, stream: Stream, size: int) -> Bound | None:
        records, held = self._held_by(stream)
        if not records:  # an empty stream may always have one record, whatever its size
            return None
        share, share_bytes = self._share_of(stream)
        if records >= share:
            return "records"
        return "bytes" if held + size > share_bytes else None

    def _share_of(self, stream: Stream) -> tuple[int, int]:
        """Records and bytes that the stream may have: all, while no other has any or wants some."""
        others = len(self._charged_streams) > (stream in self._charged_streams)
        newcomers = self._newcomers and self._newcomers != {stream}
        if others or self._shared or newcomers or self._waiters.has_others(stream):
            return ceil(0.75 * self._max_records), ceil(0.75 * self._max_bytes)
        return self._max_records, self._max_bytes

    def _taken(self, stream: Stream) -> tuple[int, int]:
        """Records and bytes of the whole room that are taken, as the stream's next put sees it."""
        records = self.records + len(stream.staging) - stream.charged_records
        return records, self.bytes + stream.staged_bytes

    def _held_by(self, stream: Stream) -> tuple[int, int]:
        records = stream.held_records + len(stream.staging) - stream.charged_records
        return records, stream.held_bytes + stream.staged_bytes

    def _over_shard_share(self, stream: Stream, hash_key: int) -> Bound | None:
        records, size = self._held_by(stream)
        if 2 * records < self._max_records and 2 * size < self._max_bytes:
            return None
        held, held_bytes = stream.held_by_shard_of(hash_key)
        if 2 * held >= self._max_records:
            return "records"
        return "bytes" if 2 * held_bytes >= self._max_bytes else None
