"""Sizes, shard prediction and rates of the core, for any input."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kplpy.core.batching.limiter import Limiter
from kplpy.core.batching.shard_queue import batch_of
from kplpy.core.policy import SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND, Compression
from kplpy.core.record import payload_size
from kplpy.core.routing.shard_map import ShardMap
from kplpy.core.shard_range import LAST_KEY, ShardRange
from kplpy.wire.compressed import MAGIC
from kplpy.wire.deaggregate import deaggregate
from kplpy.wire.encode import encode_aggregate
from tests.core_helpers import WHOLE, Driver, data_of, item, of_put, policy, queue
from tests.inside import bytes_full, bytes_level
from tests.wire_records import Put, puts


@given(st.lists(puts(), min_size=1, max_size=30))
def test_the_size_counted_while_packing_is_the_encoded_size(records: list[Put]) -> None:
    items = [of_put(each) for each in records]
    batch = batch_of(queue(), items)
    assert batch.packed == len(encode_aggregate(items))
    data = encode_aggregate(items) if len(items) > 1 or items[0].headers else items[0].data
    assert data_of(batch) == data
    assert batch.payload == payload_size(items)
    assert batch.wire_size == len(data) + len((batch.outer_key or "").encode())


@given(st.lists(puts(), min_size=1, max_size=40), st.integers(64, 2000))
def test_no_aggregate_is_above_its_size_and_no_record_is_lost(records: list[Put], limit: int) -> None:
    items = [of_put(each) for each in records]
    home = queue(rules=policy(aggregation_max_size=limit))
    for number, each in enumerate(items):
        each.number = number
        home.add([each])
    home.close_open()
    assert [each for batch in home.closed_batches for each in batch.items] == items
    for batch in home.closed_batches:
        assert len(batch.items) == 1 or len(encode_aggregate(batch.items)) <= limit


COMPRESSIONS = st.builds(
    Compression, st.sampled_from(["gzip", "zstd"]), st.integers(1, 9), st.sampled_from([1, 100, 1000])
)


@given(st.lists(st.tuples(puts(), st.integers(1, 300)), min_size=1, max_size=30), COMPRESSIONS, st.integers(64, 60_000))
def test_a_sealed_requests_sizes_and_tokens_are_exact_and_its_records_come_back(
    records: list[tuple[Put, int]], compression: Compression, limit: int
) -> None:
    """Repeated data compresses; other data does not. Data that begins like a batch may be an error (docs/format.md)."""
    assume(not any(put.data.startswith(MAGIC) for put, _ in records))
    rules = policy(compression=compression, aggregation_max_size=limit, collection_max_size=52_224, linger=0.0)
    driver = Driver(rules, shards=(WHOLE,))
    items = [
        item(put.data * times, put.partition_key, arrival=1.0, explicit=put.explicit_hash_key) for put, times in records
    ]
    driver.accept(*items)
    sent = []
    now = 1.0
    while (request := driver.pipeline.next_request(now)) is not None or driver.pipeline.next_wakeup(now) < 20.0:
        if request is None:
            now = driver.pipeline.next_wakeup(now)
            continue
        limiter = request.batches[0].queue.limiter
        paid = sum(batch.wire_size for batch in request.batches)
        before = bytes_level(limiter)
        assert request.is_sealed or driver.pipeline.seal(request, request.compress(), now)
        assert bytes_level(limiter) == pytest.approx(min(before + paid - request.size, bytes_full(limiter)))
        for batch in request.batches:
            data = data_of(batch)
            assert batch.data_size == len(data) <= batch.uncompressed_size
            assert batch.wire_size == len(data) + len((batch.outer_key or "").encode())
            sent += [(each.data, each.partition_key or batch.outer_key) for each in deaggregate(data)]
        assert len(request.batches) == 1 or request.size <= 52_224
        driver.respond(request, *[WHOLE.shard_id] * len(request.batches), now=now)
    assert sent == [(each.data, each.partition_key) for each in items]
    completions = driver.pipeline.take_completions()
    driver.pipeline.settled([each for completion in completions for each in completion.items])
    assert not any(driver.pipeline.leftovers().values())


HASH_KEYS = st.integers(0, LAST_KEY) | st.builds(
    lambda byte, near: min(max((byte << 120) + near, 0), LAST_KEY), st.integers(0, 256), st.integers(-2, 2)
)


@given(st.sets(HASH_KEYS, max_size=20), st.lists(HASH_KEYS, min_size=1, max_size=20))
def test_if_the_first_byte_decides_it_gives_the_shard_of_the_hash_key(cuts: set[int], hash_keys: list[int]) -> None:
    starts = sorted({0, *cuts})
    ends = [*(start - 1 for start in starts[1:]), LAST_KEY]
    shards = ShardMap()
    shards.update([ShardRange(f"shardId-{n}", *each) for n, each in enumerate(zip(starts, ends, strict=True))], 0.0)
    assert shards.covers_all_keys
    for hash_key in [*hash_keys, *starts, *ends]:
        decided = shards.by_first_byte[hash_key >> 120]
        assert decided in (shards.index_of(hash_key), -1)
        if decided < 0:
            assert any(start >> 120 == hash_key >> 120 and start & ((1 << 120) - 1) for start in starts)


SIZES = st.integers(1, 60_000) | st.integers(1, 100) | st.integers(1 << 20, 3 << 20)


@given(
    st.lists(st.tuples(SIZES, st.floats(0, 0.5) | st.just(0.0)), min_size=1, max_size=200),
    st.sampled_from([0.1, 0.5, 1.0, 1.5]),
)
def test_no_interval_sees_more_than_its_rate_and_a_second_of_burst(
    wanted: list[tuple[int, float]], scale: float
) -> None:
    limiter = Limiter(scale, 0.0)
    sent: list[tuple[float, int]] = []
    now = 0.0
    for size, pause in wanted:
        now = max(now + pause, limiter.ready_at(size, now + pause))
        limiter.pay(size)
        sent.append((now, size))
    byte_rate, record_rate = SHARD_BYTES_PER_SECOND * scale, SHARD_RECORDS_PER_SECOND * scale
    for first, (start, _) in enumerate(sent):
        total = 0
        for number, (at, size) in enumerate(sent[first:]):
            # The last record may exceed one second's bytes. It needs a full bucket and pays the rest afterwards.
            assert total + min(size, byte_rate) <= byte_rate * (at - start + 1) + 1 or total == 0
            assert number + 1 <= record_rate * (at - start + 1) + 1e-3
            total += size
