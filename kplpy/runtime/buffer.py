"""The buffer: bounds on the records without an outcome, fair shares of them, and the puts that wait for space."""

from __future__ import annotations

import time
from heapq import heappop, heappush
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

from kplpy.concurrency import new_rlock
from kplpy.runtime.put_target import RECORD_OVERHEAD, count_staged
from kplpy.runtime.wait_queue import Waiter, WaitQueue

if TYPE_CHECKING:
    from kplpy.futures.record_future import RecordFuture
    from kplpy.runtime.stream import Stream

CREDIT_DIVISOR, CREDIT_DIVISOR_HALF_FULL = 4, 16
"""A stream's credit is the bytes left divided by this: the first while the buffer is less than half full.

In a buffer that was more than half full, a divisor of 4 left nothing for other streams: 64 streams reached 0.61 of the
records a second. A divisor of 64 made each drain take few records of 1 KB: 0.93.
"""
MIN_CREDIT = 16 << 10
"""Bytes. If a stream cannot have so much credit, each put is charged on its own."""


Bound = Literal["records", "bytes"]


class Shortage(NamedTuple):
    """Why the buffer has no space for a record: `taken` of `limit` are in use.

    share: "buffer": all of the buffer. "stream": the stream's three quarters. "shard": the shard's half. "turn":
        `taken` other records wait, and the record must not overtake them.
    bound: "bytes": the record is too large for the rest.
    """

    share: Literal["buffer", "stream", "shard", "turn"]
    bound: Bound
    taken: int
    limit: int


class Buffer:
    """Counts a producer's records and bytes. Any thread calls it; `lock` guards its state and the streams' charges.

    A record's charge is its data, its key and RECORD_OVERHEAD bytes.

    A put compares the staged records with the stream's credit: the bytes that may be staged before the next drain. Each
    drain charges exactly what was staged, and gives new credit. A put without credit is charged before it is staged,
    or waits. Waiting puts are served in their order. The bounds can be exceeded by the few records that several
    threads or streams stage on credit at the same moment.

    Shares:

    - One stream alone may use all of the buffer, unless `shared` is set, because dead letters will need space.
    - A stream gets at most three quarters while another stream has records, waits for space, or was refused its first
      record. A stream that already has more gets nothing until it has less.
    - One shard of a stream with several shards gets at most a half.

    So a dead stream or a hot shard leaves buffer space for the others.
    """

    def __init__(self, max_records: int, max_bytes: int, shared: bool = False) -> None:
        self._shared = shared
        self._max_records = max_records
        self._max_bytes = max_bytes
        # Reentrant, because a signal handler, or a __del__ that the garbage collector runs, may put while the lock is
        # held. It may also raise, as Ctrl-C does. Therefore the assignments that belong together have no call, no loop
        # and no new tuple between them: Python runs no other code of the same thread there.
        self.lock = new_rlock()
        self._waiters = WaitQueue()
        self._charged_streams: set[Stream] = set()  # streams with charged records
        self._newcomers: set[Stream] = (
            set()
        )  # their first record was refused; until they have one, or the buffer is empty
        self.records = 0
        self.bytes = 0
        self._gives_no_credit = max_records < 2000 or max_bytes < 16 << 20  # a small buffer charges each put on its own
        self.closed = False

    @property
    def has_waiters(self) -> bool:
        """Return True if a put waits for buffer space."""
        return bool(self._waiters)

    # --- charges ---

    def charge_drained(self, stream: Stream, records: int, size: int) -> None:
        """Charge a drain, which took out staged records under the lock. Threads may have staged more since.

        records, size: what was drained, in records and charged bytes. The caller calls `renew` once the pipeline has
        the records.
        """
        with self.lock:
            on_credit = size - stream.charged_bytes
            # The credit first, so that what is left of it stays the same for threads that put at this moment.
            stream.credit -= on_credit
            stream.credit_records -= records
            stream.staged_bytes -= on_credit
            if not stream.staging:
                stream.staged_bytes = 0  # without a GIL, updates may have been lost
            self._charge(stream, records - stream.charged_records, on_credit)
            stream.charged_records = stream.charged_bytes = 0
            self._count_staged(stream)

    def renew(self, stream: Stream) -> None:
        """Stage the waiting records that fit, and give the stream credit until its next drain."""
        with self.lock:
            self._grant()
            self._renew_credit(stream)

    def release(self, stream: Stream, records: int, size: int) -> None:
        """Give back the charge of records that have an outcome. size: charged bytes."""
        with self.lock:
            self._charge(stream, -records, -size)
            self.renew(stream)

    def charge_loaded(self, stream: Stream, records: int, size: int) -> None:
        """Charge records that were read back from the spool. size: charged bytes."""
        with self.lock:
            self._charge(stream, records, size)
            self._renew_credit(stream)

    def reset(self, stream: Stream) -> None:
        """Give back the charges of all records in the stream's pipeline. Staged and spooled records stay charged."""
        spool = stream.spool
        with self.lock:
            queued, queued_bytes = (0, 0) if spool is None else (spool.queued_records, spool.queued_bytes)
            self._charge(
                stream,
                stream.charged_records + queued - stream.held_records,
                stream.charged_bytes + queued_bytes - stream.held_bytes,
            )
            self._grant()

    def _charge(self, stream: Stream, records: int, size: int) -> None:
        self.records += records
        self.bytes += size
        stream.held_records += records
        stream.held_bytes += size
        self._note_charge(stream)

    def _note_charge(self, stream: Stream) -> None:
        """Note whether the stream has charged records."""
        if stream.held_records:
            self._charged_streams.add(stream)
            self._newcomers.discard(stream)
        else:
            self._charged_streams.discard(stream)
            if not self.records:
                self._newcomers.clear()  # a newcomer that tries again finds space

    def _stage(
        self, stream: Stream, record: RecordFuture, hash_key: int, size: int, waiter: Waiter | None = None
    ) -> None:
        """Charge the record and stage it. waiter: what waited with the record; it is granted.

        An exception of a signal handler is raised before all of this or after all of it.
        """
        place = stream.place_of(hash_key)
        records, held = stream.charged_by_place.get(place, (0, 0))
        of_place = records + 1, held + size - RECORD_OVERHEAD  # counted as the pipeline counts: without overhead
        append = stream.staging.append
        self._charged_streams.add(stream)
        self._newcomers.discard(stream)
        stream.charged_by_place[place] = of_place
        stream.charged_records += 1
        stream.charged_bytes += size
        self.records += 1
        self.bytes += size
        stream.held_records += 1
        stream.held_bytes += size
        if waiter is not None:
            waiter.granted = True
        append(record)

    def _renew_credit(self, stream: Stream) -> None:
        """Set the stream's credit from what is left."""
        self._withdraw_credit(stream)
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

    def _withdraw_credit(self, stream: Stream) -> None:
        """Have each put charged on its own from now on."""
        had_credit = stream.credit > 0
        stream.credit = stream.credit_records = 0
        if had_credit:
            self._count_staged(stream)

    def _count_staged(self, stream: Stream) -> None:
        """Count what is staged on credit, without a GIL. A thread that stages at this moment may not be counted."""
        if stream.counts_staged:
            try:
                stream.counted_bytes = count_staged(stream.staging) - stream.charged_bytes
            except IndexError:  # the producer is being closed
                return
            stream.staged_bytes = stream.counted_bytes

    def _left(self, stream: Stream) -> int:
        """Return the bytes that all bounds leave to the stream, for any of its shards."""
        records, size = self._held_by(stream)
        taken, taken_bytes = self._taken(stream)
        share, share_bytes = self._share_of(stream)
        left = min(self._max_records - taken, share - records)
        left_bytes = min(self._max_bytes - taken_bytes, share_bytes - size)
        if 4 * records >= self._max_records or 4 * size >= self._max_bytes:  # one shard may be near its share
            held, held_bytes = stream.most_held_by_a_shard()
            left = min(left, self._max_records // 2 - held)
            left_bytes = min(left_bytes, self._max_bytes // 2 - held_bytes)
        return min(left * RECORD_OVERHEAD, left_bytes)

    # --- puts without credit ---

    def admit(self, stream: Stream, record: RecordFuture, hash_key: int, size: int) -> bool:
        """Charge and stage the record if the buffer has space, and no waiting record is overtaken."""
        with self.lock:
            if stream.credit > 0:
                self._count_staged(stream)
            if not self._may_pass(stream, hash_key) or not self._fits(stream, hash_key, size):
                if not self._held_by(stream)[0]:
                    self._newcomers.add(stream)
                    for each in self._charged_streams:
                        self._renew_credit(each)  # a stream may be over its share now
                return False
            self._stage(stream, record, hash_key, size)
            self._renew_credit(stream)
            return True

    def _may_pass(self, stream: Stream, hash_key: int) -> bool:
        """Return True unless a record waits that this one must not overtake.

        Such a record waits for space of the whole buffer, or for space of the same stream.
        """
        if not self._waiters:
            return True
        if self._waiters.has(stream, hash_key):
            return False
        full: set[Stream] = set()
        return all(self._lets_pass(waiter, full) for waiter in self._waiters.group_heads()) and stream not in full

    def wait_for(self, waiter: Waiter) -> bool:
        """Add the record to the queue. Return True if it was staged at once after all."""
        with self.lock:
            if self.closed:
                waiter.closed = True
                return False
            for stream in [
                *self._charged_streams,
                waiter.stream,
            ]:  # otherwise puts on credit would overtake the waiting record
                self._withdraw_credit(stream)
            if self._waiters.add(waiter):
                self._grant()
            return waiter.granted

    def stop_waiting(self, waiter: Waiter) -> bool:
        """Remove the record from the queue. Return True if it was staged meanwhile."""
        with self.lock:
            if waiter.group is not None:
                self._waiters.remove(waiter)
                self._grant()  # records behind it may have waited only for their turn
            return waiter.granted

    def withdraw(self, waiter: Waiter) -> bool:
        """Remove the record from the queue, or from staging. Return False if it was drained already, and is sent."""
        with self.lock:
            if not self.stop_waiting(waiter):
                return True
            stream, record, size = waiter.stream, waiter.record, waiter.size
            remove = stream.staging.remove
            if record not in stream.staging:
                return False
            stream.charged_records -= 1
            stream.charged_bytes -= size
            self.records -= 1
            self.bytes -= size
            stream.held_records -= 1
            stream.held_bytes -= size
            remove(record)
            self._note_charge(stream)
            self._grant()
            return True

    def close(self) -> None:
        """Wake all waiting puts. From now on no put waits."""
        with self.lock:
            self.closed = True
            for waiter in self._waiters:
                waiter.closed = True
                waiter.wake()
            self._waiters.clear()

    def _grant(self) -> None:
        """Stage the waiting records that fit, in their order.

        A record over its stream's share lets other streams pass. A record over its shard's share lets all others pass.
        """
        turns = self._waiters.group_heads()
        full: set[Stream] = set()
        while turns:
            waiter = heappop(turns)
            is_over = waiter.granted or waiter.is_gone  # granted: an exception came before it was removed
            if not is_over and waiter.stream not in full and self._fits(waiter.stream, waiter.hash_key, waiter.size):
                self._grant_one(waiter)
                is_over = True
            if is_over:
                following = self._waiters.remove(waiter)
                if following is not None:
                    heappush(turns, following)
            elif not self._lets_pass(waiter, full):
                break

    def _grant_one(self, waiter: Waiter) -> None:
        """Stage the waiting record, and wake its thread or task."""
        waiter.record.arrival = time.monotonic()  # the time to live begins when the record is accepted
        try:
            self._stage(waiter.stream, waiter.record, waiter.hash_key, waiter.size, waiter)
        finally:
            if waiter.granted:
                waiter.wake()
        waiter.stream.request_wake()

    def _lets_pass(self, waiter: Waiter, full: set[Stream]) -> bool:
        """Return True if records behind this waiter may be staged before it.

        full: the streams over their share. The waiter's stream is added to it if it is over its share.
        """
        if waiter.stream in full or self._over_stream_share(waiter.stream, waiter.size):
            full.add(waiter.stream)
            return True
        return self._over_shard_share(waiter.stream, waiter.hash_key) is not None

    # --- bounds and shares ---

    def shortage(self, stream: Stream, hash_key: int, size: int) -> Shortage | None:
        """Return why the record was refused. None: by now the buffer has space for it."""
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
        if not records:  # a stream without records may always have one, of any size
            return None
        share, share_bytes = self._share_of(stream)
        if records >= share:
            return "records"
        return "bytes" if held + size > share_bytes else None

    def _share_of(self, stream: Stream) -> tuple[int, int]:
        """Return the records and bytes that the stream may have: all of them while no other stream needs space."""
        others = len(self._charged_streams) > (stream in self._charged_streams)
        newcomers = self._newcomers and self._newcomers != {stream}
        if others or self._shared or newcomers or self._waiters.has_others(stream):
            return ceil(0.75 * self._max_records), ceil(0.75 * self._max_bytes)
        return self._max_records, self._max_bytes

    def _taken(self, stream: Stream) -> tuple[int, int]:
        """Return the records and bytes in the whole buffer, with what this stream has staged on credit."""
        records = self.records + len(stream.staging) - stream.charged_records
        return records, self.bytes + _on_credit(stream)

    def _held_by(self, stream: Stream) -> tuple[int, int]:
        """Return the records and bytes that the stream has in the buffer, with those staged on credit."""
        records = stream.held_records + len(stream.staging) - stream.charged_records
        return records, stream.held_bytes + _on_credit(stream)

    def _over_shard_share(self, stream: Stream, hash_key: int) -> Bound | None:
        records, size = self._held_by(stream)
        if 2 * records < self._max_records and 2 * size < self._max_bytes:
            return None
        held, held_bytes = stream.held_by_shard_of(hash_key)
        if 2 * held >= self._max_records:
            return "records"
        return "bytes" if 2 * held_bytes >= self._max_bytes else None


def _on_credit(stream: Stream) -> int:
    """Return the bytes that are staged on credit."""
    return stream.counted_bytes if stream.counts_staged else stream.staged_bytes
