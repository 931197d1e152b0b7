"""In a room that is more than half full, streams are given room for their next puts by the portion."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from kplpy import Producer
from kplpy.future import Origin, RecordFuture
from kplpy.runtime.admission import LEAST_PORTION, PORTIONS, RECORD_OVERHEAD, Room
from kplpy.runtime.line import Waiter
from kplpy.runtime.planning import Planning
from kplpy.runtime.stream import Stream
from tests.held_stream import HeldStream
from tests.integration.reading import wait_until
from tests.stub_service import PATIENCE, install

RECORDS, BYTES = 10_000, 64 << 20
PORTION = (RECORDS // 2 - 1) * RECORD_OVERHEAD // PORTIONS  # of what half_full leaves
_record = RecordFuture(Origin("test"), b"", "key", None, 0, 0.0)


def half_full() -> tuple[Room, HeldStream, HeldStream]:
    """With a stream that has a record staged, and another that has the half."""
    room, stream, other = Room(RECORDS, BYTES), HeldStream(), HeldStream()
    room.add(other, RECORDS // 2, 0)
    assert room.tight
    stream.staging.append(_record)
    return room, stream, other


def kept(room: Room, stream: Stream) -> tuple[int, ...]:
    assert (stream.kept_records, stream.kept_bytes) == (room._kept_records, room._kept_bytes)
    return stream.portion, stream.kept_records, stream.kept_bytes


def test_a_portion_is_kept_until_the_next_drain() -> None:
    room, stream, _ = half_full()
    room.reserve(stream)
    assert kept(room, stream) == (PORTION, PORTION // RECORD_OVERHEAD, PORTION)
    room.reserve(stream)  # one at a time
    assert kept(room, stream) == (PORTION, PORTION // RECORD_OVERHEAD, PORTION)
    stream.staging.clear()
    room.add(stream, 1, 500)
    assert kept(room, stream) == (0, 0, 0)
    assert (stream.held_records, stream.held_bytes) == (1, 500)


def test_without_a_staged_record_nobody_would_give_it_back() -> None:
    room, stream, _ = half_full()
    stream.staging.clear()
    room.reserve(stream)
    assert kept(room, stream) == (0, 0, 0)


@pytest.mark.parametrize("left", [RECORDS // 4, 1000, 300, 200, 100, 1, 0])
def test_it_is_a_small_part_of_what_is_left(left: int) -> None:
    room, stream, other = half_full()
    room.add(other, RECORDS // 4, 0)
    room.add(HeldStream(), RECORDS // 4 - left - 1, 0)
    room.reserve(stream)
    free = left * RECORD_OVERHEAD
    assert stream.portion == (0 if free < 4 * LEAST_PORTION else max(LEAST_PORTION, free // PORTIONS))


def test_many_streams_find_one_each() -> None:
    """In a room of the default size."""
    room = Room(100_000, 64 << 20)
    room.add(HeldStream(), 50_000, 0)
    streams = [HeldStream() for _ in range(64)]
    for stream in streams:
        stream.staging.append(_record)
        room.reserve(stream)
    assert min(stream.portion for stream in streams) >= LEAST_PORTION


def test_none_near_the_streams_share() -> None:
    room, stream, _ = half_full()
    room.add(stream, 0, BYTES // 4 * 3 - 4 * LEAST_PORTION)
    room.reserve(stream)
    assert stream.portion == LEAST_PORTION
    stream.staging.clear()
    room.add(stream, 0, 4)
    stream.staging.append(_record)
    room.reserve(stream)
    assert stream.portion == 0


def test_none_near_a_shards_share() -> None:
    """Whichever shard the next puts are for."""
    room, stream, _ = half_full()
    stream.held_by_shard[7] = 1, BYTES // 2 - 4 * LEAST_PORTION + 4
    room.reserve(stream)
    assert stream.portion == 0
    stream.held_by_shard[7] = 1, BYTES // 2 - 4 * LEAST_PORTION
    room.reserve(stream)
    assert stream.portion == LEAST_PORTION


def test_none_while_somebody_waits() -> None:
    """And who begins to wait is not overtaken by others of the stream."""
    room, stream, _ = half_full()
    room.reserve(stream)
    assert not room.wait_for(Unwoken(stream, 0, BYTES))
    assert kept(room, stream) == (0, 0, 0)
    room.reserve(stream)
    assert kept(room, stream) == (0, 0, 0)


def test_what_a_drain_gives_back_goes_to_those_who_wait() -> None:
    room, stream, other = half_full()
    room.reserve(stream)
    waiter = Unwoken(other, 0, BYTES - room.bytes - room._kept_bytes + 1)
    room.release(other, RECORDS // 2, 0)
    room.add(HeldStream(), 1, BYTES // 4)
    waiter.size = BYTES // 4 * 3 - PORTION + 1
    assert not room.wait_for(waiter)
    stream.staging.clear()
    room.add(stream, 0, 0)
    assert waiter.granted


def test_none_in_a_small_room_or_a_closed_one() -> None:
    small, stream = Room(1999, BYTES), HeldStream()
    stream.staging.append(_record)
    small.reserve(stream)
    assert stream.portion == 0
    room, stream, _ = half_full()
    room.close()
    room.reserve(stream)
    assert stream.portion == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_bounds_hold_whatever_happens(seed: int) -> None:
    """Three streams put, are drained and answered by chance; what is staged is counted here."""
    rng = random.Random(seed)
    room, streams = Room(RECORDS, BYTES), [HeldStream() for _ in range(3)]
    room.add(streams[0], RECORDS // 2, 0)  # for all of it
    inside: list[tuple[HeldStream, int]] = []
    staged: dict[HeldStream, list[int]] = {stream: [] for stream in streams}
    outcomes: Counter[str] = Counter()

    def drain(stream: HeldStream) -> None:
        sizes = staged[stream]
        if sizes:
            stream.staging.clear()
            stream.staged_bytes = 0
            room.add(stream, len(sizes), sum(sizes))
            inside.extend((stream, size) for size in sizes)
            sizes.clear()

    def put(stream: HeldStream, size: int) -> None:
        counted = stream.staged_bytes + size > stream.portion
        if counted:
            drain(stream)
            if not room.try_take(stream, 0, size):
                outcomes["no room"] += 1
                return
        outcomes["counted" if counted else "of the portion"] += 1
        stream.staged_bytes += size
        stream.staging.append(_record)
        staged[stream].append(size)
        if counted:
            room.reserve(stream)

    for _ in range(20_000):
        stream = rng.choice(streams)
        if rng.random() < 0.9:
            put(stream, RECORD_OVERHEAD + rng.choice((1, 100, 5000, 100_000)) * (rng.random() < 0.7))
        elif rng.random() < 0.3:
            drain(stream)
        elif inside and rng.random() < 0.005:
            rng.shuffle(inside)
            for each, size in [inside.pop() for _ in range(len(inside) // rng.choice((2, 10, 100)))]:
                room.release(each, 1, size)
        pending = [size for sizes in staged.values() for size in sizes]
        # each stream may have one staged record that the other two's puts did not see
        assert room.records + len(pending) <= RECORDS + 2
        assert room.bytes + sum(pending) <= BYTES + 2 * 110_000
        for each in streams:
            assert each.held_records + len(staged[each]) <= 0.75 * RECORDS + 1
            assert each.held_bytes + sum(staged[each]) <= 0.75 * BYTES + 110_000
    assert min(outcomes[each] for each in ("no room", "counted", "of the portion")) > 0, outcomes
    for each in streams:
        drain(each)
    for each, size in inside:
        room.release(each, 1, size)
    room.release(streams[0], RECORDS // 2, 0)
    assert (room.records, room.bytes, room._kept_records, room._kept_bytes) == (0, 0, 0, 0)


def test_a_full_buffer_is_drained_by_the_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not record by record, from the half on: what is put without a look at the answers takes half as long."""
    install(monkeypatch, shards=16)
    drains: list[int] = []
    drain = Planning.drain

    def counted(self: Planning, stream: Stream, now: float) -> None:
        if stream.staging:
            drains.append(len(stream.staging))
        drain(self, stream, now)

    monkeypatch.setattr(Planning, "drain", counted)
    settings: dict[str, Any] = {"max_buffered_records": RECORDS, "record_max_buffered_time_ms": 60_000}
    with Producer(**settings) as producer:
        futures = [producer.put_record("orders", b"x" * 100, str(n)) for n in range(5_500)]
        wait_until(lambda: producer._room.tight, PATIENCE)  # another thread may be at the drain
        drains.clear()
        futures += [producer.put_record("orders", b"x" * 100, str(n)) for n in range(1_500)]
        assert len(drains) < 100
        producer.flush(timeout=PATIENCE)
        assert all(future.exception() is None for future in futures)
        room = producer._room
        assert (room.records, room.bytes, room._kept_records, room._kept_bytes) == (0, 0, 0, 0)


class Unwoken(Waiter):
    __slots__ = ()

    def wake(self) -> None:
        pass
