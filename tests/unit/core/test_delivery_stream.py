"""The pipeline of a delivery stream, on a virtual clock, with scripted responses."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy import Config
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.outcome import Completion, Delivered, Failed, Reason
from kplpy.core.pipeline import Pipeline
from kplpy.core.policy import delivery_policy_of
from kplpy.core.record import PendingRecord
from kplpy.core.results.retry_policy import DELIVERY_THROTTLED
from kplpy.core.routing.placement import Summary
from tests.core_helpers import NEVER, item

SLOW_DOWN = ("ServiceUnavailableException", "Slow down.")


class Delivering:
    """A pipeline of a delivery stream, and what a sender does for it."""

    def __init__(self, **fields: Any) -> None:
        self.pipeline = Pipeline(delivery_policy_of(Config(**fields)), lambda: 0.5)

    def accept(self, *items: PendingRecord) -> None:
        self.pipeline.accept(items, items[0].arrival)

    def request(self, now: float) -> Request:
        request = self.pipeline.next_request(now)
        assert request is not None
        return request

    def respond(self, request: Request, *entries: str | tuple[str, str], now: float) -> None:
        """End the request. entries: for each Firehose record its RecordId, or (error code, message)."""
        response = [
            {"SequenceNumber": each} if isinstance(each, str) else {"ErrorCode": each[0], "ErrorMessage": each[1]}
            for each in entries
        ]
        self.pipeline.request_ended(request, Exchange(request.started, now, 0.0, response), now)

    def fail(self, request: Request, code: str, now: float, maybe_written: bool = False) -> None:
        error = RequestError(code, "the reason", maybe_written)
        self.pipeline.request_ended(request, Exchange(request.started, now, 0.0, error=error), now)

    def completions(self) -> list[Completion]:
        return self.pipeline.take_completions()

    def next_request_after(self, now: float) -> tuple[float, Request]:
        """Do as a sender does that looks whenever the pipeline asks for it."""
        for _ in range(1000):
            request = self.pipeline.next_request(now)
            if request is not None:
                return now, request
            wake_at = self.pipeline.next_wakeup(now)
            assert now < wake_at < NEVER
            now = wake_at
        raise AssertionError("no request")


def items(count: int, size: int = 10, arrival: float = 1.0, key: str = "") -> list[PendingRecord]:
    return [item(b"%*d" % (size, number), key, arrival=arrival) for number in range(count)]


def data_of(request: Request) -> list[bytes]:
    return [b"".join(batch.parts()) for batch in request.batches]


def outcomes(completions: list[Completion]) -> list[tuple[bytes, str]]:
    """Return each delivered record's data and RecordId."""
    found = []
    for each in completions:
        assert isinstance(each.outcome, Delivered)
        assert each.outcome.shard_id == ""
        singles = each.outcomes or [each.outcome] * len(each.items)
        found += [(record.data, outcome.sequence_number) for record, outcome in zip(each.items, singles, strict=True)]
    return found


# --- requests ---


def test_records_travel_alone_after_the_linger_and_nothing_is_asked_before() -> None:
    stream = Delivering()
    records = items(3)
    stream.accept(*records)
    assert stream.pipeline.next_wakeup(1.0) == pytest.approx(1.1)
    assert not stream.pipeline.wants_description(1.0)
    assert not stream.pipeline.wants_listing(100.0)
    request = stream.request(1.1)
    assert data_of(request) == [each.data for each in records]
    assert [batch.outer_key for batch in request.batches] == [None] * 3
    assert request.size == 30
    stream.respond(request, "a", "b", "c", now=1.2)
    assert outcomes(stream.completions()) == [(records[0].data, "a"), (records[1].data, "b"), (records[2].data, "c")]


def test_the_key_counts_for_the_buffer_but_not_for_the_request() -> None:
    stream = Delivering()
    stream.accept(*items(2, key="ten characters"))
    request = stream.request(1.1)
    assert request.size == 20
    assert sum(batch.payload for batch in request.batches) == 20 + 2 * len("ten characters")


def test_a_request_has_at_most_500_records() -> None:
    stream = Delivering()
    stream.accept(*items(501))
    assert len(stream.request(1.0).batches) == 500


def test_a_request_has_at_most_4_mib() -> None:
    stream = Delivering(collection_max_size=10 << 20, max_inflight_bytes=64 << 20)
    stream.accept(*items(5, 1_024_000, arrival=1.0))
    sent: list[bytes] = []
    now = 1.1
    while len(sent) < 5:
        now, request = stream.next_request_after(now)
        assert request.size <= 4 << 20
        sent += data_of(request)
        stream.respond(request, *["id"] * len(request.batches), now=now)
    assert sent == [each.data for each in items(5, 1_024_000)]


def test_learning_of_a_connection_changes_nothing() -> None:
    stream = Delivering()
    stream.pipeline.connected((), Summary(None), 0.0, 0.5)
    stream.accept(*items(1))
    request = stream.request(1.1)
    stream.pipeline.connected((), Summary(None), 1.1, 1.2)
    stream.respond(request, "a", now=1.3)
    assert outcomes(stream.completions()) == [(items(1)[0].data, "a")]


def test_records_that_wait_for_the_client_say_so_when_they_expire() -> None:
    stream = Delivering(record_ttl_ms=1000)
    stream.pipeline.await_client()
    stream.accept(*items(1))
    stream.pipeline.tick(2.5)
    (completion,) = stream.completions()
    assert isinstance(completion.outcome, Failed)
    assert "the AWS client is still being made" in completion.outcome.message


def test_a_pause_of_any_length_asks_for_nothing() -> None:
    stream = Delivering()
    for now in (1.0, 1e6):
        stream.accept(*items(1, arrival=now))
        request = stream.request(now + 0.1)
        stream.respond(request, "a", now=now + 0.2)
        assert len(stream.completions()) == 1
        stream.pipeline.settled(request.batches[0].items)
        assert stream.pipeline.next_wakeup(now + 0.3) == NEVER
        assert not any(stream.pipeline.leftovers().values())


def test_there_are_no_figures_of_shards() -> None:
    stream = Delivering()
    stream.accept(*items(1))
    assert stream.pipeline.stream_gauges(1.0).shards == {}
    assert stream.request(1.1).batches[0].queue.shard_id is None


# --- refusals ---


@pytest.mark.parametrize("code", sorted(DELIVERY_THROTTLED))
def test_throttled_records_are_sent_again_alone_and_the_rate_falls(code: str) -> None:
    stream = Delivering()
    records = items(4)
    stream.accept(*records)
    request = stream.request(1.1)
    scale = request.batches[0].queue.limiter.scale_at(1.1)
    stream.respond(request, "a", (code, "Slow down."), "c", (code, "Slow down."), now=1.2)
    assert outcomes(stream.completions()) == [(records[0].data, "a"), (records[2].data, "c")]
    assert stream.pipeline.totals.entries_throttled == 2
    assert request.batches[0].queue.limiter.scale < scale
    now, again = stream.next_request_after(1.2)
    assert now > 1.2
    assert data_of(again) == [records[1].data, records[3].data]
    stream.respond(again, "b", "d", now=now + 0.1)
    assert outcomes(stream.completions()) == [(records[1].data, "b"), (records[3].data, "d")]
    assert [each.code for each in records[1].tries] == [code]
    assert not records[1].maybe_written


def test_another_error_of_a_record_is_no_throttling() -> None:
    stream = Delivering()
    stream.accept(*items(1))
    stream.respond(stream.request(1.1), ("InternalFailure", "x"), now=1.2)
    assert stream.pipeline.totals.entries_throttled == 0
    assert stream.pipeline.totals.entries_failed == 1
    assert stream.next_request_after(1.2)


@pytest.mark.parametrize("maybe_written", [True, False])
def test_a_throttled_request_is_throttled_records_and_no_outage(maybe_written: bool) -> None:
    stream = Delivering()
    records = items(500)
    stream.accept(*records)
    request = stream.request(1.0)
    stream.fail(request, "ServiceUnavailableException", 1.1, maybe_written)
    assert not stream.pipeline.in_outage
    assert stream.pipeline.totals.entries_throttled == 500
    _, again = stream.next_request_after(1.1)
    assert len(again.batches) > 1  # an outage sends one record at a time
    assert records[0].maybe_written is maybe_written


def test_fail_if_throttled() -> None:
    stream = Delivering(fail_if_throttled=True)
    stream.accept(*items(2))
    stream.respond(stream.request(1.1), "a", SLOW_DOWN, now=1.2)
    delivered, failed = stream.completions()
    assert isinstance(delivered.outcome, Delivered)
    assert isinstance(failed.outcome, Failed)
    assert failed.outcome.reason is Reason.THROTTLED
    assert failed.predicted is None


def test_records_that_expire_while_throttled_name_no_shard() -> None:
    stream = Delivering(record_ttl_ms=1000)
    stream.accept(*items(1))
    stream.respond(stream.request(1.1), SLOW_DOWN, now=1.2)
    stream.pipeline.tick(3.0)
    (completion,) = stream.completions()
    assert isinstance(completion.outcome, Failed)
    assert completion.outcome.message == "the stream is throttled"


def test_an_invalid_request_is_searched_for_the_invalid_record() -> None:
    stream = Delivering()
    records = items(20)
    stream.accept(*records)
    bad = records[13].data
    now = 1.1
    delivered: list[PendingRecord] = []
    failed: list[PendingRecord] = []
    for _ in range(100):
        if len(delivered) + len(failed) == 20:
            break
        now, request = stream.next_request_after(now)
        if bad in data_of(request):
            stream.fail(request, "InvalidArgumentException", now)
        else:
            stream.respond(request, *["id"] * len(request.batches), now=now)
        for each in stream.completions():
            (failed if isinstance(each.outcome, Failed) else delivered).extend(each.items)
    assert [each.data for each in failed] == [bad]
    assert len(delivered) == 19


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "InvalidKMSResourceException", "InvalidSourceException"])
def test_a_missing_stream_and_other_refusals_are_final_after_five_seconds(code: str) -> None:
    stream = Delivering()
    stream.accept(*items(1))
    now, times = 1.1, []
    while not (completions := stream.completions()):
        now, request = stream.next_request_after(now)
        times.append(now)
        assert now < 10
        stream.fail(request, code, now)
    assert now >= 6
    assert times[1] - times[0] < 1  # nothing waits for a shard map
    (completion,) = completions
    assert isinstance(completion.outcome, Failed)
    assert completion.outcome.reason is Reason.REJECTED
    assert completion.outcome.code == code


def test_a_failing_connection_is_an_outage() -> None:
    stream = Delivering()
    stream.accept(*items(10))
    stream.fail(stream.request(1.1), "EndpointConnectionError", 1.2)
    assert stream.pipeline.in_outage
    now, request = stream.next_request_after(1.2)
    assert len(request.batches) == 1
    stream.respond(request, "a", now=now)
    assert not stream.pipeline.in_outage


def test_a_response_without_record_ids_fails_the_request() -> None:
    stream = Delivering()
    records = items(2)
    stream.accept(*records)
    stream.respond(stream.request(1.1), "a", now=1.2)
    assert records[0].maybe_written
    assert stream.completions() == []


# --- joined records ---


def test_records_are_joined_in_order_up_to_the_size_and_share_a_record_id() -> None:
    stream = Delivering(joined_record_size=25)
    records = items(5)
    stream.accept(*records)
    request = stream.request(1.1)
    assert data_of(request) == [
        records[0].data + records[1].data,
        records[2].data + records[3].data,
        records[4].data,
    ]
    assert [batch.wire_size for batch in request.batches] == [20, 20, 10]
    stream.respond(request, "a", "b", "c", now=1.2)
    assert sorted(outcomes(stream.completions())) == sorted(
        (record.data, record_id) for record, record_id in zip(records, "aabbc", strict=True)
    )


def test_a_longer_record_is_never_split_and_goes_alone() -> None:
    stream = Delivering(joined_record_size=20)
    short, long, last = item(b"a" * 10, arrival=1.0), item(b"b" * 30, arrival=1.0), item(b"c" * 10, arrival=1.0)
    stream.accept(short, long, last)
    assert data_of(stream.request(1.1)) == [short.data, long.data, last.data]


def test_records_that_come_one_by_one_are_joined_too() -> None:
    stream = Delivering(joined_record_size=1000)
    records = items(40)
    for each in records:
        stream.accept(each)
    assert data_of(stream.request(1.1)) == [b"".join(each.data for each in records)]


def test_a_joined_record_has_at_most_aggregation_max_count_records() -> None:
    stream = Delivering(joined_record_size=1000, aggregation_max_count=3)
    records = items(7)
    stream.accept(*records)
    assert [len(batch.items) for batch in stream.request(1.1).batches] == [3, 3, 1]


def test_a_flush_sends_a_joined_record_that_is_not_full() -> None:
    stream = Delivering(joined_record_size=1000)
    stream.accept(*items(2))
    stream.pipeline.flush(1.0)
    assert len(stream.request(1.0).batches) == 1


def test_a_throttled_joined_record_is_sent_again_as_it_was() -> None:
    stream = Delivering(joined_record_size=25)
    records = items(4)
    stream.accept(*records)
    request = stream.request(1.1)
    stream.respond(request, "a", SLOW_DOWN, now=1.2)
    assert len(outcomes(stream.completions())) == 2
    _, again = stream.next_request_after(1.2)
    assert data_of(again) == [records[2].data + records[3].data]


def test_the_invalid_one_of_joined_records_is_found() -> None:
    stream = Delivering(joined_record_size=1000)
    records = items(20)
    stream.accept(*records)
    bad = records[7].data
    now = 1.1
    delivered: list[PendingRecord] = []
    failed: list[PendingRecord] = []
    for _ in range(100):
        if len(delivered) + len(failed) == 20:
            break
        now, request = stream.next_request_after(now)
        if any(bad in data for data in data_of(request)):
            stream.fail(request, "InvalidArgumentException", now)
        else:
            stream.respond(request, *["id"] * len(request.batches), now=now)
        for each in stream.completions():
            (failed if isinstance(each.outcome, Failed) else delivered).extend(each.items)
    assert [each.data for each in failed] == [bad]
    assert len(delivered) == 19


def test_an_expired_record_leaves_its_joined_record() -> None:
    stream = Delivering(joined_record_size=1000, record_ttl_ms=1000, record_max_buffered_time_ms=500)
    stream.accept(item(b"early", arrival=1.0))
    stream.accept(item(b"later", arrival=1.4))
    request = stream.request(1.5)
    stream.respond(request, SLOW_DOWN, now=1.9)
    stream.pipeline.tick(2.05)
    (completion,) = stream.completions()
    assert [each.data for each in completion.items] == [b"early"]
    _, again = stream.next_request_after(2.05)
    assert data_of(again) == [b"later"]
