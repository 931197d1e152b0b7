"""The buffer: the queue of those who wait for space."""

from __future__ import annotations

from kplpy.runtime.buffer import Buffer
from tests.buffer_helpers import HIGH, LOW, Woken, admit, drain, take
from tests.held_stream import HeldStream


def test_space_goes_to_waiting_puts_in_their_order() -> None:
    buffer = Buffer(4, 1 << 20)
    full, other = HeldStream(), HeldStream()
    take(buffer, full, 4, 400)
    waiters = [Woken(other, 10) for _ in range(3)]
    assert [buffer.wait_for(each) for each in waiters] == [False] * 3
    buffer.release(full, 1, 100)
    assert [each.granted for each in waiters] == [True, False, False]
    assert [each.wakes for each in waiters] == [1, 0, 0]
    assert list(other.staging) == [waiters[0].record]  # the record is staged and charged, and the scheduler will visit
    assert (buffer.records, buffer.bytes, other.wakes_requested) == (4, 310, 1)
    buffer.release(full, 1, 100)
    assert [each.granted for each in waiters] == [True, True, False]
    assert not admit(buffer, full, LOW, 0)
    drain(buffer, other)
    buffer.release(other, 2, 20)
    assert waiters[2].granted
    assert [each.wakes for each in waiters] == [1, 1, 1]


def test_a_large_record_is_not_overtaken_by_small_ones() -> None:
    buffer = Buffer(100, 1000)
    full, other = HeldStream(), HeldStream()
    take(buffer, full, 7, 700)
    large, small = Woken(other, 600), Woken(other, 10)
    assert not buffer.wait_for(large)
    assert not buffer.wait_for(small)
    assert not admit(buffer, other, LOW, 10)
    buffer.release(full, 2, 200)
    assert [large.granted, small.granted] == [False, False]
    buffer.release(full, 1, 100)
    assert [large.granted, small.granted] == [True, False]
    buffer.release(full, 1, 100)
    assert small.granted


def test_a_record_over_its_streams_share_lets_others_pass() -> None:
    buffer = Buffer(8, 1 << 20)
    dead, other = HeldStream(), HeldStream()
    take(buffer, dead, 6, 0)
    take(buffer, other, 1, 0)
    stuck, served = Woken(dead), Woken(other)
    assert not buffer.wait_for(stuck)
    drain(buffer, other)
    buffer.release(other, 1, 0)
    assert stuck.granted  # one stream alone may use all of the buffer
    buffer = Buffer(8, 1 << 20)
    dead, other = HeldStream(), HeldStream()
    take(buffer, other, 1, 0)
    take(buffer, dead, 6, 0)
    stuck, served = Woken(dead), Woken(other)
    assert not buffer.wait_for(stuck)
    assert buffer.wait_for(served)  # the record does not wait behind the other one
    assert served.wakes == 1
    assert not stuck.granted
    buffer.release(dead, 1, 0)
    assert stuck.granted


def test_once_a_stream_is_alone_again_its_waiting_puts_go_on() -> None:
    buffer = Buffer(8, 1 << 20)
    busy, other = HeldStream(), HeldStream()
    take(buffer, busy, 6, 0)
    take(buffer, other, 1, 0)
    waiter = Woken(busy)
    assert not buffer.wait_for(waiter)
    buffer.release(other, 1, 0)
    assert waiter.granted


def test_a_large_record_is_not_overtaken_within_its_stream() -> None:
    """This holds if only the stream's share stops the record. Otherwise small records could keep it out for ever."""
    buffer = Buffer(100, 1000)
    one, other = HeldStream(), HeldStream()
    take(buffer, one, 2, 700)
    take(buffer, other, 1, 0)
    large, small = Woken(one, 300), Woken(one, 10)
    assert not buffer.wait_for(large)
    assert not admit(buffer, one, LOW, 10)
    assert not buffer.wait_for(small)
    assert admit(buffer, other, LOW, 10)
    buffer.release(one, 1, 250)
    assert [large.granted, small.granted] == [True, False]
    buffer.release(one, 1, 450)
    assert [large.granted, small.granted] == [True, True]


def test_what_is_granted_counts_for_its_stream() -> None:
    """Otherwise many threads that wait for one dead stream would take all space at one release."""
    buffer = Buffer(8, 1 << 20)
    dead, other = HeldStream(), HeldStream()
    take(buffer, dead, 6, 0)
    take(buffer, other, 1, 0)
    waiters = [Woken(dead) for _ in range(8)]
    for each in waiters:
        assert not buffer.wait_for(each)
    buffer.release(dead, 3, 0)
    assert [each.granted for each in waiters] == [True] * 3 + [False] * 5
    drain(buffer, dead)
    assert [each.granted for each in waiters[3:]] == [False] * 5
    assert admit(buffer, other, LOW, 0)


def test_a_hot_shard_lets_the_others_pass() -> None:
    buffer = Buffer(4, 1 << 20)
    of = HeldStream()
    take(buffer, of, 2, 0)
    of.held_by_shard[HIGH] = (2, 0)
    hot, cool = Woken(of, hash_key=HIGH), Woken(of, hash_key=LOW)
    assert not buffer.wait_for(hot)
    assert buffer.wait_for(cool)
    of.held_by_shard[HIGH] = (1, 0)
    buffer.release(of, 1, 0)
    assert hot.granted


def test_leaving_the_queue() -> None:
    buffer = Buffer(1, 1 << 20)
    full, other = HeldStream(), HeldStream()
    take(buffer, full, 1, 0)
    waiters = [Woken(other) for _ in range(3)]
    for each in waiters:
        assert not buffer.wait_for(each)
    assert not buffer.stop_waiting(waiters[0])
    buffer.release(full, 1, 0)
    assert [each.granted for each in waiters] == [False, True, False]
    assert buffer.stop_waiting(waiters[1])  # the record was staged meanwhile
    assert buffer.withdraw(waiters[1])  # and is taken back, because it was not drained
    assert not (set(other.staging) & {waiters[1].record})
    assert [each.granted for each in waiters] == [False, True, True]
    drain(buffer, other)
    assert not buffer.withdraw(waiters[2])  # it was drained
    assert (buffer.records, other.held_records) == (1, 1)
    assert waiters[0].wakes == 0


def test_puts_behind_one_that_stops_waiting_get_their_turn() -> None:
    buffer = Buffer(100, 1000)
    full, other = HeldStream(), HeldStream()
    take(buffer, full, 7, 700)
    large, small = Woken(other, 600), Woken(other, 10)
    assert not buffer.wait_for(large)
    assert not buffer.wait_for(small)
    assert not buffer.stop_waiting(large)
    assert small.granted
    assert small.wakes == 1


def test_a_reset_releases_drained_records_and_stages_waiting_ones() -> None:
    buffer = Buffer(4, 1 << 20)
    one, other = HeldStream(), HeldStream()
    take(buffer, one, 2, 200)
    assert admit(buffer, one, LOW, 70)  # staged, and not drained
    take(buffer, other, 1, 50)
    waiter = Woken(other)
    assert not buffer.wait_for(waiter)
    buffer.reset(one)
    assert (one.held_records, one.held_bytes) == (1, 70)
    assert (buffer.records, buffer.bytes) == (3, 120)
    assert waiter.granted


def test_close_wakes_all_waiting_puts() -> None:
    buffer = Buffer(1, 1 << 20)
    full, other = HeldStream(), HeldStream()
    take(buffer, full, 1, 0)
    waiters = [Woken(other) for _ in range(3)]
    for each in waiters:
        assert not buffer.wait_for(each)
    buffer.close()
    assert [(each.closed, each.granted, each.wakes) for each in waiters] == [(True, False, 1)] * 3
    late = Woken(other)
    assert not buffer.wait_for(late)
    assert late.closed
    buffer.release(full, 1, 0)
    assert [each.wakes for each in waiters] == [1] * 3
    assert (buffer.records, buffer.bytes) == (0, 0)
