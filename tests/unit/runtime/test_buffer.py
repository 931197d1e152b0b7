"""The buffer: its shares, the order of waiting puts, and what a put does without buffer space."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kplpy import BufferFullError, Producer, ProducerClosedError, RecordFuture
from kplpy.dead_letters import DeadLetterStream
from kplpy.futures.record_future import Origin
from kplpy.runtime.buffer import CREDIT_DIVISOR, CREDIT_DIVISOR_HALF_FULL, MIN_CREDIT, RECORD_OVERHEAD, Buffer, Shortage
from kplpy.runtime.stream import Stream
from kplpy.runtime.wait_queue import Waiter
from tests.held_stream import HeldStream
from tests.inside import abandon, buffer_of, streams_of, waiters_of
from tests.stub_service import PATIENCE, StubService, install

LOW, HIGH = 0, (1 << 128) - 1  # hash keys of the first and of the second shard of two


def record(hash_key: int = LOW) -> RecordFuture:
    return RecordFuture(Origin("test"), b"", "key", None, hash_key, 0.0)


def admit(buffer: Buffer, stream: Stream, hash_key: int, size: int) -> bool:
    return buffer.admit(stream, record(hash_key), hash_key, size)


def take(buffer: Buffer, stream: Stream, records: int, size: int) -> None:
    """Stage and drain this many records. size: their bytes in all."""
    stream.staging.extend(record() for _ in range(records))
    stream.staged_bytes += size
    drain(buffer, stream, size)


def drain(buffer: Buffer, stream: Stream, size: int = 0) -> None:
    """Drain the staged records. size: the bytes that were staged on credit."""
    buffer.charge_drained(stream, len(stream.staging), stream.charged_bytes + size)
    stream.staging.clear()
    stream.charged_by_place = {}
    buffer.renew(stream)


class Woken(Waiter):
    """A waiter that counts how often it is woken."""

    __slots__ = ("wakes",)

    def __init__(self, of: Stream, size: int = 0, hash_key: int = LOW) -> None:
        self.wakes = 0
        super().__init__(of, record(hash_key), size)

    def wake(self) -> None:
        self.wakes += 1


# --- the counts ---


def test_records_are_bounded() -> None:
    buffer = Buffer(4, 1 << 20)
    one, other = HeldStream(), HeldStream()
    for _ in range(2):
        assert admit(buffer, one, LOW, 100)
    for _ in range(2):
        assert admit(buffer, other, LOW, 100)
    assert (buffer.records, buffer.bytes) == (4, 400)
    assert not admit(buffer, one, LOW, 0)
    assert not admit(buffer, HeldStream(), LOW, 0)
    drain(buffer, one)
    drain(buffer, other)
    assert (buffer.records, buffer.bytes) == (4, 400)
    buffer.release(one, 2, 200)
    assert admit(buffer, one, LOW, 100)
    drain(buffer, one)
    buffer.release(one, 1, 100)
    buffer.release(other, 2, 200)
    assert (buffer.records, buffer.bytes) == (0, 0)
    assert (one.held_records, one.held_bytes, other.held_records, other.held_bytes) == (0, 0, 0, 0)


def test_bytes_are_bounded() -> None:
    buffer = Buffer(1000, 1000)
    one, other = HeldStream(), HeldStream()
    take(buffer, one, 1, 700)
    assert not admit(buffer, other, LOW, 301)
    assert admit(buffer, other, LOW, 300)
    drain(buffer, other)
    buffer.release(other, 1, 300)
    buffer.release(one, 1, 700)
    assert admit(buffer, other, LOW, 301)


def test_what_is_staged_on_credit_counts() -> None:
    buffer = Buffer(2, 1000)
    one = HeldStream()
    one.staging.extend([record(), record()])
    assert not admit(buffer, one, LOW, 0)
    one.staging.clear()
    one.staging.append(record())
    one.staged_bytes = 700
    assert not admit(buffer, one, LOW, 301)
    assert admit(buffer, one, LOW, 300)


def test_an_empty_buffer_takes_one_record_of_any_size() -> None:
    buffer = Buffer(1, 1024)
    one = HeldStream()
    assert admit(buffer, one, LOW, 1 << 30)
    assert not admit(buffer, HeldStream(), LOW, 0)


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


def test_a_put_whose_space_is_released_while_it_is_refused_takes_it(
    service: StubService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response came after the record was refused, and before the shortage was looked up."""
    service.hold()
    with Producer(max_buffered_records=2, record_max_buffered_time_ms=0, on_buffer_full="raise") as producer:
        fill(producer)
        shortage = buffer_of(producer).shortage

        def late(stream: Stream, hash_key: int, size: int) -> Shortage | None:
            service.let_go()
            until(lambda: buffer_of(producer).records == 0)
            return shortage(stream, hash_key, size)

        monkeypatch.setattr(buffer_of(producer), "shortage", late)
        producer.put_record("orders", b"late", "key").result(PATIENCE)
        empty(producer)


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


# --- credit ---


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


@pytest.mark.parametrize("seed", range(20))
def test_the_bounds_hold_whatever_happens(seed: int) -> None:
    """Three streams put, are drained and get outcomes at random. The test counts what is staged."""
    records, size_bound = 10_000, 64 << 20
    rng = random.Random(seed)
    buffer, streams = Buffer(records, size_bound), [HeldStream() for _ in range(3)]
    inside: list[tuple[HeldStream, int]] = []
    staged: dict[HeldStream, list[int]] = {stream: [] for stream in streams}
    outcomes: Counter[str] = Counter()

    def drain_all(stream: HeldStream) -> None:
        sizes = staged[stream]
        buffer.charge_drained(stream, len(sizes), sum(sizes))
        stream.staging.clear()
        stream.charged_by_place = {}
        buffer.renew(stream)
        inside.extend((stream, size) for size in sizes)
        sizes.clear()

    def put(stream: HeldStream, size: int) -> None:
        if stream.staged_bytes + size <= stream.credit and len(stream.staging) <= stream.credit_records:
            outcomes["on credit"] += 1
            stream.staged_bytes += size
            stream.staging.append(record())
        elif admit(buffer, stream, LOW, size):
            outcomes["charged"] += 1
        else:
            outcomes["no space"] += 1
            return
        staged[stream].append(size)

    for _ in range(20_000):
        stream = rng.choice(streams)
        if rng.random() < 0.9:
            put(stream, RECORD_OVERHEAD + rng.choice((1, 100, 5000, 100_000)) * (rng.random() < 0.7))
        elif rng.random() < 0.3:
            drain_all(stream)
        elif inside and rng.random() < 0.005:
            rng.shuffle(inside)
            for each, size in [inside.pop() for _ in range(len(inside) // rng.choice((2, 10, 100)))]:
                buffer.release(each, 1, size)
        # a put does not see what the other two streams have staged on credit
        staged_bytes = sum(each.staged_bytes for each in streams)
        assert buffer.records + sum(len(each.staging) - each.charged_records for each in streams) <= 1.5 * records
        assert buffer.bytes + staged_bytes <= 1.5 * size_bound
    assert min(outcomes[each] for each in ("no space", "charged", "on credit")) > 0, outcomes
    for each in streams:
        drain_all(each)
    for each, size in inside:
        buffer.release(each, 1, size)
    assert (buffer.records, buffer.bytes) == (0, 0)


# --- waiting for buffer space ---


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


# --- a producer with a full buffer ---


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubService]:
    stub = install(monkeypatch)
    yield stub
    stub.let_go()


@pytest.fixture
def pool(service: StubService) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool
        service.let_go()


def until(reached: Callable[[], bool]) -> None:
    """Wait until the condition holds. A thread does not report that it has begun to wait for buffer space."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def counted(producer: Producer, records: int) -> None:
    """Wait until this many records are drained, because other streams' puts do not see staged records."""
    until(lambda: buffer_of(producer).records == records)


def fill(producer: Producer, name: str = "orders") -> list[RecordFuture]:
    """Put until the buffer has no space for this stream. Return the futures."""
    futures: list[RecordFuture] = []

    async def main() -> None:
        # in an event loop, a put without buffer space raises at once
        while True:
            futures.append(producer.put_record(name, b"x" * 100, f"key-{len(futures)}"))

    with pytest.raises(BufferFullError):
        asyncio.run(main())
    return futures


def empty(producer: Producer) -> None:
    """Wait until every record has an outcome, and check that all counts are zero."""
    producer.flush(timeout=PATIENCE)
    buffer = buffer_of(producer)
    assert (producer.outstanding_records, producer.outstanding_bytes) == (0, 0)
    assert (buffer.records, buffer.bytes) == (0, 0)
    assert waiters_of(producer) == 0
    for each in streams_of(producer).values():
        assert (each.held_records, each.held_bytes, each.staged_bytes) == (0, 0, 0)
        assert not each.staging
        assert [each.pipeline.held_by_shard_of(key) for key in (LOW, HIGH)] == [(0, 0)] * 2


def test_a_put_waits_until_the_buffer_has_space(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    with Producer(max_buffered_records=3, record_max_buffered_time_ms=0) as producer:
        futures = fill(producer)
        assert len(futures) == 3
        putting = pool.submit(producer.put_record, "orders", b"late", "key")
        until(lambda: waiters_of(producer) == 1)
        assert not putting.done()
        assert producer.outstanding_records == 3
        service.let_go()
        putting.result(PATIENCE).result(PATIENCE)
        empty(producer)
    assert sorted(each.data for each in service.sent()) == [b"late", *[b"x" * 100] * 3]


def test_bytes_run_out_too(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    with Producer(max_buffered_bytes=4096, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", bytes(3000 - RECORD_OVERHEAD), "1234")
        assert producer.outstanding_bytes == 3004
        putting = pool.submit(producer.put_record, "orders", bytes(1000), "1234")
        until(lambda: waiters_of(producer) == 1)
        assert producer.outstanding_bytes == 3004
        service.let_go()
        putting.result(PATIENCE)
        empty(producer)


def test_a_record_larger_than_the_buffer_is_accepted_when_it_is_empty(service: StubService) -> None:
    with Producer(max_buffered_bytes=1024) as producer:
        producer.put_record("orders", bytes(1 << 19), "key").result(PATIENCE)
        empty(producer)


def test_a_put_waits_no_longer_than_max_block_ms(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=2, max_block_ms=20) as producer:
        fill(producer)
        before = time.monotonic()
        with pytest.raises(BufferFullError) as raised:
            producer.put_record("orders", b"late", "key")
        assert time.monotonic() - before >= 0.02
        message = str(raised.value)
        assert message == (
            "no buffer space for a record of 407 bytes of stream 'orders': "
            "all streams together have 2 records outstanding, of max_buffered_records=2"
        )
        assert waiters_of(producer) == 0
        assert producer.outstanding_records == 2
        service.let_go()
        empty(producer)
        producer.put_record("orders", b"again", "key").result(PATIENCE)
    assert b"late" not in {each.data for each in service.sent()}


def test_a_refused_put_names_the_share_that_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    service = install(monkeypatch, shards=2)
    with Producer(max_buffered_bytes=20_000, aggregation_enabled=False, on_buffer_full="raise") as producer:
        producer.put_record("orders", b"x", "key").result(PATIENCE)  # the shards are known from here on
        service.hold()

        def fails(size: int, hash_key: int) -> str:
            with pytest.raises(BufferFullError) as raised:
                producer.put_record("orders", bytes(size), "k", explicit_hash_key=hash_key)
            return str(raised.value)

        producer.put_record("orders", bytes(10_000), "k", explicit_hash_key=LOW)
        assert fails(100, LOW) == (
            "no buffer space for a record of 501 bytes of stream 'orders': its shard has 10001 bytes outstanding, of "
            "10000 for one of several shards (half of max_buffered_bytes=20000)"
        )
        assert fails(9_500, HIGH) == (
            "no buffer space for a record of 9901 bytes of stream 'orders': all streams together have 10401 bytes "
            "outstanding, of max_buffered_bytes=20000"
        )
        producer.put_record("other", b"", "k", explicit_hash_key=HIGH)
        counted(producer, 2)
        assert fails(5_000, HIGH) == (
            "no buffer space for a record of 5401 bytes of stream 'orders': this stream has 10401 bytes outstanding, "
            "of 15000 while other streams have records (three quarters of max_buffered_bytes=20000)"
        )
        service.let_go()
        empty(producer)


def test_max_block_ms_zero_does_not_wait(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=2, max_block_ms=0) as producer:
        fill(producer)
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"late", "key")
        with pytest.raises(BufferFullError):
            asyncio.run(producer.aput_record("orders", b"late", "key"))
        service.let_go()
        empty(producer)


def test_incomplete_batches_are_sent_at_once_when_the_buffer_is_full(service: StubService) -> None:
    """Otherwise no space would be released before the linger is over."""
    with Producer(max_buffered_records=4, record_max_buffered_time_ms=10 * 60_000, record_ttl_ms=None) as producer:
        for number in range(20):
            producer.put_record("orders", b"x", str(number))
        empty(producer)


def test_raise_mode(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=2, on_buffer_full="raise") as producer:
        futures = [producer.put_record("orders", b"x", "key") for _ in range(2)]
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"late", "key")
        assert producer.outstanding_records == 2
        service.let_go()
        for each in futures:
            each.result(PATIENCE)
        empty(producer)
        producer.put_record("orders", b"again", "key").result(PATIENCE)


def test_in_a_running_loop_a_put_raises_at_once(service: StubService) -> None:
    service.hold()

    async def main(producer: Producer) -> None:
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"late", "key")
        refused = producer.put_records("orders", [(b"late", "key")] * 3)
        for each in refused:
            assert isinstance(each.exception(0), BufferFullError)

    with Producer(max_buffered_records=2) as producer:
        fill(producer)
        asyncio.run(main(producer))
        assert producer.outstanding_records == 2
        service.let_go()
        empty(producer)


def test_on_buffer_full_block_blocks_in_a_running_loop_too(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()

    async def main(producer: Producer) -> RecordFuture:
        return producer.put_record("orders", b"late", "key")

    with Producer(max_buffered_records=2, on_buffer_full="block") as producer:
        for _ in range(2):
            producer.put_record("orders", b"x", "key")
        putting = pool.submit(asyncio.run, main(producer))
        until(lambda: waiters_of(producer) == 1)
        service.let_go()
        putting.result(PATIENCE).result(PATIENCE)
        empty(producer)


@pytest.mark.parametrize("mode", [None, "block", "raise"])
def test_a_put_from_a_callback_never_blocks(service: StubService, mode: Any) -> None:
    """The callback runs on the thread that releases buffer space."""
    service.hold()
    with Producer(max_buffered_records=4, record_max_buffered_time_ms=0, on_buffer_full=mode) as producer:
        outcomes: list[object] = []
        called = threading.Event()

        def put_more(_: RecordFuture) -> None:
            try:
                for number in range(100):
                    outcomes.append(producer.put_record("other", b"more", str(number)))
            except BufferFullError as error:
                outcomes.append(error)
            called.set()

        future = producer.put_record("orders", b"x", "key")
        future.add_done_callback(put_more)
        service.await_waiting(1)
        service.respond_to_one()
        assert called.wait(PATIENCE)
        assert isinstance(outcomes[-1], BufferFullError)
        accepted = [each for each in outcomes if isinstance(each, RecordFuture)]
        assert 1 <= len(accepted) <= 4
        service.let_go()
        for each in accepted:
            each.result(PATIENCE)
        empty(producer)


def test_a_put_in_a_callback_finds_the_space_of_its_own_record(service: StubService) -> None:
    """A record's buffer space is released before its callbacks run."""
    service.hold()  # no response before the callback is added
    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        chain: list[RecordFuture] = []
        done = threading.Event()

        def next_one(_: RecordFuture) -> None:
            if len(chain) == 50:
                done.set()
                return
            future = producer.put_record("orders", b"%d" % len(chain), "key")
            chain.append(future)
            future.add_done_callback(next_one)
            service.respond_to_one()

        next_one(None)  # type: ignore[arg-type]
        assert done.wait(PATIENCE)
        empty(producer)
    assert [each.data for each in service.sent()] == [b"%d" % n for n in range(50)]


def test_put_records_with_space_for_some(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=5, on_buffer_full="raise") as producer:
        futures = producer.put_records("one", [(b"%d" % n, "key") for n in range(10)])
        accepted = [each for each in futures if not each.done()]
        assert accepted == futures[: len(accepted)]
        assert len(accepted) == 5
        for each in futures[5:]:
            with pytest.raises(BufferFullError, match=r"no buffer space for a record of .* of stream 'one'"):
                each.result(0)
        assert producer.outstanding_records == 5
        service.let_go()
        empty(producer)
    assert [each.data for each in service.sent()] == [b"0", b"1", b"2", b"3", b"4"]


def test_put_records_waits_for_space_part_way(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    with Producer(max_buffered_records=4, record_max_buffered_time_ms=0) as producer:
        putting = pool.submit(producer.put_records, "orders", [(b"%d" % n, "key") for n in range(200)])
        until(lambda: waiters_of(producer) == 1)
        service.let_go()
        futures = putting.result(PATIENCE)
        for each in futures:
            each.result(PATIENCE)
        empty(producer)
    assert sorted(int(each.data) for each in service.sent()) == list(range(200))


def test_the_time_of_a_record_that_waited_counts_from_its_acceptance(
    service: StubService, pool: ThreadPoolExecutor
) -> None:
    service.hold()
    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0, record_ttl_ms=None) as producer:
        producer.put_record("orders", b"first", "key")
        putting = pool.submit(producer.put_records, "orders", [(b"%d" % n, "key") for n in range(3)])
        until(lambda: waiters_of(producer) == 1)
        blocked_until = time.monotonic()
        service.let_go()
        futures = putting.result(PATIENCE)
        assert [each.arrival >= blocked_until for each in futures] == [True] * 3
        empty(producer)


def test_threads_are_served_in_the_order_in_which_they_came(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", b"first", "key")
        service.await_waiting(1)
        putting = []
        for number in range(8):
            putting.append(pool.submit(producer.put_record, "orders", b"%d" % number, "key"))
            until(lambda number=number: waiters_of(producer) == number + 1)  # type: ignore[misc]
        service.let_go()
        for each in putting:
            each.result(PATIENCE).result(PATIENCE)
        empty(producer)
    assert [each.data for each in service.sent()] == [b"first", *(b"%d" % n for n in range(8))]


def test_a_dead_stream_leaves_space_for_the_others(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=100, record_max_buffered_time_ms=0, max_connections=4) as producer:
        living = producer.put_record("living", b"first", "key")
        counted(producer, 1)
        assert len(fill(producer, "dead")) == 75
        service.hold("dead")
        living.result(PATIENCE)
        for number in range(300):
            producer.put_record("living", b"%d" % number, str(number)).result(PATIENCE)
        assert producer.outstanding_records == 75
        service.let_go()
        empty(producer)


@pytest.mark.parametrize(("of_another", "share"), [(False, 75), (True, 100)])
def test_a_producer_that_puts_dead_letters_keeps_space_for_them(
    service: StubService, of_another: bool, share: int
) -> None:
    service.hold()
    with Producer() as another:
        letters = DeadLetterStream("letters", another if of_another else None)
        with Producer(max_buffered_records=100, on_failure=letters) as producer:
            assert len(fill(producer)) == share
            service.let_go()
            empty(producer)


def test_a_newcomer_waits_until_a_stream_with_the_whole_buffer_gets_an_outcome(
    service: StubService, pool: ThreadPoolExecutor
) -> None:
    service.hold()
    with Producer(max_buffered_records=100, aggregation_enabled=False, collection_max_count=1) as producer:
        assert len(fill(producer, "slow")) == 100
        counted(producer, 100)
        putting = pool.submit(producer.put_record, "other", b"x", "key")
        until(lambda: waiters_of(producer) == 1)
        service.respond_to_one()
        putting.result(PATIENCE)
        counted(producer, 100)
        assert fill(producer, "slow") == []  # as long as it has three quarters or more
        service.let_go()
        empty(producer)


def test_a_hot_shard_leaves_space_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    service = install(monkeypatch, shards=2)
    # not aggregated, because records in an open aggregate count for their shard only once it closes
    with Producer(max_buffered_records=100, aggregation_enabled=False, on_buffer_full="raise") as producer:
        producer.put_record("orders", b"x", "key").result(PATIENCE)  # the shards are known from here on
        service.hold()
        for _ in range(50):
            producer.put_record("orders", b"x", explicit_hash_key=LOW)
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"x", explicit_hash_key=LOW)
        producer.put_record("other", b"x", explicit_hash_key=LOW)
        counted(producer, 51)
        for _ in range(25):
            producer.put_record("orders", b"x", explicit_hash_key=HIGH)
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"x", explicit_hash_key=HIGH)
        producer.put_record("other", b"x", explicit_hash_key=LOW)
        service.let_go()
        empty(producer)


def test_a_shard_may_fill_a_stream_of_one(service: StubService) -> None:
    with Producer(max_buffered_records=100, aggregation_enabled=False, on_buffer_full="raise") as producer:
        producer.put_record("orders", b"x", "key").result(PATIENCE)
        service.hold()
        assert len(fill(producer)) == 100
        service.let_go()
        empty(producer)


def test_many_threads_and_a_small_buffer(service: StubService, pool: ThreadPoolExecutor) -> None:
    with Producer(max_buffered_records=7, max_buffered_bytes=20_000, record_max_buffered_time_ms=1) as producer:

        def put(thread: int) -> list[RecordFuture]:
            return [
                producer.put_record(f"stream-{n % 3}", bytes(n % 50 * 100), f"{thread}-{n}", explicit_hash_key=n)
                for n in range(150)
            ]

        futures = [each for putting in [pool.submit(put, n) for n in range(8)] for each in putting.result(2 * PATIENCE)]
        for each in futures:
            each.result(PATIENCE)
        empty(producer)
    assert {each.partition_key for each in service.sent()} == {f"{t}-{n}" for t in range(8) for n in range(150)}
    assert len(service.sent()) == 1200


# --- aput_record ---


def test_aput_waits_without_blocking_the_loop(service: StubService) -> None:
    service.hold()

    async def main(producer: Producer) -> None:
        putting = asyncio.ensure_future(producer.aput_record("orders", b"late", "key"))
        while waiters_of(producer) == 0:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)  # the loop runs
        assert not putting.done()
        assert producer.outstanding_records == 2
        service.let_go()
        assert (await (await putting)).shard_id == "shard-0"

    with Producer(max_buffered_records=2, record_max_buffered_time_ms=0) as producer:
        fill(producer)
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        empty(producer)


@pytest.mark.parametrize("mode", [None, "raise", "block"])
def test_aput_waits_in_every_mode_and_no_longer_than_max_block_ms(service: StubService, mode: Any) -> None:
    service.hold()
    with Producer(max_buffered_records=1, max_block_ms=20, on_buffer_full=mode) as producer:
        producer.put_record("orders", b"x", "key")
        before = time.monotonic()
        with pytest.raises(BufferFullError, match=r"no buffer space for a record of .* of stream 'orders'"):
            asyncio.run(producer.aput_record("orders", b"late", "key"))
        assert time.monotonic() - before >= 0.02
        assert waiters_of(producer) == 0
        service.let_go()
        empty(producer)
    assert [each.data for each in service.sent()] == [b"x"]


def test_a_cancelled_aput_leaves_the_queue(service: StubService) -> None:
    service.hold()

    async def main(producer: Producer) -> None:
        tasks = [asyncio.ensure_future(producer.aput_record("orders", b"%d" % n, "key")) for n in range(3)]
        while waiters_of(producer) < 3:
            await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        assert [each.cancelled() for each in tasks] == [True, False, True]
        assert waiters_of(producer) == 1
        service.let_go()
        await (await tasks[1])

    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", b"first", "key")
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        empty(producer)
    assert [each.data for each in service.sent()] == [b"first", b"1"]


def test_an_aput_cancelled_just_as_its_record_was_staged(service: StubService) -> None:
    """The record is taken back, or was drained already and is delivered. Its space is released in both cases."""
    service.hold()

    async def main(producer: Producer) -> None:
        task = asyncio.ensure_future(producer.aput_record("orders", b"late", "key"))
        while waiters_of(producer) == 0:
            await asyncio.sleep(0)
        service.let_go()
        while waiters_of(producer):  # without running the loop, which would let the task go on
            time.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await (await producer.aput_record("orders", b"next", "key"))

    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", b"first", "key")
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        empty(producer)
    assert [each.data for each in service.sent() if each.data != b"late"] == [b"first", b"next"]


@pytest.mark.parametrize("seed", range(3))
def test_cancelling_aputs_at_random_loses_no_record_and_no_space(service: StubService, seed: int) -> None:
    chance = random.Random(seed)
    accepted: list[str] = []

    async def put(producer: Producer, number: int) -> None:
        future = await producer.aput_record("orders", bytes(100), str(number))
        accepted.append(future.partition_key)
        await future

    async def main(producer: Producer) -> None:
        tasks = [asyncio.ensure_future(put(producer, number)) for number in range(300)]
        while not all(each.done() for each in tasks):
            for each in chance.sample(tasks, 5):
                if chance.random() < 0.2:
                    each.cancel()
            await asyncio.sleep(chance.choice((0, 0, 0.001)))
        for each in tasks:
            assert each.cancelled() or each.exception() is None

    with Producer(max_buffered_records=10, record_max_buffered_time_ms=1) as producer:
        asyncio.run(asyncio.wait_for(main(producer), 2 * PATIENCE))
        empty(producer)
    keys = [each.partition_key for each in service.sent()]
    assert len(keys) == len(set(keys))
    # every record that aput_record returned was sent; one cancelled before that may have been sent
    assert set(accepted) <= set(keys)
    assert len(accepted) > 20


def test_a_loop_that_was_closed_while_an_aput_waited(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", b"first", "key")
        loop = asyncio.new_event_loop()
        task = loop.create_task(producer.aput_record("orders", b"late", "key"))  # noqa: F841, RUF006 - kept alive
        while waiters_of(producer) == 0:
            loop.run_until_complete(asyncio.sleep(0))
        for each in asyncio.all_tasks(loop):  # they never end, and asyncio would complain about that
            abandon(each)
        loop.close()
        service.let_go()
        producer.flush(timeout=PATIENCE)
        # no task takes the space that was kept, so it goes to the next record
        producer.put_record("orders", b"next", "key").result(PATIENCE)
        empty(producer)


# --- close ---


def test_close_wakes_the_threads_that_wait_for_space(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    producer = Producer(max_buffered_records=2, record_max_buffered_time_ms=0)
    futures = fill(producer)
    putting = [pool.submit(producer.put_record, "orders", b"late", "key") for _ in range(4)]
    putting_many = pool.submit(producer.put_records, "orders", [(b"late", "key")] * 3)
    until(lambda: waiters_of(producer) == 5)
    closing = pool.submit(producer.close)
    for each in putting:
        with pytest.raises(ProducerClosedError, match="closed while the record waited for buffer space"):
            each.result(PATIENCE)
    for refused in putting_many.result(PATIENCE):
        with pytest.raises(ProducerClosedError):
            refused.result(0)
    assert not closing.done()  # accepted records are still delivered
    service.let_go()
    closing.result(PATIENCE)
    for accepted in futures:
        accepted.result(0)
    empty(producer)
    assert b"late" not in {each.data for each in service.sent()}


def test_close_wakes_an_aput_that_waits_for_space(service: StubService) -> None:
    service.hold()

    async def main(producer: Producer) -> None:
        putting = asyncio.ensure_future(producer.aput_record("orders", b"late", "key"))
        while waiters_of(producer) == 0:
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(producer.aclose())
        with pytest.raises(ProducerClosedError, match="closed while the record waited for buffer space"):
            await putting
        service.let_go()
        await closing

    producer = Producer(max_buffered_records=1, record_max_buffered_time_ms=0)
    producer.put_record("orders", b"x", "key")
    asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
    empty(producer)
    assert [each.data for each in service.sent()] == [b"x"]


def test_close_gives_up_after_its_timeout_and_the_buffer_is_empty(service: StubService) -> None:
    service.hold()
    producer = Producer(close_timeout_ms=50, record_max_buffered_time_ms=0)
    futures = producer.put_records("orders", [(b"x", str(n)) for n in range(10)])
    service.await_waiting(1)
    producer.close()
    for each in futures:
        error = each.exception(0)
        assert error is not None
        assert "closed" in str(error)
    assert (producer.outstanding_records, producer.outstanding_bytes) == (0, 0)
    service.let_go()
