"""The buffer: the shares of streams and shards."""

from __future__ import annotations

import pytest

from kplpy.runtime.buffer import Buffer
from kplpy.runtime.stream import Stream
from tests.buffer_helpers import HIGH, LOW, Woken, admit, drain, take
from tests.held_stream import HeldStream


def fill_with(buffer: Buffer, stream: Stream) -> int:
    """Put empty records until the buffer refuses one. Return how many it took."""
    taken = 0
    while admit(buffer, stream, LOW, 0):
        drain(buffer, stream)
        taken += 1
    return taken


@pytest.mark.parametrize("records", [1, 2, 3, 5, 8, 100])
def test_one_stream_alone_gets_all_of_it(records: int) -> None:
    buffer, one = Buffer(records, 1 << 30), HeldStream()
    assert fill_with(buffer, one) == records
    buffer.release(one, records, 0)
    assert fill_with(buffer, one) == records


@pytest.mark.parametrize("records", [2, 3, 5, 8, 100])
def test_a_stream_gets_three_quarters_while_another_has_records(records: int) -> None:
    buffer = Buffer(records, 1 << 30)
    dead, other = HeldStream(), HeldStream()
    take(buffer, other, 1, 0)
    share = min(-(-3 * records // 4), records - 1)
    assert fill_with(buffer, dead) == share
    assert fill_with(buffer, other) == records - share - 1
    buffer.release(other, records - share, 0)
    assert fill_with(buffer, dead) == records - share  # the stream is alone again


def test_a_stream_gets_three_quarters_of_the_bytes_while_another_has_records() -> None:
    buffer = Buffer(1000, 4000)
    dead, other = HeldStream(), HeldStream()
    take(buffer, dead, 1, 2900)
    assert not admit(buffer, dead, LOW, 1101)
    assert admit(buffer, other, LOW, 10)
    assert not admit(buffer, dead, LOW, 101)
    assert admit(buffer, dead, LOW, 100)
    assert not admit(buffer, other, LOW, 991)
    assert admit(buffer, other, LOW, 990)


def test_a_stream_that_has_more_when_a_second_comes_gets_none_until_it_is_below() -> None:
    buffer = Buffer(100, 1 << 30)
    dead, other = HeldStream(), HeldStream()
    assert fill_with(buffer, dead) == 100
    assert not admit(buffer, other, LOW, 0)
    for left in range(99, 74, -1):  # released space goes to the newcomer
        buffer.release(dead, 1, 0)
        assert not admit(buffer, dead, LOW, 0), left
        assert admit(buffer, other, LOW, 0), left
        drain(buffer, other)
    assert (dead.held_records, other.held_records) == (75, 25)
    buffer.release(dead, 1, 0)
    assert admit(buffer, dead, LOW, 0)


def test_a_newcomer_that_was_refused_finds_space_however_often_others_try() -> None:
    """If puts do not wait, the busy stream would otherwise take each released place before the newcomer tries again."""
    buffer = Buffer(100, 1 << 30)
    busy, rare = HeldStream(), HeldStream()
    fill_with(buffer, busy)
    assert not admit(buffer, rare, LOW, 0)
    buffer.release(busy, 40, 0)
    assert fill_with(buffer, busy) == 15  # up to three quarters
    assert admit(buffer, rare, LOW, 0)
    drain(buffer, rare)
    buffer.release(rare, 1, 0)
    assert fill_with(buffer, busy) == 25  # no other stream has records or wants space


def test_a_newcomer_that_never_comes_back_is_forgotten_once_the_buffer_is_empty() -> None:
    buffer = Buffer(100, 1 << 30)
    busy, gone = HeldStream(), HeldStream()
    fill_with(buffer, busy)
    assert not admit(buffer, gone, LOW, 0)
    buffer.release(busy, 100, 0)
    assert fill_with(buffer, busy) == 100


def test_one_stream_alone_leaves_a_quarter_for_dead_letters() -> None:
    buffer = Buffer(100, 1 << 30, shared=True)
    stuck, letters = HeldStream(), HeldStream()
    assert fill_with(buffer, stuck) == 75
    assert fill_with(buffer, letters) == 25


def test_puts_that_wait_for_a_full_stream_let_a_newcomer_pass() -> None:
    buffer = Buffer(4, 1 << 20)
    full, other = HeldStream(), HeldStream()
    fill_with(buffer, full)
    stuck, served = Woken(full), Woken(other)
    assert not buffer.wait_for(stuck)
    assert not admit(buffer, other, LOW, 0)
    assert not buffer.wait_for(served)
    buffer.release(full, 1, 0)
    assert (stuck.granted, served.granted) == (False, True)
    drain(buffer, other)
    buffer.release(full, 1, 0)
    assert stuck.granted


def test_a_stream_that_only_waits_counts_for_the_shares() -> None:
    buffer = Buffer(8, 1 << 20)
    busy, other = HeldStream(), HeldStream()
    take(buffer, busy, 6, 0)
    take(buffer, other, 2, 0)
    waiters = [Woken(busy), Woken(other), Woken(other)]
    for each in waiters:
        assert not admit(buffer, each.stream, LOW, 0)
        assert not buffer.wait_for(each)
    buffer.release(other, 2, 0)
    assert [each.granted for each in waiters] == [False, True, True]


@pytest.mark.parametrize(("bound", "other_bound"), [("records", 0), ("bytes", 1)])
def test_a_shortage_names_the_bound_and_the_share(bound: str, other_bound: int) -> None:
    """The buffer has 100 records or 100 bytes; its other bound is out of reach."""
    whole = (100, 1 << 30) if bound == "records" else (1 << 30, 100)

    def held(count: int) -> tuple[int, int]:
        return (count, 0) if bound == "records" else (1, count)

    size = 0 if bound == "records" else 1
    buffer, of, other = Buffer(*whole), HeldStream(), HeldStream()
    take(buffer, of, *held(100))
    assert not admit(buffer, of, LOW, size)
    assert buffer.shortage(of, LOW, size) == ("buffer", bound, 100, 100)
    buffer.release(of, *held(80))
    take(buffer, of, *held(55))
    take(buffer, other, *held(10))
    assert not admit(buffer, of, LOW, size)
    assert buffer.shortage(of, LOW, size) == ("stream", bound, 75, 75)
    buffer.release(of, *held(15))
    of.held_by_shard[LOW] = held(50)
    assert not admit(buffer, of, LOW, size)
    assert buffer.shortage(of, LOW, size) == ("shard", bound, 50, 50)
    assert admit(buffer, of, HIGH, size)


def test_a_record_that_would_fit_waits_behind_earlier_ones() -> None:
    buffer = Buffer(100, 1000)
    full, other = HeldStream(), HeldStream()
    take(buffer, full, 7, 700)
    assert not buffer.wait_for(Woken(other, 600))
    assert not admit(buffer, other, LOW, 10)
    assert buffer.shortage(other, LOW, 10) == ("turn", "records", 1, 100)


def test_one_shard_gets_half() -> None:
    buffer = Buffer(100, 1000)
    of = HeldStream()
    take(buffer, of, 50, 0)
    of.held_by_shard[LOW] = (50, 0)
    assert not admit(buffer, of, LOW, 0)
    of.held_by_shard[LOW] = (49, 0)
    assert admit(buffer, of, LOW, 0)
    assert admit(buffer, of, HIGH, 0)


def test_one_shard_gets_half_of_the_bytes() -> None:
    buffer = Buffer(100, 1000)
    of = HeldStream()
    take(buffer, of, 1, 500)
    of.held_by_shard[HIGH] = (1, 500)
    assert not admit(buffer, of, HIGH, 1)
    assert admit(buffer, of, LOW, 1)
