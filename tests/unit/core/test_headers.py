"""Records with headers, and aggregates of one record, in the core: what is sent, and what their landing means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kplpy.core import policy as rules
from kplpy.core.batching.request import Request
from kplpy.core.exchange import RequestError
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.policy import Compression
from kplpy.core.record import PendingRecord
from kplpy.core.routing.placement import AUTO, BY_KEY
from kplpy.core.routing.router import HEADERS_REFUSED
from kplpy.wire.compressed import MAGIC
from kplpy.wire.deaggregate import deaggregate
from tests.core_helpers import LEFT, RIGHT, TOP, WHOLE, Driver, item, policy

HEADERS = {"content-type": "application/json", "flag": None}


def tagged(data: bytes = b"x", **fields: Any) -> PendingRecord:
    return item(data, **{"arrival": 1.0, "headers": HEADERS, **fields})


def sent(request: Request) -> list[list[tuple[bytes, Mapping[str, str | None] | None]]]:
    """Return the data and headers of the user records in each Kinesis record, and check the counted sizes."""
    found: list[list[tuple[bytes, Mapping[str, str | None] | None]]] = []
    for batch in request.batches:
        data = b"".join(batch.parts())
        assert batch.data_size == len(data)
        assert batch.wire_size == len(data) + len((batch.outer_key or "").encode())
        found.append([(each.data, each.headers) for each in deaggregate(data)])
    return found


def outcomes(driver: Driver) -> list[Delivered | Failed]:
    return [each.outcome for each in driver.pipeline.take_completions() for _ in each.items]


def test_records_with_and_without_headers_share_an_aggregate() -> None:
    driver = Driver()
    driver.accept(item(b"1", arrival=1.0), tagged(b"2"), item(b"3", arrival=1.0))
    assert sent(driver.request(1.1)) == [[(b"1", None), (b"2", HEADERS), (b"3", None)]]


@pytest.mark.parametrize("first_key_outside", [False, True])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"aggregate": False},
        {"aggregation_max_count": 1},
        {"aggregation_max_size": 64},
        {"linger": 0.0},
    ],
)
def test_a_lone_record_with_headers_is_an_aggregate_of_one(knobs: dict[str, Any], first_key_outside: bool) -> None:
    driver = Driver(policy(**knobs, first_key_outside=first_key_outside))
    driver.accept(tagged(b"y" * 100, key="é"))
    request = driver.request(1.1)
    assert sent(request) == [[(b"y" * 100, HEADERS)]]
    assert request.batches[0].outer_key == ("é" if first_key_outside else "a")
    driver.respond(request, LEFT.shard_id, now=1.2)
    assert [type(each) for each in outcomes(driver)] == [Delivered]
    driver.pipeline.settled(request.batches[0].items)
    assert not any(driver.pipeline.leftovers().values())


def test_without_aggregation_plain_records_stay_plain_beside_those_with_headers() -> None:
    driver = Driver(policy(aggregate=False))
    driver.accept(item(b"1", arrival=1.0), tagged(b"2"), item(b"3", arrival=1.0))
    request = driver.request(1.1)
    assert sent(request) == [[(b"1", None)], [(b"2", HEADERS)], [(b"3", None)]]
    assert [batch.aggregated for batch in request.batches] == [False, True, False]


def test_every_lone_record_is_an_aggregate_of_one_where_that_is_asked_for() -> None:
    for aggregate in (True, False):
        driver = Driver(policy(aggregate_single_records=True, aggregate=aggregate))
        driver.accept(item(b"1", arrival=1.0), item(b"2", arrival=1.0, hash_key=TOP))
        request = driver.request(1.2)
        assert sent(request) == [[(b"1", None)], [(b"2", None)]]
        assert [batch.aggregated for batch in request.batches] == [True, True]


def test_bisection_finds_a_bad_record_with_headers() -> None:
    driver = Driver()
    driver.accept(*[tagged(b"%d" % number) for number in range(20)])
    pending, now, seen = [driver.request(1.1)], 1.2, set[bytes]()
    while pending:
        request = pending.pop()
        seen.update(data for batch in sent(request) for data, headers in batch if headers == HEADERS)
        if any(each.data == b"7" for batch in request.batches for each in batch.items):
            driver.fail(request, "InvalidArgumentException", now)
        else:
            driver.respond(request, *[LEFT.shard_id] * len(request.batches), now=now)
        now += 0.1
        while (part := driver.pipeline.next_request(now)) is not None:
            pending.append(part)
    assert len(seen) == 20
    found = driver.pipeline.take_completions()
    assert [each.items[0].data for each in found if isinstance(each.outcome, Failed)] == [b"7"]
    assert sum(len(each.items) for each in found) == 20


def test_a_throttled_record_with_headers_is_sent_again_unchanged() -> None:
    driver = Driver()
    driver.accept(tagged())
    request = driver.request(1.1)
    driver.respond(request, ("ProvisionedThroughputExceededException", "slow down"), now=1.2)
    again = driver.request(9.0)
    assert again.batches == request.batches
    assert sent(again) == [[(b"x", HEADERS)]]


def test_a_record_with_headers_that_is_too_large_for_the_stream_fails_unsent() -> None:
    driver = Driver()
    driver.describe(BY_KEY, 0.5, max_record_size=1 << 20)
    driver.accept(tagged(bytes((1 << 20) - 30)), now=1.0)
    assert driver.pipeline.next_request(1.2) is None
    (failed,) = outcomes(driver)
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.TOO_LARGE
    assert failed.message.startswith("it has 1048622 bytes, an aggregate and its partition key; the stream takes")


# --- landing ---


def test_an_aggregate_of_one_outside_its_shards_range_is_not_delivered() -> None:
    driver = Driver()
    driver.accept(tagged())
    driver.respond(driver.request(1.1), RIGHT.shard_id, now=1.2)
    assert driver.pipeline.totals.wrong_shard == 1
    check_refused(driver, maybe_written=True)  # only a service-managed stream does that


def test_a_plain_record_there_counts() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0))
    driver.respond(driver.request(1.1), RIGHT.shard_id, now=1.2)
    assert [type(each) for each in outcomes(driver)] == [Delivered]


def without_a_map(failure: str) -> Driver:
    driver = Driver(shards=())
    driver.accept(tagged())
    if failure:
        driver.pipeline.listing_started(1.0)
        driver.pipeline.listing_failed(failure, 1.1, RequestError(failure, "the reason", maybe_written=False))
    driver.pipeline.tick(1.0 + rules.MAP_PATIENCE)
    request = driver.request(4.0)
    assert sent(request) == [[(b"x", HEADERS)]]
    driver.respond(request, "shardId-000000000009", now=4.1)
    return driver


def test_without_listings_the_hash_key_puts_an_aggregate_of_one_on_the_right_shard() -> None:
    assert [type(each) for each in outcomes(without_a_map("AccessDeniedException"))] == [Delivered]


@pytest.mark.parametrize("failure", ["", "InternalFailure"])
def test_while_a_listing_is_awaited_an_aggregate_of_one_waits_to_be_judged(failure: str) -> None:
    driver = without_a_map(failure)
    assert not outcomes(driver)
    driver.pipeline.tick(4.1 + rules.JUDGE_PATIENCE)
    assert [type(each) for each in outcomes(driver)] == [Delivered]
    assert driver.pipeline.totals.wrong_shard == 0


def test_an_old_listing_that_says_otherwise_counts() -> None:
    """The map is not trusted any more, and the credentials may not list shards."""
    driver = Driver()
    driver.accept(tagged(arrival=1.0 + rules.MAP_IDLE_TRUST))
    now = 1.0 + rules.MAP_IDLE_TRUST
    driver.pipeline.listing_started(now)
    driver.pipeline.listing_failed("denied", now, RequestError("AccessDeniedException", "the reason", False))
    driver.respond(driver.request(now + rules.MAP_PATIENCE), RIGHT.shard_id, now=now + 2.1)
    assert not outcomes(driver)
    driver.pipeline.tick(now + 2.1 + rules.JUDGE_PATIENCE)
    assert driver.pipeline.totals.wrong_shard == 1


# --- service-managed streams ---


def check_refused(driver: Driver, maybe_written: bool = False) -> None:
    driver.pipeline.tick(5.0)
    completions = driver.pipeline.take_completions()
    (failed,) = completions
    assert isinstance(failed.outcome, Failed)
    assert (failed.outcome.reason, failed.outcome.message) == (Reason.HEADERS, HEADERS_REFUSED)
    assert [each.maybe_written for each in failed.items] == [maybe_written]
    driver.pipeline.settled(failed.items)
    assert not any(driver.pipeline.leftovers().values())


def test_a_service_managed_stream_takes_no_headers() -> None:
    driver = Driver(strategy=AUTO)
    driver.accept(tagged())
    check_refused(driver)
    driver.accept(item(arrival=1.0))
    assert sent(driver.request(1.2)) == [[(b"x", None)]]


@pytest.mark.parametrize("others", [0, 3])
def test_with_compression_a_service_managed_stream_takes_headers_in_a_batch(others: int) -> None:
    driver = Driver(policy(compression=Compression("gzip", 1, 1024)), strategy=AUTO)
    driver.accept(tagged(), *(item(arrival=1.0) for _ in range(others)))
    request = driver.request(1.2)
    driver.pipeline.seal(request, request.compress(), 1.2)
    assert sent(request) == [[(b"x", HEADERS), *[(b"x", None)] * others]]
    assert request.batches[0].parts()[0].startswith(MAGIC)


def test_on_a_service_managed_stream_a_lone_record_stays_plain() -> None:
    driver = Driver(policy(aggregate_single_records=True), strategy=AUTO)
    driver.accept(item(arrival=1.0))
    assert not driver.request(1.2).batches[0].aggregated


def test_a_queued_record_with_headers_fails_when_the_stream_becomes_service_managed() -> None:
    driver = Driver()
    driver.accept(tagged())
    driver.describe(AUTO, 1.01)
    check_refused(driver)


@pytest.mark.parametrize("known", [True, False])
def test_a_record_that_travels_alone_fails_when_the_stream_becomes_service_managed(known: bool) -> None:
    driver = Driver(shards=())
    driver.accept(tagged())
    driver.pipeline.tick(3.5)  # it is in the queue of records without a predicted shard
    driver.list((LEFT,), 3.6) if known else None
    driver.describe(AUTO, 3.7)
    driver.list((LEFT,), 3.8)
    check_refused(driver)


def test_a_record_that_travels_alone_fails_when_a_listing_shows_where_the_assumed_strategy_applies() -> None:
    driver = Driver(policy(assumed_strategy=AUTO), shards=(), strategy=None)
    driver.accept(tagged())
    driver.pipeline.tick(3.5)
    driver.list((WHOLE,), 3.6)
    check_refused(driver)


def test_a_record_in_flight_fails_when_it_landed_elsewhere_on_a_service_managed_stream() -> None:
    driver = Driver()
    driver.accept(tagged())
    request = driver.request(1.1)
    driver.describe(AUTO, 1.15)
    driver.respond(request, RIGHT.shard_id, now=1.2)
    check_refused(driver, maybe_written=True)


def test_a_record_in_flight_counts_where_it_landed_in_range() -> None:
    driver = Driver()
    driver.accept(tagged())
    request = driver.request(1.1)
    driver.describe(AUTO, 1.15)
    driver.respond(request, LEFT.shard_id, now=1.2)
    assert [type(each) for each in outcomes(driver)] == [Delivered]
