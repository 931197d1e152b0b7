"""The pipeline from outside: when requests are due, responses, expiry, flushes, the shard map."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy.core import policy as rules
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.notice import Notice
from kplpy.core.outcome import Completion, Delivered, Failed, Reason
from kplpy.core.pipeline import Pipeline
from kplpy.core.record import PendingRecord, payload_size
from kplpy.core.results.retry_policy import THROTTLED
from kplpy.core.routing.placement import BY_KEY, Summary
from kplpy.core.shard_range import ShardRange
from kplpy.wire.encode import encode_aggregate
from tests.core_helpers import HALF, LEFT, NEVER, RIGHT, TOP, WHOLE, Driver, data_of, item, policy, sizes

ZERO, ONE = LEFT.shard_id, RIGHT.shard_id


def failed(completion: Completion) -> Failed:
    assert isinstance(completion.outcome, Failed)
    return completion.outcome


# --- when requests are due ---


def test_nothing_is_due_before_the_deadline() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0))
    assert driver.pipeline.next_wakeup(1.0) == pytest.approx(1.1)
    assert driver.pipeline.next_request(1.05) is None
    assert driver.request(1.1).size == 2


def spread(count: int, **fields: Any) -> list[PendingRecord]:
    """Return records of both shards in turn. Their data is their number."""
    return [item(b"%d" % each, hash_key=TOP * (each % 2), **fields) for each in range(count)]


@pytest.mark.parametrize("together", [1, 3, 100])
def test_records_that_come_a_few_at_a_time_are_sent_together_and_in_order(together: int) -> None:
    driver = Driver()
    records = spread(100, arrival=1.0)
    for start in range(0, 100, together):
        driver.accept(*records[start : start + together])
    batches = driver.request(1.1).batches
    assert [batch.items for batch in batches] == [records[0::2], records[1::2]]
    data = [data_of(batch) for batch in batches]
    assert data == [encode_aggregate(batch.items) for batch in batches]
    assert [batch.wire_size for batch in batches] == [len(each) + len("a") for each in data]
    assert [batch.payload for batch in batches] == [payload_size(batch.items) for batch in batches]


def test_a_few_records_that_exceed_an_aggregate_are_closed_together() -> None:
    driver = Driver(policy(aggregation_max_size=1000))
    for _ in range(10):
        driver.accept(item(b"x" * 400, arrival=1.0))
    assert sizes(driver.request(1.1).batches) == [2] * 5
    assert driver.pipeline.next_request(9.0) is None


def test_a_few_large_records_do_not_wait_to_be_packed() -> None:
    driver = Driver()
    for _ in range(12):
        driver.accept(item(b"x" * 40_000, arrival=1.0))
    assert driver.pipeline.next_wakeup(1.0) == 1.0


def test_due_aggregates_wait_a_little_for_aggregates_of_other_shards() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0))
    driver.accept(item(arrival=1.01, hash_key=TOP))
    assert driver.pipeline.next_request(1.1) is None
    assert driver.pipeline.next_wakeup(1.1) <= 1.12 + 1e-9
    assert sizes(driver.request(1.12).batches) == [1, 1]


def test_without_other_shards_a_due_aggregate_does_not_wait() -> None:
    driver = Driver()
    driver.accept(item(arrival=1.0), item(arrival=1.0))
    assert sizes(driver.request(1.1).batches) == [2]


@pytest.mark.parametrize(
    ("changes", "records", "size"),
    [
        ({}, 12, 40_000),  # a quarter of a MiB for one shard
        ({"collection_max_count": 3}, 4, 40_000),
        ({"collection_max_size": 60_000}, 3, 40_000),
    ],
)
def test_a_full_request_is_due_at_once(changes: dict[str, int], records: int, size: int) -> None:
    driver = Driver(policy(**changes))
    for _ in range(records):
        driver.accept(item(b"x" * size, arrival=1.0))
    assert driver.pipeline.next_wakeup(1.0) == 1.0
    request = driver.request(1.0)
    assert len(request.batches) <= changes.get("collection_max_count", 500)
    assert len(request.batches) == 1 or request.size <= changes.get("collection_max_size", 5 << 20)


def test_a_queue_without_tokens_does_not_stop_the_others() -> None:
    driver = Driver(policy(aggregate=False))
    driver.accept(*[item(b"x" * 200_000, arrival=1.0) for _ in range(10)])
    while driver.pipeline.next_request(1.2) is not None:
        pass
    driver.accept(item(arrival=1.2, hash_key=TOP))
    request = driver.request(1.3)
    assert any(batch.queue.shard == RIGHT for batch in request.batches)


def test_queues_share_a_request_fairly() -> None:
    driver = Driver(policy(aggregate=False, collection_max_size=1 << 20))
    driver.accept(*[item(b"x" * 100_000, arrival=1.0) for _ in range(9)])
    driver.accept(*[item(b"x" * 100_000, arrival=1.0, hash_key=TOP) for _ in range(9)])
    taken = driver.request(1.1).batches
    assert sum(batch.queue.shard == RIGHT for batch in taken) >= 3


def test_a_full_buffer_closes_the_oldest_aggregates() -> None:
    driver = Driver(policy(linger=5.0))
    driver.accept(item(arrival=1.0))
    driver.accept(item(arrival=2.0, hash_key=TOP))
    driver.pipeline.buffer_full(2.0)
    assert [batch.arrival for batch in driver.request(2.0).batches] == [1.0]


# --- responses ---


def test_delivered() -> None:
    driver = Driver()
    items = [item(b"one", arrival=1.0), item(b"two", arrival=1.0)]
    driver.accept(*items)
    driver.respond(driver.request(1.1), ZERO, now=1.2)
    (completion,) = driver.pipeline.take_completions()
    assert isinstance(completion.outcome, Delivered)
    assert completion.outcome.shard_id == ZERO
    assert (completion.items, completion.size) == (items, 8)
    driver.pipeline.settled(items)
    assert driver.pipeline.outstanding == 0
    assert driver.pipeline.next_wakeup(1.2) == NEVER
    assert not any(driver.pipeline.leftovers().values())


def test_records_that_travelled_alone_make_one_completion_a_shard() -> None:
    driver = Driver(policy(aggregate=False))
    items = [item(data, arrival=1.0, hash_key=key) for data, key in [(b"one", 0), (b"two", TOP), (b"three", 0)]]
    driver.accept(*items)
    request = driver.request(1.2)
    entries = [
        {"ShardId": ONE if batch.items[0].hash_key else ZERO, "SequenceNumber": str(len(batch.items[0].data))}
        for batch in request.batches
    ]
    driver.pipeline.request_ended(request, Exchange(1.2, 1.3, 0.0, entries), 1.3)
    by_shard = {each.outcomes[0].shard_id: each for each in driver.pipeline.take_completions() if each.outcomes}
    assert [item.data for item in by_shard[ZERO].items] == [b"one", b"three"]
    assert [outcome.sequence_number for outcome in by_shard[ZERO].outcomes or ()] == ["3", "5"]
    assert by_shard[ZERO].size == sum(len(item.data) + len(item.partition_key) for item in by_shard[ZERO].items)
    assert by_shard[ONE].items == [items[1]]
    driver.pipeline.settled(items)
    assert not any(driver.pipeline.leftovers().values())


def test_only_the_failed_entries_are_sent_again() -> None:
    driver = Driver()
    kept = item(hash_key=TOP, arrival=1.0)
    driver.accept(item(arrival=1.0), kept)
    request = driver.request(1.1)
    assert [batch.queue.shard for batch in request.batches] == [LEFT, RIGHT]
    driver.respond(request, ZERO, ("InternalFailure", "try again"), now=1.2)
    assert len(driver.pipeline.take_completions()) == 1
    again = driver.request(driver.pipeline.next_wakeup(1.2))
    assert [batch.items for batch in again.batches] == [[kept]]
    assert [(each.code, each.message) for each in kept.tries] == [("InternalFailure", "try again")]
    assert not kept.maybe_written


def test_fail_if_throttled() -> None:
    driver = Driver(policy(fail_if_throttled=True))
    driver.accept(item(arrival=1.0))
    driver.respond(driver.request(1.1), (THROTTLED, "too fast"), now=1.2)
    (completion,) = driver.pipeline.take_completions()
    assert failed(completion).reason is Reason.THROTTLED
    assert "too fast" in failed(completion).message


@pytest.mark.parametrize("written", [True, False])
def test_a_failed_request_says_whether_it_may_have_been_written(written: bool) -> None:
    driver = Driver()
    record = item(arrival=1.0)
    driver.accept(record)
    driver.fail(driver.request(1.1), "ConnectionClosedError", 1.2, maybe_written=written)
    assert record.maybe_written is written
    assert driver.pipeline.next_wakeup(1.2) > 1.2


def test_one_record_is_sent_to_find_out_whether_an_outage_is_over() -> None:
    driver = Driver(policy(aggregate=False))
    driver.accept(*(item(arrival=1.0) for _ in range(3)))
    driver.fail(driver.request(1.1), "ServiceUnavailable", 1.2)
    request = driver.request(3.0)
    assert len(request.batches) == 1
    driver.respond(request, ZERO, now=3.1)
    assert len(driver.request(3.1).batches) == 2


def test_when_the_grace_is_over_waiting_records_are_rejected_too() -> None:
    driver = Driver(policy(aggregate=False))
    waiting = [item(arrival=1.0), item(arrival=1.0), item(arrival=1.0, hash_key=TOP)]
    driver.accept(*waiting)
    driver.fail(driver.request(1.1), "AccessDeniedException", 1.2)
    driver.fail(driver.request(3.0), "AccessDeniedException", 3.1)
    assert not driver.pipeline.take_completions()
    driver.fail(driver.request(7.0), "AccessDeniedException", 7.1)
    completions = driver.pipeline.take_completions()
    assert {id(each) for completion in completions for each in completion.items} == set(map(id, waiting))
    for completion in completions:
        assert failed(completion).reason is Reason.REJECTED
        assert failed(completion).message == "AccessDeniedException: the reason"
    driver.pipeline.settled(waiting)
    assert not any(driver.pipeline.leftovers().values())


@pytest.mark.parametrize("entries", [None, [], [{"SequenceNumber": "1", "ShardId": ZERO}] * 2])
def test_a_response_of_the_wrong_length_fails_the_request(entries: list[dict[str, str]] | None) -> None:
    driver = Driver()
    record = item(arrival=1.0)
    driver.accept(record)
    request = driver.request(1.1)
    driver.pipeline.request_ended(request, Exchange(1.1, 1.2, 0.0, entries), 1.2)
    assert not driver.pipeline.take_completions()
    assert record.maybe_written
    assert record.tries[0].code == "RecordCountMismatch"


def test_a_request_without_a_response_is_given_up_as_lost() -> None:
    driver = Driver(policy(request_timeout=1.0))
    record = item(arrival=1.0)
    driver.accept(record)
    late = driver.request(1.1)
    lost = driver.pipeline.next_wakeup(1.2)
    assert lost == pytest.approx(1.1 + 1.0 + rules.REQUEST_SLACK)
    driver.pipeline.tick(lost)
    assert record.maybe_written
    driver.respond(late, ZERO, now=lost + 0.1)  # too late, so it is ignored
    assert not driver.pipeline.take_completions()
    assert driver.request(driver.pipeline.next_wakeup(lost)).batches[0].items == [record]


def test_denied_for_longer_than_a_hiccup() -> None:
    driver = Driver()
    record = item(arrival=1.0)
    driver.accept(record)
    now = 1.1
    while not (completions := driver.pipeline.take_completions()):
        driver.fail(driver.request(now), "AccessDeniedException", now)
        assert now < 1.1 + rules.DENIED_GRACE + 5
        now = max(now, driver.pipeline.next_wakeup(now))
    assert now >= 1.1 + rules.DENIED_GRACE
    assert failed(completions[0]).reason is Reason.REJECTED


def test_an_error_that_is_final_for_the_stream_fails_the_bisection_too() -> None:
    """Otherwise its parts would fail one by one, at an outage's pace."""
    driver = Driver(policy(aggregate=False, collection_max_count=16), shards=(WHOLE,))
    driver.accept(*[item(arrival=1.0) for _ in range(48)])
    for request in [driver.request(1.1) for _ in range(3)]:
        driver.fail(request, "InvalidArgumentException", 1.1)
    now, completions = 1.2, list[Completion]()
    while not completions:
        driver.fail(driver.request(now), "AccessDeniedException", now)
        assert now < 1.1 + rules.DENIED_GRACE + 5
        now = max(now, driver.pipeline.next_wakeup(now))
        completions = driver.pipeline.take_completions()
    assert sum(len(each.items) for each in completions) == 48
    assert {failed(each).reason for each in completions} == {Reason.REJECTED}
    assert not any(driver.pipeline.leftovers().values())


# --- where records land ---

CHILDREN = (ShardRange("shardId-000000000002", 0, HALF - 1), ShardRange("shardId-000000000003", HALF, TOP))


def test_after_a_split_misplaced_aggregates_are_judged_by_a_new_listing() -> None:
    driver = Driver(shards=(WHOLE,))
    both = [item(arrival=1.0), item(arrival=1.0, hash_key=TOP)]
    driver.accept(*both)
    driver.respond(driver.request(1.1), CHILDREN[0].shard_id, now=1.2)
    assert not driver.pipeline.take_completions()
    assert driver.pipeline.wants_listing(1.2)
    assert not any(each.maybe_written for each in both)
    driver.list(CHILDREN, 1.3)
    assert all(each.maybe_written for each in both)
    request = driver.request(1.4)
    assert [batch.queue.shard for batch in request.batches] == list(CHILDREN)
    assert driver.pipeline.totals.wrong_shard == 1


def test_a_merge_writes_nothing_twice() -> None:
    driver = Driver()
    record = [item(arrival=1.0), item(arrival=1.0)]
    driver.accept(*record)
    merged = ShardRange("shardId-000000000002", 0, TOP)
    driver.respond(driver.request(1.1), merged.shard_id, now=1.2)
    driver.list((merged,), 1.3)
    (completion,) = driver.pipeline.take_completions()
    assert isinstance(completion.outcome, Delivered)
    assert not record[0].maybe_written


def test_while_listings_are_stale_records_travel_alone() -> None:
    driver = Driver(shards=(WHOLE,))
    driver.accept(item(arrival=1.0), item(arrival=1.0, hash_key=TOP))
    driver.respond(driver.request(1.1), CHILDREN[0].shard_id, now=1.2)
    driver.list((WHOLE,), 1.3)
    assert not driver.pipeline.wants_listing(1.4)
    driver.accept(item(arrival=1.4), item(arrival=1.4, hash_key=TOP))
    request = driver.request(1.5)
    assert sizes(request.batches) == [1, 1]
    driver.respond(request, *(child.shard_id for child in CHILDREN), now=1.6)
    assert len(driver.pipeline.take_completions()) == 2
    assert not driver.pipeline.wants_listing(1.6)
    assert driver.pipeline.next_wakeup(1.6) <= 1.3 + 1.0 + 1e-9  # the next listing
    assert driver.pipeline.wants_listing(2.4)


def test_an_aggregate_that_no_listing_explains_is_sent_again_in_the_end() -> None:
    driver = Driver(shards=(WHOLE,))
    driver.accept(item(arrival=1.0), item(arrival=1.0, hash_key=TOP))
    driver.respond(driver.request(1.1), CHILDREN[0].shard_id, now=1.2)
    now = 1.2
    while not driver.pipeline.has_request(now):
        assert now < 1.2 + rules.JUDGE_PATIENCE + 1
        driver.pipeline.tick(now)
        if driver.pipeline.wants_listing(now):
            driver.pipeline.listing_started(now)
            driver.pipeline.listing_failed("denied", now)
        elif not driver.pipeline.has_request(now):
            now = driver.pipeline.next_wakeup(now)
    assert sizes(driver.request(now).batches) == [1, 1]


def test_a_recreated_stream_is_not_taken_for_the_old_one() -> None:
    driver = Driver(shards=(WHOLE,))
    driver.accept(item(arrival=1.0), item(arrival=1.0, hash_key=TOP))
    request = driver.request(1.1)
    driver.pipeline.map.seen_alive(1.0)
    driver.respond(request, WHOLE.shard_id, now=11.5)  # the same id, but eleven seconds on
    assert not driver.pipeline.take_completions()
    driver.list((ShardRange(WHOLE.shard_id, 0, HALF - 1), RIGHT), 11.6)
    assert driver.pipeline.totals.wrong_shard == 1


def test_an_aggregate_in_flight_while_the_recreated_stream_is_listed() -> None:
    """The new map has the same shard id with half of the range. From seed 11951 of the simulation."""
    driver = Driver(shards=(WHOLE,))
    driver.accept(item(arrival=20.0), item(arrival=20.0, hash_key=TOP))
    driver.list((WHOLE,), 20.0)
    request = driver.request(20.1)
    driver.pipeline.map.seen_missing()
    driver.list((ShardRange(WHOLE.shard_id, 0, HALF - 1), RIGHT), 20.2)
    driver.respond(request, WHOLE.shard_id, now=20.3)
    assert not driver.pipeline.take_completions()
    assert driver.pipeline.totals.wrong_shard == 1


def test_landing_elsewhere_counts_even_when_the_records_have_timed_out() -> None:
    driver = Driver(policy(answer_timeout=1.0), shards=(WHOLE,))
    driver.accept(item(arrival=1.0), item(arrival=1.0, hash_key=TOP))
    request = driver.request(1.5)
    driver.pipeline.tick(2.05)
    (completion,) = driver.pipeline.take_completions()
    driver.pipeline.settled(completion.items)
    driver.respond(request, CHILDREN[0].shard_id, now=2.1)
    assert driver.pipeline.wants_listing(2.1)
    assert not any(driver.pipeline.leftovers().values())


def test_a_new_listing_that_explains_nothing_is_not_trusted() -> None:
    """At first, the service's own choice of shards looks like this. From seed 5884 of the simulation."""
    driver = Driver()
    driver.accept(item(arrival=1.0), item(arrival=1.0))
    request = driver.request(1.1)
    driver.respond(request, ONE, now=15.0)  # too late for ids to mean anything
    driver.list((LEFT, RIGHT), 15.1)
    driver.accept(item(arrival=15.2), item(arrival=15.2))
    now = driver.pipeline.next_wakeup(15.2)
    assert sizes(driver.request(max(now, 15.4)).batches) == [1, 1, 1, 1]


def test_records_that_waited_for_the_map_make_the_same_batches_as_others() -> None:
    early, late = ([item(b"x" * 90, f"key-{n}", n % 3 << 126, 1.0) for n in range(3_000)] for _ in range(2))
    waited, driver = Driver(shards=()), Driver()
    waited.accept(*early)
    waited.list((LEFT, RIGHT), 1.0)
    driver.accept(*late)
    requests = [each.request(1.2) for each in (waited, driver)]
    of_early, of_late = ([(each.queue.shard, data_of(each)) for each in request.batches] for request in requests)
    assert of_early == of_late
    assert len(of_early) > 4
    assert [each.number for each in early] == list(range(3_000))


def test_without_a_map_records_wait_and_then_travel_alone() -> None:
    driver = Driver(shards=())
    pipeline = driver.pipeline
    driver.accept(*[item(arrival=1.0) for _ in range(3)])
    assert pipeline.wants_listing(1.0)
    pipeline.listing_started(1.0)
    pipeline.listing_failed("denied", 1.1)
    assert pipeline.next_request(1.5) is None
    patience = 1.0 + rules.MAP_PATIENCE
    request = driver.request(patience)
    assert sizes(request.batches) == [1, 1, 1]
    assert not pipeline.notices  # the records may fail for the same cause
    driver.respond(request, ONE, ONE, ONE, now=patience + 0.1)
    assert pipeline.notices == [Notice("shards_not_listed", {"reason": "denied"})]
    driver.accept(item(arrival=4.0))
    driver.list((WHOLE,), 4.05)
    driver.accept(item(arrival=4.06))
    assert sizes(driver.request(4.2).batches) == [2]
    assert [notice.event for notice in pipeline.notices] == ["shards_not_listed", "shards_listed_again"]


UNREACHED = RequestError("EndpointConnectionError", "cannot connect to http://127.0.0.1:9", maybe_written=False)
NO_LOGIN = RequestError("LoginExpired", "run `aws sso login`", maybe_written=False)


@pytest.mark.parametrize("error", [UNREACHED, NO_LOGIN], ids=lambda error: error.code)
def test_a_listing_error_that_puts_would_meet_too_ends_the_wait(error: RequestError) -> None:
    """So that the put shows the error at once. A notice of the listing would add nothing."""
    driver = Driver(shards=())
    pipeline = driver.pipeline
    driver.accept(item(arrival=1.0))
    pipeline.listing_started(1.0)
    pipeline.listing_failed("ListShards: the reason", 1.05, error)
    driver.fail(driver.request(1.1), error.code, now=1.15)
    assert [each.event for each in pipeline.notices] == ["requests_failed"]  # only the cause


def test_a_failed_listing_is_reported_once_a_put_has_worked() -> None:
    """As with a stand-in for Kinesis that has no ListShards."""
    driver = Driver(shards=())
    pipeline = driver.pipeline
    driver.accept(item(arrival=1.0), item(arrival=1.0))
    pipeline.listing_started(1.0)
    pipeline.listing_failed("ListShards: ?", 1.05, RequestError("UnknownOperationException", "?", maybe_written=False))
    driver.respond(driver.request(1.1), WHOLE.shard_id, WHOLE.shard_id, now=1.2)
    pipeline.tick(1.3)
    assert [each.event for each in pipeline.notices] == ["requests_failed", "shards_not_listed"]
    assert pipeline.notices[1].fields == {"reason": "ListShards: ?"}


def test_a_set_up_that_cannot_work_is_final_when_the_grace_ends() -> None:
    driver = Driver(shards=())
    pipeline = driver.pipeline
    waiting = [item(arrival=1.0), item(arrival=1.2)]
    driver.accept(waiting[0])
    pipeline.listing_started(1.0)
    pipeline.listing_failed("ListShards: the reason", 1.0, NO_LOGIN)
    pipeline.accept([waiting[1]], 1.2)
    now, first = 1.2, NEVER
    completions: list[Completion] = []
    while not completions:
        now = max(pipeline.next_wakeup(now), now + 0.001)
        if pipeline.wants_listing(now):
            pipeline.listing_started(now)
            pipeline.listing_failed("ListShards: the reason", now, NO_LOGIN)
        request = pipeline.next_request(now)
        if request is not None:
            driver.fail(request, NO_LOGIN.code, now=now)
            first = min(first, now)
        completions = pipeline.take_completions()
    assert now == pytest.approx(first + rules.DENIED_GRACE, abs=0.01)
    assert {failed(each).reason for each in completions} == {Reason.SET_UP}
    assert {each for completion in completions for each in completion.items} == set(waiting)
    assert not pipeline.outstanding - len(waiting)


# --- the client ---


def awaiting_client(**changes: Any) -> Driver:
    driver = Driver(shards=())
    driver.pipeline = Pipeline(policy(**changes), lambda: 0.5)
    driver.pipeline.await_client()
    return driver


def test_the_wait_for_the_map_begins_when_the_client_exists() -> None:
    driver = awaiting_client()
    pipeline = driver.pipeline
    driver.accept(*[item(arrival=1.0) for _ in range(3)])
    assert pipeline.next_wakeup(1.0) == 1.0
    assert pipeline.wants_client()
    pipeline.client_started()
    assert not pipeline.wants_client()
    there = 1.0 + 2 * rules.MAP_PATIENCE
    assert not pipeline.wants_listing(there)
    assert not pipeline.wants_description(there)
    assert pipeline.next_wakeup(1.5) > there  # it waits, and does not wake up meanwhile
    assert pipeline.next_request(there) is None
    pipeline.client_made(there)
    assert pipeline.wants_description(there)
    assert pipeline.wants_listing(there)
    pipeline.listing_started(there)
    assert pipeline.next_request(there + rules.MAP_PATIENCE - 0.01) is None
    pipeline.listing_succeeded([WHOLE], there + rules.MAP_PATIENCE - 0.01)
    assert sizes(driver.request(there + rules.MAP_PATIENCE).batches) == [3]
    assert pipeline.notices == []


def test_records_expire_while_the_client_is_being_made() -> None:
    driver = awaiting_client(ttl=1.0)
    driver.accept(item(arrival=1.0))
    driver.pipeline.client_started()
    assert driver.pipeline.next_wakeup(1.0) == pytest.approx(2.0)
    driver.pipeline.tick(2.0)
    (completion,) = driver.pipeline.take_completions()
    assert failed(completion).reason is Reason.EXPIRED


def test_without_a_region_all_records_fail_at_once() -> None:
    driver = awaiting_client()
    driver.accept(item(arrival=1.0), item(arrival=1.0))
    driver.pipeline.client_started()
    driver.pipeline.client_made(1.2, RequestError("NoRegion", "set AWS_REGION", maybe_written=False))
    (completion,) = driver.pipeline.take_completions()
    assert failed(completion).reason is Reason.SET_UP
    assert failed(completion).message == "NoRegion: set AWS_REGION"
    assert len(completion.items) == 2
    driver.pipeline.settled(completion.items)
    later = item(arrival=5.0)
    driver.accept(later)
    driver.pipeline.listing_started(5.0)
    driver.pipeline.listing_failed("ListShards: NoRegion", 5.0, RequestError("NoRegion", "", maybe_written=False))
    driver.fail(driver.request(5.1), "NoRegion", now=5.1)
    (completion,) = driver.pipeline.take_completions()
    assert completion.items == [later]
    assert failed(completion).reason is Reason.SET_UP


def test_a_map_learnt_before_the_first_record_is_used_for_it() -> None:
    driver = awaiting_client()
    pipeline = driver.pipeline
    pipeline.connected([LEFT, RIGHT], Summary(BY_KEY, 2), 0.8, 0.9)
    assert pipeline.next_wakeup(1.0) == NEVER
    driver.accept(item(arrival=1.0), item(arrival=1.0))
    assert not pipeline.wants_client()
    assert not pipeline.wants_description(1.0)
    assert not pipeline.wants_listing(1.0)
    assert sizes(driver.request(1.2).batches) == [2]


# --- expiry ---


def test_records_expire_wherever_they_wait() -> None:
    driver = Driver(policy(ttl=1.0), shards=())
    waiting = item(arrival=1.0)
    driver.accept(waiting)
    assert driver.pipeline.next_wakeup(1.0) == 1.0  # to list
    driver.pipeline.listing_started(1.0)
    assert driver.pipeline.next_wakeup(1.0) == pytest.approx(2.0)
    driver.pipeline.tick(2.0)
    (completion,) = driver.pipeline.take_completions()
    assert failed(completion).reason is Reason.EXPIRED
    assert completion.items == [waiting]


def test_a_record_that_expires_unsent_says_what_it_waited_for() -> None:
    unlisted = Driver(policy(ttl=1.0), shards=())
    unlisted.accept(item(arrival=1.0))
    unlisted.pipeline.listing_started(1.0)
    unlisted.pipeline.listing_failed("AccessDenied", 1.1)
    unlisted.pipeline.tick(2.0)
    (completion,) = unlisted.pipeline.take_completions()
    assert failed(completion).message == "the shards cannot be listed (AccessDenied)"

    throttled = Driver(policy(ttl=1.0, rate=100.0, aggregate=False))
    throttled.accept(item(arrival=1.0))
    throttled.respond(throttled.request(1.1), (THROTTLED, "slow down"), now=1.2)
    unsent = item(arrival=1.2)
    throttled.accept(unsent)
    throttled.pipeline.tick(2.3)
    (completion,) = [each for each in throttled.pipeline.take_completions() if unsent in each.items]
    assert failed(completion).message == f"shard {ZERO} is throttled"

    out = Driver(policy(ttl=1.0))
    out.accept(item(arrival=1.0))
    out.fail(out.request(1.1), "InternalFailure", now=1.2)
    unsent = item(arrival=1.2)
    out.accept(unsent)
    out.pipeline.tick(2.3)
    (completion,) = [each for each in out.pipeline.take_completions() if unsent in each.items]
    assert failed(completion).message == "the stream's requests fail, the last with InternalFailure: the reason"


def test_a_record_that_expires_while_waiting_for_the_map_says_so() -> None:
    ttl = rules.MAP_PATIENCE / 2

    def message(driver: Driver, now: float) -> str:
        driver.pipeline.tick(now)
        (completion,) = driver.pipeline.take_completions()
        return failed(completion).message

    without_client = Driver(policy(ttl=ttl), shards=())
    without_client.pipeline.await_client()
    without_client.accept(item(arrival=1.0))
    without_client.pipeline.client_started()
    assert message(without_client, 1.0 + ttl) == "the AWS client is still being made"

    unanswered = Driver(policy(ttl=ttl), shards=())
    unanswered.accept(item(arrival=1.0))
    unanswered.pipeline.listing_started(1.0)
    expected = "ListShards has no response yet, and the shard cannot be chosen without it"
    assert message(unanswered, 1.0 + ttl) == expected

    undescribed = Driver(policy(ttl=ttl), shards=())
    undescribed.pipeline = Pipeline(policy(ttl=ttl), lambda: 0.5)
    undescribed.accept(item(arrival=1.0))
    undescribed.pipeline.description_started(1.0)
    undescribed.list((WHOLE,), 1.0)
    expected = "DescribeStreamSummary has no response yet, and the shards cannot be chosen without it"
    assert message(undescribed, 1.0 + ttl) == expected

    distrusted = Driver(policy(ttl=ttl), shards=(WHOLE,))
    later = 2 * rules.MAP_IDLE_TRUST
    distrusted.accept(item(arrival=later))
    distrusted.pipeline.listing_started(later)
    distrusted.pipeline.listing_failed("ListShards: InternalFailure: the reason", later + 0.1)
    assert message(distrusted, later + ttl) == "the shards cannot be listed (ListShards: InternalFailure: the reason)"

    queued = Driver(policy(ttl=ttl))
    queued.accept(item(arrival=1.0))
    expected = f"it waited for its turn: shard {ZERO} was at its limit, or every connection was busy"
    assert message(queued, 1.0 + ttl) == expected


def test_failed_listings_are_reported_until_it_is_reported_that_records_travel_alone() -> None:
    driver = Driver(shards=())
    pipeline = driver.pipeline
    error = RequestError("AccessDenied", "not you", maybe_written=False)
    cause = Notice("requests_failed", {"operation": "ListShards", "code": "AccessDenied", "reason": "not you"})
    driver.accept(item(arrival=1.0))
    pipeline.listing_started(1.0)
    pipeline.listing_failed("denied", 1.1, error)
    assert pipeline.notices == [cause]
    now = 1.0 + rules.MAP_PATIENCE
    driver.respond(driver.request(now), ONE, now=now)
    pipeline.listing_started(now + 1)
    pipeline.listing_failed("denied", now + 1, error)
    assert [each.event for each in pipeline.notices] == ["requests_failed", "shards_not_listed"]


def test_a_batch_in_flight_expires_only_with_its_response() -> None:
    driver = Driver(policy(ttl=1.0))
    driver.accept(item(arrival=1.0), item(arrival=1.6))
    request = driver.request(1.6)
    driver.pipeline.tick(2.1)
    assert not driver.pipeline.take_completions()
    driver.respond(request, ("InternalFailure", ""), now=2.2)
    (completion,) = driver.pipeline.take_completions()
    assert [each.arrival for each in completion.items] == [1.0]
    assert "InternalFailure" in str(completion.items[0].tries)


def test_user_record_timeout_covers_records_in_flight() -> None:
    driver = Driver(policy(answer_timeout=1.0))
    old, young = item(arrival=1.0, hash_key=TOP), item(arrival=1.5, hash_key=TOP)
    driver.accept(old, young)
    request = driver.request(1.5)
    driver.pipeline.tick(2.05)
    (completion,) = driver.pipeline.take_completions()
    assert completion.items == [old]
    assert failed(completion).message == "the request with the record has no response yet"
    assert old.maybe_written
    driver.respond(request, ONE, now=2.1)
    (completion,) = driver.pipeline.take_completions()
    assert completion.items == [young]
    assert completion.size == 2
    driver.pipeline.settled([old, young])
    assert not any(driver.pipeline.leftovers().values())


# --- flush and the end ---


def test_a_flush_waits_for_older_records() -> None:
    driver = Driver(policy(linger=5.0))
    older, newer = item(arrival=1.0), item(arrival=1.2, hash_key=TOP)
    driver.accept(older)
    mark = driver.pipeline.flush(1.1)
    driver.accept(newer)
    assert driver.pipeline.unflushed(mark) == 1
    second = driver.pipeline.flush(1.2)
    request = driver.request(1.2)
    assert driver.pipeline.unflushed(second) == 2
    driver.pipeline.settled([newer])
    assert (driver.pipeline.unflushed(mark), driver.pipeline.unflushed(second)) == (1, 1)
    driver.respond(request, ZERO, ONE, now=1.3)
    driver.pipeline.settled([older])
    assert (driver.pipeline.unflushed(mark), driver.pipeline.unflushed(second)) == (0, 0)


def test_a_bisection_does_not_go_on_in_a_closed_shard() -> None:
    driver = Driver()
    driver.accept(*[item(arrival=1.0, hash_key=key) for key in (0, HALF - 1, TOP, TOP)])
    driver.fail(driver.request(1.2), "InvalidArgumentException", now=1.3)
    halves = ShardRange("shardId-2", 0, 10), ShardRange("shardId-3", 11, HALF - 1)
    driver.list((*halves, RIGHT), 1.4)
    bisected = driver.request(1.5)
    assert [[each.hash_key for each in batch.items] for batch in bisected.batches] == [[TOP, TOP]]
    driver.respond(bisected, ONE, now=1.6)
    again = driver.request(1.6)
    assert [(batch.queue.shard, len(batch.items)) for batch in again.batches] == [(half, 1) for half in halves]
    driver.respond(again, "shardId-2", "shardId-3", now=1.7)
    assert sum(len(each.items) for each in driver.pipeline.take_completions()) == 4
    assert not any(driver.pipeline.leftovers().values())


def test_fail_all_gives_every_record_an_outcome() -> None:
    driver = Driver()
    in_flight, open_one = item(arrival=1.0), item(arrival=1.1)
    driver.accept(in_flight)
    request = driver.request(1.1)
    driver.accept(open_one)
    driver.pipeline.fail_all(Reason.CLOSED, "closed", 1.2)
    completions = driver.pipeline.take_completions()
    assert {each for completion in completions for each in completion.items} == {in_flight, open_one}
    assert (in_flight.maybe_written, open_one.maybe_written) == (True, False)
    driver.respond(request, ZERO, now=1.3)
    assert not driver.pipeline.take_completions()


def test_records_and_bytes_held_by_a_shard() -> None:
    driver = Driver()
    driver.accept(item(b"abc", arrival=1.0))
    driver.pipeline.flush(1.0)
    assert driver.pipeline.held_by_shard_of(0) == (1, 4)
    assert driver.pipeline.held_by_shard_of(TOP) == (0, 0)
    driver.respond(driver.request(1.0), ZERO, now=1.1)
    assert driver.pipeline.held_by_shard_of(0) == (0, 0)
