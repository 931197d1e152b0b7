"""What the core reports for metrics: requests, misplaced batches, failures by shard, gauges."""

from __future__ import annotations

from typing import cast

import pytest

from kplpy.core.batching.limiter import Limiter
from kplpy.core.gauges import ShardUse
from kplpy.core.outcome import Reason
from kplpy.core.record import KEPT_ATTEMPTS, PendingRecord, SendAttempt, Trimmed, add_attempt
from kplpy.core.results.retry_policy import THROTTLED
from tests.core_helpers import HALF, LEFT, NEVER, RIGHT, TOP, Driver, item, policy

ZERO, ONE = LEFT.shard_id, RIGHT.shard_id


def test_every_request_with_a_response_is_reported_once() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0), item(arrival=1.0, hash_key=TOP))
    request = driver.request(2.0)
    driver.respond(request, ZERO, (THROTTLED, "slow down"), now=2.1)
    ((reported, exchange, refused),) = driver.pipeline.take_events().exchanges
    assert reported is request
    assert [entry.get("ErrorCode") for entry in exchange.entries or ()] == [None, THROTTLED]
    assert refused == 1
    assert not driver.pipeline.take_events()


def test_an_unusable_response_is_reported_as_an_error() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0))
    driver.respond(driver.request(2.0), ZERO, ZERO, now=2.1)
    ((_, exchange, _),) = driver.pipeline.take_events().exchanges
    assert exchange.entries is None
    assert exchange.error is not None
    assert exchange.error.code == "RecordCountMismatch"


def test_a_lost_request_is_reported_when_it_is_given_up_and_not_again_with_its_response() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0))
    request = driver.request(2.0)
    driver.pipeline.tick(request.lost_at)
    driver.respond(request, ZERO, now=request.lost_at + 1)
    ((reported, exchange, refused),) = driver.pipeline.take_events().exchanges
    assert reported is request
    assert refused == 0
    assert exchange.error is not None
    assert (exchange.error.code, exchange.ended) == ("RequestTimeout", request.lost_at)


def test_a_batch_that_landed_where_consumers_drop_it_is_reported() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0), item(arrival=1.0))
    request = driver.request(2.0)
    driver.respond(request, ONE, now=2.1)
    assert driver.pipeline.take_events().misplaced == request.batches


def test_failed_records_name_the_shard_that_was_predicted() -> None:
    driver = Driver(policy(fail_if_throttled=True))
    driver.accept(item(arrival=1.0, hash_key=HALF))
    driver.respond(driver.request(2.0), (THROTTLED, "slow down"), now=2.1)
    driver.accept(item(arrival=3.0))
    driver.pipeline.tick(40.0)
    assert [each.predicted for each in driver.pipeline.take_completions()] == [ONE, ZERO]


def test_records_that_fail_at_close_name_it_too() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0))
    driver.request(1.1)
    driver.accept(item(arrival=1.2, hash_key=TOP))
    driver.pipeline.fail_all(Reason.CLOSED, "closed", 1.3)
    assert {each.predicted for each in driver.pipeline.take_completions()} == {ZERO, ONE}


def test_a_record_without_a_prediction_names_no_shard() -> None:
    driver = Driver(shards=())
    driver.accept(item(arrival=1.0))
    driver.pipeline.tick(40.0)
    (completion,) = driver.pipeline.take_completions()
    assert completion.predicted is None


def test_the_gauges_of_a_stream() -> None:
    driver = Driver()
    assert driver.pipeline.stream_gauges(0.5).oldest == NEVER
    driver.accept(item(arrival=1.0))
    request = driver.request(1.1)
    driver.accept(item(arrival=1.2), item(arrival=1.3, hash_key=TOP))
    stream_gauges = driver.pipeline.stream_gauges(1.5)
    assert (stream_gauges.outstanding, stream_gauges.oldest) == (3, 1.0)
    assert stream_gauges.shards == {ZERO: ShardUse(0.91, 0.0), ONE: ShardUse(0.91, 0.0)}
    driver.respond(request, ZERO, now=1.6)
    assert driver.pipeline.stream_gauges(1.7).oldest == 1.2
    assert driver.pipeline.stream_gauges(1.7).shards[ZERO].taken == pytest.approx(1 / 1000)


def test_a_refused_record_is_still_the_oldest() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0))
    driver.respond(driver.request(1.1), (THROTTLED, "slow down"), now=1.2)
    assert driver.pipeline.stream_gauges(1.3).oldest == 1.0


def test_a_record_that_timed_out_in_flight_is_not_the_oldest() -> None:
    driver = Driver(policy(answer_timeout=3.0))
    driver.accept(item(arrival=1.0), item(arrival=2.0))
    driver.request(3.0)
    driver.pipeline.tick(4.5)
    assert driver.pipeline.stream_gauges(4.6).oldest == 2.0


def test_a_reduced_rate_is_reported_as_grown_since() -> None:
    limiter = Limiter(1.0, 0.0)
    for _ in range(100):
        limiter.pay(1000)
    limiter.refused(0.0, 0.1)
    assert limiter.scale < 1.0
    assert limiter.scale_at(0.1) == pytest.approx(limiter.scale)
    assert limiter.scale_at(1000.0) == 1.0


@pytest.mark.parametrize("tries", [1, KEPT_ATTEMPTS, KEPT_ATTEMPTS + 1, 100])
def test_attempts_that_were_left_out_are_counted_with_their_waits(tries: int) -> None:
    record: PendingRecord = item(arrival=0.0)
    for number in range(tries):  # each attempt takes half a second, after a wait of number + 1 seconds
        started = sum(each + 1.5 for each in range(number)) + number + 1
        add_attempt(record, SendAttempt(0.0, started, started + 0.5, "X"))
    assert len(record.tries) == min(tries, KEPT_ATTEMPTS)
    left_out = max(0, tries - KEPT_ATTEMPTS)
    assert isinstance(record.tries, Trimmed) == (left_out > 0)
    if left_out:
        kept = cast("Trimmed", record.tries)
        waits = range(2, 2 + left_out)  # the first attempt is kept
        assert list(kept.waits) == [left_out, sum(waits), min(waits), max(waits)]
        assert kept.ended == kept[1].started - (left_out + 2)
