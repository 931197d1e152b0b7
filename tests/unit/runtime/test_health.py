"""Producer.health(): what a readiness check sees at each stage of a producer's life."""

from __future__ import annotations

import dataclasses
import os
import time

import pytest

from kplpy import Health, Producer, RecordFuture
from kplpy.core.exchange import Exchange, ListingError, RequestError
from kplpy.runtime import recent_errors
from tests.inside import each_staging_interrupted, streams_of
from tests.integration.reading import wait_until
from tests.stub_service import PATIENCE, StubService

IDLE = Health(
    is_open=True,
    outstanding_records=0,
    outstanding_bytes=0,
    oldest_age_ms=0.0,
    last_error=None,
    last_error_age_ms=None,
    throttled=False,
)


def test_before_the_first_put_and_after_close(service: StubService) -> None:
    producer = Producer()
    assert producer.health() == IDLE
    producer.put_record("orders", b"x", "k").result(PATIENCE)
    assert producer.health() == IDLE
    producer.close()
    assert producer.health() == dataclasses.replace(IDLE, is_open=False)


def test_while_records_wait_for_their_outcomes(service: StubService) -> None:
    service.hold()
    with Producer(record_max_buffered_time_ms=1) as producer:
        before = time.monotonic()
        producer.put_record("orders", b"oldest", "k")
        put = time.monotonic()
        service.await_waiting(1)
        producer.put_record("other", b"later", "k")
        asked = time.monotonic()
        health = producer.health()
        looked = time.monotonic()
        assert (asked - put) * 1000 <= health.oldest_age_ms <= (looked - before) * 1000
        assert health.outstanding_records == producer.outstanding_records == 2
        assert health.outstanding_bytes == producer.outstanding_bytes > 0
        service.let_go()
        producer.flush(timeout=PATIENCE)
        assert producer.health() == IDLE


def test_staged_records_count(service: StubService) -> None:
    with Producer(record_max_buffered_time_ms=60_000) as producer:
        producer.put_record("orders", b"x", "k")
        wait_until(lambda: producer.health().oldest_age_ms > 0)
        assert producer.health().outstanding_records == 1


def test_the_latest_error_of_a_request_stays_when_all_is_well_again(service: StubService) -> None:
    service.refuse["orders"] = RequestError("InternalFailure", "not today", maybe_written=False)
    with Producer(record_max_buffered_time_ms=1) as producer:
        future = producer.put_record("orders", b"x", "k")
        wait_until(lambda: producer.health().last_error is not None)
        assert producer.health().last_error == "orders: InternalFailure: not today"
        service.refuse.clear()
        future.result(PATIENCE)
        well = time.monotonic()
        health = producer.health()
        assert health.last_error == "orders: InternalFailure: not today"
        assert health.last_error_age_ms is not None
        later = producer.health().last_error_age_ms
        assert later is not None
        assert 0 <= health.last_error_age_ms <= later
        wait_until(lambda: (producer.health().last_error_age_ms or 0) >= 50)
        assert time.monotonic() - well < PATIENCE


def test_a_failed_listing_and_a_record_that_is_given_up(service: StubService, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, arn: str | None) -> None:
        raise ListingError("AccessDeniedException: not you")

    monkeypatch.setattr(service, "list_shards", refuse)
    service.hold()
    with Producer(close_timeout_ms=0, record_max_buffered_time_ms=1) as producer:
        future = producer.put_record("orders", b"x", "k")
        wait_until(lambda: producer.health().last_error == "orders: AccessDeniedException: not you")
    error = future.exception(PATIENCE)
    assert error is not None
    assert producer.health().last_error == "orders: the producer was closed, and 0 s were not enough to deliver it"
    service.let_go()


def test_throttled_for_a_while(service: StubService, monkeypatch: pytest.MonkeyPatch) -> None:
    put_records = service.put_records

    def throttle_once(name: str, arn: str | None, request: object) -> Exchange:
        monkeypatch.setattr(service, "put_records", put_records)
        now = time.monotonic()
        code = "ProvisionedThroughputExceededException"
        entries = [{"ErrorCode": code, "ErrorMessage": "slower"} for _ in request.batches]  # type: ignore[attr-defined]
        request.wall = time.time()  # type: ignore[attr-defined]
        return Exchange(now, now, time.time(), entries)

    monkeypatch.setattr(service, "put_records", throttle_once)
    with Producer(record_max_buffered_time_ms=1) as producer:
        producer.put_record("orders", b"x", "k").result(PATIENCE)
        health = producer.health()
        assert health.throttled
        assert health.last_error is None, "throttling is no error"
        monkeypatch.setattr(recent_errors, "THROTTLED_FOR", 0.0)
        assert not producer.health().throttled


def test_in_a_callback(service: StubService) -> None:
    seen: list[Health] = []

    def look(future: RecordFuture) -> None:
        seen.append(producer.health())

    with Producer(record_max_buffered_time_ms=1) as producer:
        producer.put_record("orders", b"x", "k").add_done_callback(look)
    assert [(each.is_open, each.oldest_age_ms) for each in seen] in ([(True, 0.0)], [(False, 0.0)])


def test_a_signal_handler_within_kplpys_own_sections(service: StubService) -> None:
    """health() must not wait for a lock whose holder may wait for a lock of the interrupted section."""
    service.hold()
    seen: list[Health] = []

    def look() -> None:
        with streams_of(producer)["orders"].lock:  # as the scheduler may have it
            seen.append(producer.health())

    # A small buffer gives no credit, so each put takes the buffer's lock.
    with Producer(record_max_buffered_time_ms=60_000, max_buffered_records=1000) as producer:
        with each_staging_interrupted(look):
            producer.put_record("orders", b"x", "k")
        service.let_go()
    assert [(each.is_open, each.outstanding_records, each.oldest_age_ms) for each in seen] == [(True, 1, 0.0)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_in_a_forked_child_all_starts_at_zero(service: StubService) -> None:
    service.hold()
    service.refuse["bad"] = RequestError("InternalFailure", "not today", maybe_written=False)
    with Producer(record_max_buffered_time_ms=1) as producer:
        producer.put_record("orders", b"x", "k")
        service.await_waiting(1)
        child = os.fork()
        if not child:
            os._exit(0 if producer.health() == IDLE else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert producer.health().outstanding_records == 1
        service.let_go()
