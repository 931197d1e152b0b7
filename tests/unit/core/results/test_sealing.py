"""Sealing a request: exact sizes, tokens, what goes back, and what is left of a request that must not be sent."""

from __future__ import annotations

import random
from typing import Any

import pytest

from kplpy.core.batching.request import Request
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.policy import COMPRESSION_PAUSE_FIRST, COMPRESSION_PAUSE_MOST, Compression, Policy
from kplpy.core.record import PendingRecord
from kplpy.core.routing.placement import AUTO
from kplpy.wire.compressed import unpack_batch
from kplpy.wire.encode import encode_aggregate
from tests.core_helpers import HALF, LEFT, RIGHT, WHOLE, Driver, item, keyless, policy
from tests.inside import bytes_level

NOISE = random.Random(0).randbytes(1 << 21)
GZIP = Compression("gzip", 1, 256)


def rules(**changes: Any) -> Policy:
    return policy(**{"compression": GZIP, "linger": 0.0, **changes})


def text(size: int, hash_key: int = 0, arrival: float = 0.0) -> PendingRecord:
    return item(b"ab" * (size // 2), hash_key=hash_key, arrival=arrival)


def noise(size: int, at: int = 0, hash_key: int = 0) -> PendingRecord:
    return item(NOISE[at : at + size], hash_key=hash_key)


def sealed(driver: Driver, now: float, max_bytes: float = float("inf")) -> Request:
    """Return the next request, sealed."""
    request = driver.request(now)
    assert not request.is_sealed
    assert driver.pipeline.seal(request, request.compress(), now, max_bytes)
    assert request.size == sum(batch.wire_size for batch in request.batches)
    return request


def data_of(request: Request) -> list[bytes]:
    return [b"".join(batch.parts()) for batch in request.batches]


def test_a_batch_is_compressed_as_a_whole_and_counted_exactly() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    items = [text(500) for _ in range(20)]
    driver.accept(*items)
    request = sealed(driver, 1.0)
    (batch,), (data,) = request.batches, data_of(request)
    assert unpack_batch(data) == encode_aggregate(items)[4:-16]
    assert (batch.data_size, batch.wire_size) == (len(data), len(data) + 1)
    assert batch.uncompressed_size == len(encode_aggregate(items)) > 5 * len(data)
    driver.respond(request, WHOLE.shard_id, now=1.1)
    assert driver.pipeline.totals.kinesis_bytes_put == request.size
    assert [len(each.items) for each in driver.pipeline.take_completions()] == [20]


def test_what_does_not_get_smaller_goes_as_it_is() -> None:
    driver = Driver(rules(), shards=(LEFT, RIGHT))
    several = [noise(5000), noise(5000, 5000)]
    driver.accept(*several, noise(5000, 10_000, HALF))
    request = sealed(driver, 1.0)
    assert sorted(data_of(request), key=len) == [NOISE[10_000:15_000], encode_aggregate(several)]


def test_small_records_are_not_compressed() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    driver.accept(text(200))
    request = sealed(driver, 1.0)
    assert not request.to_compress
    assert data_of(request) == [b"ab" * 100]


def test_without_compression_a_request_is_sealed_at_once() -> None:
    driver = Driver(rules(compression=None), shards=(WHOLE,))
    driver.accept(text(5000))
    assert driver.request(1.0).is_sealed


@pytest.mark.parametrize("content", [text, noise])
def test_the_shard_pays_for_what_is_on_the_wire(content: Any) -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    driver.accept(*[content(20_000) for _ in range(8)])
    request = driver.request(1.0)
    limiter = request.batches[0].queue.limiter
    before = bytes_level(limiter) + sum(batch.wire_size for batch in request.batches)
    assert driver.pipeline.seal(request, request.compress(), 1.0)
    assert bytes_level(limiter) == pytest.approx(before - request.size)


def test_a_refused_request_gets_its_exact_tokens_back() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    driver.accept(*[text(20_000) for _ in range(8)])
    request = driver.request(1.0)
    limiter = request.batches[0].queue.limiter
    before = bytes_level(limiter) + sum(batch.wire_size for batch in request.batches)
    assert driver.pipeline.seal(request, request.compress(), 1.0)
    driver.fail(request, "InvalidArgumentException", 1.0)
    assert bytes_level(limiter) == pytest.approx(before)


def test_tokens_that_come_back_let_a_waiting_queue_send() -> None:
    driver = Driver(rules(rate=0.1), shards=(WHOLE,))  # a burst of 30 KB, and 100 KB a second
    driver.accept(*[text(20_000) for _ in range(6)])
    first = driver.request(1.0)
    assert driver.pipeline.next_request(1.0) is None
    late = driver.pipeline.next_wakeup(1.0)
    assert driver.pipeline.seal(first, first.compress(), 1.0)
    assert driver.pipeline.next_wakeup(1.0) < late
    assert driver.pipeline.next_request(1.0) is not None


def test_what_does_not_fit_goes_back_with_its_sealed_bytes() -> None:
    """The first request teaches a ratio that is too good for the records after it."""
    driver = Driver(rules(collection_max_size=60_000, rate=10.0), shards=(WHOLE,))
    driver.accept(text(40_000))
    driver.respond(sealed(driver, 1.0), WHOLE.shard_id, now=1.1)
    items = [noise(30_000, 30_000 * number) for number in range(3)]
    for number, each in enumerate(items):
        each.arrival = 2.0 + number / 10
        driver.accept(each)
    request = driver.request(3.0)
    assert len(request.batches) == 3
    compressed = [b"", NOISE[:28_000], None]
    assert driver.pipeline.seal(request, compressed, 3.0)
    assert [batch.items[0] for batch in request.batches] == items[:2]
    assert request.size == 30_001 + 28_001
    second = driver.request(3.0)
    assert second.is_sealed  # what was sealed once is not compressed again
    assert [batch.items[0] for batch in second.batches] == items[2:]
    driver.respond(request, WHOLE.shard_id, WHOLE.shard_id, now=3.1)
    driver.respond(second, WHOLE.shard_id, now=3.1)
    completions = driver.pipeline.take_completions()
    assert sum(len(each.items) for each in completions) == 4
    driver.pipeline.settled([each for completion in completions for each in completion.items])
    assert not any(driver.pipeline.leftovers().values())
    assert driver.pipeline.totals.kinesis_records_sent == driver.pipeline.totals.kinesis_records_put == 4


def test_bytes_in_flight_bound_a_sealed_request() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    driver.accept(*[noise(30_000, 30_000 * number) for number in range(3)])
    request = sealed(driver, 1.0, max_bytes=70_000)
    assert len(request.batches) == 2
    assert len(driver.request(1.0).batches) == 1


def test_a_retried_batch_keeps_what_was_sealed_and_its_parts_do_not() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    driver.accept(*[text(500) for _ in range(20)])
    request = sealed(driver, 1.0)
    data = data_of(request)
    driver.respond(request, ("InternalFailure", "no"), now=1.1)
    again = driver.request(5.0)
    assert again.is_sealed
    assert data_of(again) == data
    driver.fail(again, "InvalidArgumentException", 5.1)
    part = driver.request(5.2)
    assert part.is_part
    assert not part.is_sealed
    assert len(part.batches[0].items) == 3


def test_a_bad_record_is_found_among_compressed_ones() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    items = [text(500) for _ in range(20)]
    bad = items[7] = noise(500)
    driver.accept(*items)
    failed: list[PendingRecord] = []
    delivered: list[PendingRecord] = []
    now = 1.0
    while len(failed) + len(delivered) < 20:
        now += 0.01
        assert now < 3.0
        request = driver.pipeline.next_request(now)
        if request is None:
            continue
        assert request.is_sealed or driver.pipeline.seal(request, request.compress(), now)
        data = data_of(request)
        if any(bad.data in (unpack_batch(each) or each) for each in data):
            driver.fail(request, "InvalidArgumentException", now)
        else:
            driver.respond(request, *[WHOLE.shard_id] * len(data), now=now)
        for completion in driver.pipeline.take_completions():
            (failed if isinstance(completion.outcome, Failed) else delivered).extend(completion.items)
    assert failed == [bad]


def test_a_record_above_the_limit_that_gets_small_enough_is_sent() -> None:
    driver = Driver(rules(max_user_record_size=10 << 20))
    driver.describe("USER_PARTITION_KEY", 0.0, max_record_size=1 << 20)
    driver.accept(text(1_200_000), noise(1_200_000, hash_key=HALF))
    request = sealed(driver, 2.0)
    assert [len(batch.items[0].data) for batch in request.batches] == [1_200_000]
    assert request.size < 20_000
    assert driver.pipeline.next_request(2.0) is None
    (failed,) = driver.pipeline.take_completions()
    assert isinstance(failed.outcome, Failed)
    assert failed.outcome.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("same_request", [False, True])
def test_a_record_above_the_limit_is_compressed_although_the_batches_before_it_are_noise(same_request: bool) -> None:
    driver = Driver(rules(max_user_record_size=10 << 20), strategy=AUTO)  # one queue for two shards' bytes
    driver.describe(AUTO, 0.0, max_record_size=1 << 20)
    driver.accept(noise(60_000))
    if not same_request:
        driver.respond(sealed(driver, 1.0), LEFT.shard_id, now=1.1)
    driver.accept(text(1_200_000, arrival=1.5))
    request = sealed(driver, 4.0)
    assert [len(batch.items[0].data) for batch in request.batches] == [60_000] * same_request + [1_200_000]
    assert request.batches[-1].is_compressed


def test_nothing_is_left_of_a_request_with_only_too_large_records() -> None:
    driver = Driver(rules(max_user_record_size=10 << 20), shards=(WHOLE,))
    driver.describe("USER_PARTITION_KEY", 0.0, max_record_size=1 << 20)
    driver.accept(noise(1_200_000))
    request = driver.request(2.0)
    assert not driver.pipeline.seal(request, request.compress(), 2.0)
    assert driver.pipeline.totals.put_records_requests == driver.pipeline.totals.kinesis_records_sent == 0
    assert driver.pipeline.leftovers()["in flight"] == 0


def test_a_request_that_was_given_up_meanwhile_is_not_sent() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    driver.accept(text(5000))
    request = driver.request(1.0)
    driver.pipeline.tick(100.0)
    assert not driver.pipeline.seal(request, request.compress(), 100.0)


def test_records_of_a_shard_that_was_closed_meanwhile_are_routed_again() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    driver.accept(text(5000), text(5000, HALF))
    request = driver.request(1.0)
    driver.list((LEFT, RIGHT), 1.1)
    assert not driver.pipeline.seal(request, request.compress(), 1.1)
    again = driver.request(1.2)
    assert {batch.queue.shard for batch in again.batches} == {LEFT, RIGHT}


def test_a_compressed_batch_counts_on_any_shard_except_in_ordered_mode() -> None:
    for ordered in (False, True):
        driver = Driver(rules(ordered=ordered), shards=(WHOLE,))
        driver.accept(text(5000), text(5000, HALF))
        request = sealed(driver, 1.0)
        driver.respond(request, "shardId-000000000001", now=1.1)
        driver.list((LEFT, RIGHT), 1.2)
        completions = driver.pipeline.take_completions()
        assert [len(each.items) for each in completions] == ([] if ordered else [2])
        assert driver.pipeline.totals.wrong_shard == ordered
        if not ordered:
            assert isinstance(completions[0].outcome, Delivered)
            assert completions[0].outcome.shard_id == "shardId-000000000001"
            assert not any(each.maybe_written for each in completions[0].items)


def test_where_the_service_places_records_they_travel_in_compressed_batches() -> None:
    driver = Driver(rules(), strategy=AUTO)
    small = [keyless(data=b"x%d" % number) for number in range(5)]
    driver.accept(*small)
    request = sealed(driver, 2.0)
    (batch,), (data,) = request.batches, data_of(request)
    assert batch.outer_key is None
    assert data[5] == 0  # too small to compress
    assert unpack_batch(data) == encode_aggregate(small)[4:-16]
    assert len({each.partition_key for each in small}) == 1
    assert batch.wire_size == batch.data_size == len(data)
    driver.respond(request, RIGHT.shard_id, now=2.1)
    assert [len(each.items) for each in driver.pipeline.take_completions()] == [5]


def test_without_aggregation_each_record_is_compressed_alone() -> None:
    for strategy in (AUTO, "USER_PARTITION_KEY"):
        driver = Driver(rules(aggregate=False), shards=(WHOLE,), strategy=strategy)
        items = [text(5000), text(5000)]
        driver.accept(*items)
        request = sealed(driver, 1.0)
        assert [unpack_batch(data) for data in data_of(request)] == [encode_aggregate([each])[4:-16] for each in items]


def test_without_aggregation_a_record_with_headers_is_a_batch_of_one_where_the_service_places_records() -> None:
    driver = Driver(rules(aggregate=False), strategy=AUTO)
    items = [item(b"x", headers={"a": "b"}), item(b"y")]
    driver.accept(*items)
    request = sealed(driver, 1.0)
    with_headers, plain = data_of(request)
    assert unpack_batch(with_headers) == encode_aggregate(items[:1])[4:-16]
    assert plain == b"y"


def test_a_queue_whose_batches_do_not_get_smaller_stops_compressing() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    tried = []
    for number in range(300):
        now = 1 + number / 10
        driver.accept(item(NOISE[1000 * number : 1000 * number + 1000], arrival=now))
        request = driver.request(now)
        tried.append(len(request.to_compress))
        assert driver.pipeline.seal(request, request.compress(), now)
        driver.respond(request, WHOLE.shard_id, now=now)
    assert 5 <= sum(tried) <= 9
    assert sum(tried[100:]) <= 4


def test_a_request_stops_compressing_for_a_shard_whose_first_batch_does_not_get_smaller() -> None:
    driver = Driver(rules())
    driver.accept(*[noise(30_000, 30_000 * number) for number in range(4)], *[text(30_000, HALF) for _ in range(4)])
    request = driver.request(1.0)
    compressed = dict(zip(request.to_compress, request.compress(), strict=True))
    left, right = ([compressed[each] for each in compressed if each.queue.shard is shard] for shard in (LEFT, RIGHT))
    assert left == [b"", None, None, None]
    assert all(right)
    assert len(right) == 4


def test_a_pause_is_twice_as_long_after_each_try_and_ends_with_a_good_one() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    driver.accept(noise(5000))
    compression = driver.request(1.0).batches[0].queue.compression
    assert compression is not None
    assert not compression.pause
    pauses = []
    for _ in range(7):
        compression.learn(1000, 999)
        pauses.append(compression.pause)
        assert [compression.wants(1000) for _ in range(compression.pause)].index(True) == compression.pause - 1
    assert pauses[0] == COMPRESSION_PAUSE_FIRST
    assert pauses[1] == 2 * COMPRESSION_PAUSE_FIRST
    assert pauses[-1] == COMPRESSION_PAUSE_MOST
    assert compression.estimate(1000) == 1000
    compression.learn(1000, 250)
    assert compression.wants(1000)
    assert compression.estimate(1000) == 250
    assert compression.estimate(255) == 255
    assert not compression.wants(255)


# --- given up before it was sealed ---


@pytest.mark.parametrize("is_sealed", [False, True])
def test_at_close_only_what_may_have_been_sent_may_be_written(is_sealed: bool) -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    record = text(5000)
    driver.accept(record)
    request = driver.request(1.0)
    compressed = request.compress()
    if is_sealed:
        assert driver.pipeline.seal(request, compressed, 1.0)
    driver.pipeline.fail_all(Reason.CLOSED, "closed", 1.1)
    (completion,) = driver.pipeline.take_completions()
    assert completion.items == [record]
    assert record.maybe_written is is_sealed
    if not is_sealed:
        assert not driver.pipeline.seal(request, compressed, 1.2)  # so its sender sends nothing
    driver.pipeline.settled(completion.items)
    assert not any(driver.pipeline.leftovers().values())


def test_a_record_that_may_be_written_by_an_earlier_attempt_stays_so_at_close() -> None:
    driver = Driver(rules(), shards=(WHOLE,))
    record = noise(5000)
    driver.accept(record, text(5000))
    driver.fail(sealed(driver, 1.0), "InternalFailure", now=1.1, maybe_written=True)
    later = text(5000)
    driver.accept(later)
    driver.pipeline.flush(1.2)
    driver.request(driver.pipeline.next_wakeup(1.2))
    driver.pipeline.fail_all(Reason.CLOSED, "closed", 2.0)
    assert (record.maybe_written, later.maybe_written) == (True, False)


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_request_lost_before_it_was_sealed_was_not_written(is_sealed: bool) -> None:
    driver = Driver(rules(request_timeout=1.0), shards=(WHOLE,))
    record = text(5000)
    driver.accept(record)
    request = driver.request(1.0)
    compressed = request.compress()
    if is_sealed:
        assert driver.pipeline.seal(request, compressed, 1.0)
    driver.pipeline.tick(request.lost_at)
    assert record.maybe_written is is_sealed
    (attempt,) = record.tries
    assert attempt.code == "RequestTimeout"
    assert ("not sent" in (attempt.message or "")) is not is_sealed
    assert not driver.pipeline.seal(request, compressed, request.lost_at)
    assert driver.request(driver.pipeline.next_wakeup(request.lost_at)).batches[0].items == [record]
