"""The buffer: its bounds of records and bytes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from kplpy.runtime.buffer import Buffer
from kplpy.runtime.put_target import RECORD_OVERHEAD
from tests.buffer_helpers import LOW, admit, drain, record, take
from tests.held_stream import HeldStream


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
