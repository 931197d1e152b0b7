"""The buffer: the credit that streams stage on without its lock."""

from __future__ import annotations

from kplpy.runtime.buffer import CREDIT_DIVISOR, CREDIT_DIVISOR_HALF_FULL, MIN_CREDIT, Buffer
from kplpy.runtime.put_target import RECORD_OVERHEAD
from tests.buffer_helpers import LOW, Woken, admit, record, take
from tests.held_stream import HeldStream


def test_credit_is_a_part_of_what_is_left() -> None:
    buffer, stream = Buffer(10_000, 64 << 20), HeldStream()
    buffer.renew(stream)
    assert stream.credit == 10_000 * RECORD_OVERHEAD // CREDIT_DIVISOR
    assert stream.credit_records == 10_000 // CREDIT_DIVISOR
    take(buffer, stream, 5_000, 0)
    buffer.renew(stream)
    assert stream.credit == 5_000 * RECORD_OVERHEAD // CREDIT_DIVISOR_HALF_FULL


def test_a_small_credit_is_the_minimum_or_none() -> None:
    buffer, stream = Buffer(10_000, 64 << 20), HeldStream()
    take(buffer, stream, 9_800, 0)
    assert stream.credit == MIN_CREDIT
    take(buffer, stream, 100, 0)
    assert stream.credit == 0


def test_many_streams_share_the_credit() -> None:
    """The credits of all streams together stay within the bounds."""
    buffer = Buffer(100_000, 64 << 20)
    streams = [HeldStream() for _ in range(64)]
    for stream in streams:
        take(buffer, stream, 100, 0)
    for stream in streams:
        buffer.renew(stream)
    assert sum(stream.credit for stream in streams) <= 100_000 * RECORD_OVERHEAD // 2


def test_no_credit_near_a_shards_share() -> None:
    """The next puts may be for any shard."""
    buffer, stream = Buffer(10_000, 64 << 20), HeldStream()
    take(buffer, stream, 6_000, 0)
    stream.held_by_shard[7] = 4_990, 0
    buffer.renew(stream)
    assert stream.credit == 0
    stream.held_by_shard[7] = 4_000, 0
    buffer.renew(stream)
    assert stream.credit > 0


def test_no_credit_while_a_put_waits_or_in_a_small_or_closed_buffer() -> None:
    buffer, stream, other = Buffer(10_000, 64 << 20), HeldStream(), HeldStream()
    take(buffer, stream, 10, 0)
    assert stream.credit
    waiter = Woken(other, 100 << 20)
    assert not buffer.wait_for(waiter)
    assert stream.credit == other.credit == 0
    buffer.renew(stream)
    assert stream.credit == 0
    buffer.stop_waiting(waiter)
    buffer.renew(stream)
    assert stream.credit
    buffer.close()
    buffer.renew(stream)
    assert stream.credit == 0
    for small in (Buffer(1999, 100 << 20), Buffer(2000, (16 << 20) - 1)):
        small.renew(stream)
        assert stream.credit == 0


def test_what_is_staged_during_a_drain_stays_counted_and_gets_no_new_credit() -> None:
    """Application threads go on while a drain adds up what it took out."""
    buffer, stream, size = Buffer(10_000, 64 << 20), HeldStream(), 500
    buffer.renew(stream)
    left, records_left = stream.credit - 15 * size, stream.credit_records - 15
    stream.staging.extend(record() for _ in range(15))
    stream.staged_bytes += 15 * size
    for _ in range(10):
        stream.staging.popleft()
    buffer.charge_drained(stream, 10, 10 * size)
    assert stream.staged_bytes == 5 * size
    assert stream.credit - stream.staged_bytes == left
    assert stream.credit_records - len(stream.staging) == records_left
    assert buffer.bytes == 10 * size


def test_the_bytes_on_credit_are_zero_once_nothing_is_staged() -> None:
    """Without a GIL, threads that stage at the same moment may miscount them until then."""
    buffer, stream = Buffer(10_000, 64 << 20), HeldStream()
    stream.staged_bytes = 1200
    buffer.charge_drained(stream, 2, 1000)
    assert stream.staged_bytes == 0


def test_without_a_gil_the_records_count_and_not_the_sum_of_which_threads_lost_updates() -> None:
    """Each time that a put is charged on its own, and at each drain."""
    buffer, size = Buffer(10_000, 16 << 20), RECORD_OVERHEAD + len("key")
    stream = HeldStream()
    stream.counts_staged = True
    buffer.renew(stream)
    stream.staging.extend(record() for _ in range(30))
    stream.staged_bytes += 11 * size
    assert admit(buffer, stream, LOW, size)
    assert stream.staged_bytes == 30 * size
    stream.staging.extend(record() for _ in range(20))
    assert not admit(buffer, stream, LOW, (16 << 20) - 51 * size + 1)
    for _ in range(31):
        stream.staging.popleft()
    buffer.charge_drained(stream, 31, 31 * size)
    assert (stream.staged_bytes, buffer.bytes) == (20 * size, 31 * size)
    assert stream.credit > 20 * size
    waiter = Woken(stream, size=16 << 20)
    stream.staging.append(record())
    buffer.wait_for(waiter)
    assert (stream.credit, stream.staged_bytes) == (0, 21 * size)
