"""Records and requests that are too large for the stream, or for a gateway before the service."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kplpy.core import policy as rules
from kplpy.core.batching.request import Request
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.pipeline import Pipeline
from kplpy.core.policy import Policy
from kplpy.core.record import PendingRecord
from kplpy.core.results.retry_policy import TOO_LARGE
from kplpy.core.routing.placement import BY_KEY
from kplpy.core.size_limits import SizeLimits
from tests.core_helpers import LEFT, RIGHT, TOP, Driver, item, policy
from tests.inside import allow_describing, in_flight_of

MIB = 1 << 20
INVALID = "InvalidArgumentException"
ZERO, ONE = LEFT.shard_id, RIGHT.shard_id
RULES = policy(max_user_record_size=10 * MIB, linger=0.0)
STALE = 1.5 * rules.STRATEGY_POLL + 1


def knowing(limit: int | None, rules: Policy = RULES) -> Driver:
    """Return a driver of two shards. It knows the stream's limit in bytes, or that it cannot be learnt."""
    driver = Driver(rules)
    allow_describing(driver.pipeline)
    driver.describe(BY_KEY, 0.5, limit)
    return driver


def sized(size: int, arrival: float = 1.0, hash_key: int = 0) -> PendingRecord:
    """Return a record of this many bytes with its key."""
    return item(bytes(size - 1), "k", arrival=arrival, hash_key=hash_key)


def data_sizes(request: Request) -> list[int]:
    return [batch.wire_size for batch in request.batches]


def only_failure(pipeline: Pipeline) -> Failed:
    (completion,) = pipeline.take_completions()
    assert isinstance(completion.outcome, Failed)
    return completion.outcome


# --- the stream's limit ---


@pytest.mark.parametrize("limit", [MIB, 2 * MIB, 10 * MIB])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_record_above_the_streams_limit_fails_alone_and_unsent(limit: int, ordered: bool) -> None:
    driver = knowing(limit, replace(RULES, ordered=ordered))
    before, after = sized(100), sized(100)
    driver.accept(before, sized(limit + 1), after)
    request = driver.request(1.0)
    sent = list(request.batches)
    driver.respond(request, *[ZERO] * len(sent), now=1.1)
    if ordered:
        driver.respond(last := driver.request(1.1), ZERO, now=1.2)
        sent += last.batches
    assert [each for batch in sent for each in batch.items] == [before, after]
    failed, *delivered = sorted(
        driver.pipeline.take_completions(), key=lambda each: isinstance(each.outcome, Delivered)
    )
    assert isinstance(failed.outcome, Failed)
    assert failed.outcome.reason is Reason.TOO_LARGE
    for number in (limit + 1, limit, limit >> 10, 10 * MIB):
        assert str(number) in failed.outcome.message
    assert not failed.items[0].tries
    assert failed.predicted == ZERO
    assert sum(len(each.items) for each in delivered) == 2
    for each in (failed, *delivered):
        driver.pipeline.settled(each.items)
    assert not any(driver.pipeline.leftovers().values())


def test_a_record_exactly_at_the_limit_is_sent_like_any_other() -> None:
    driver = knowing(2 * MIB)
    driver.accept(sized(100, hash_key=TOP), sized(2 * MIB))
    assert sorted(data_sizes(driver.request(1.0))) == [100, 2 * MIB]


def test_the_limit_holds_for_records_accepted_before_it_was_known() -> None:
    driver = Driver(RULES, shards=())
    driver.accept(sized(MIB + 1))
    driver.list((LEFT, RIGHT), 1.1)
    allow_describing(driver.pipeline)
    driver.describe(BY_KEY, 1.2, MIB)
    assert driver.pipeline.next_request(1.3) is None
    assert only_failure(driver.pipeline).reason is Reason.TOO_LARGE


def test_while_the_limit_is_not_known_a_large_record_goes_alone_beside_others() -> None:
    driver = knowing(None)
    good = [sized(100), sized(100, hash_key=TOP)]
    driver.accept(sized(MIB + 1), sized(3 * MIB), *good)
    requests = [driver.request(1.0) for _ in range(3)]
    assert [data_sizes(each) for each in requests] == [[100, 100], [MIB + 1], [3 * MIB]]
    assert driver.pipeline.next_request(1.0) is None
    driver.respond(requests[0], ZERO, ONE, now=1.1)
    assert len(driver.pipeline.take_completions()) == 2
    driver.fail(requests[2], INVALID, now=1.1)
    assert only_failure(driver.pipeline).reason is Reason.INVALID
    driver.respond(requests[1], ZERO, now=1.1)
    assert isinstance(driver.pipeline.take_completions()[0].outcome, Delivered)
    # Now the stream is known to take such a record. Its shard has paid for it only now.
    driver.accept(sized(100, 3.0), sized(MIB + 1, 3.0, TOP), now=3.0)
    assert sorted(data_sizes(driver.request(4.0))) == [100, MIB + 1]


def test_a_large_record_waits_for_no_tokens_and_takes_none_when_it_is_refused() -> None:
    driver = knowing(None)
    for number in range(20):
        driver.accept(sized(5 * MIB), sized(30_000))
        first, second = driver.request(1.0 + number / 100), driver.request(1.0 + number / 100)
        for request in (first, second):
            if request.size > MIB:
                driver.fail(request, INVALID, now=1.005 + number / 100)
            else:
                driver.respond(request, ZERO, now=1.005 + number / 100)
    assert driver.pipeline.totals.user_records_put == 20
    assert driver.pipeline.totals.user_records_failed == 20


def test_a_large_record_that_was_accepted_makes_its_shard_wait() -> None:
    driver = knowing(None)
    driver.accept(sized(3 * MIB))
    driver.respond(driver.request(1.0), ZERO, now=1.1)
    driver.accept(sized(100, 1.1), sized(100, 1.1, TOP), now=1.1)
    assert len(driver.request(1.2).batches) == 1
    assert driver.pipeline.next_request(2.5) is None
    assert data_sizes(driver.request(4.0)) == [100]


def test_a_limit_that_may_have_been_raised_is_requested_again_and_refuses_nothing_meanwhile() -> None:
    driver = knowing(MIB)
    pipeline = driver.pipeline
    driver.accept(sized(2 * MIB))
    assert pipeline.next_request(1.0) is None
    assert only_failure(pipeline).reason is Reason.TOO_LARGE
    assert not pipeline.wants_description(1.0)  # it was requested just before
    driver.list((LEFT, RIGHT), STALE)
    driver.accept(sized(2 * MIB, STALE))
    assert pipeline.wants_description(STALE)
    request = driver.request(STALE)
    assert data_sizes(request) == [2 * MIB]
    driver.describe(BY_KEY, STALE, 2 * MIB)
    driver.respond(request, ZERO, now=STALE + 0.1)
    assert isinstance(pipeline.take_completions()[0].outcome, Delivered)
    driver.accept(sized(2 * MIB, STALE + 5), sized(2 * MIB + 1, STALE + 5), now=STALE + 5)
    assert data_sizes(driver.request(STALE + 9)) == [2 * MIB]
    assert only_failure(pipeline).reason is Reason.TOO_LARGE


def test_a_limit_that_was_lowered_is_learnt_from_a_refusal() -> None:
    driver = knowing(10 * MIB)
    driver.accept(sized(100, hash_key=TOP), sized(2 * MIB))
    driver.fail(driver.request(1.0), INVALID, now=1.1)
    first, second = driver.request(1.1), driver.request(1.1)
    assert [data_sizes(first), data_sizes(second)] == [[2 * MIB], [100]]  # the largest is the first suspect
    driver.fail(first, INVALID, now=1.2)
    driver.respond(second, ONE, now=1.2)
    assert len(driver.pipeline.take_completions()) == 2
    driver.accept(sized(100, 2.0, TOP), sized(2 * MIB, 2.0), now=2.0)
    assert [data_sizes(driver.request(2.0)) for _ in range(2)] == [[100], [2 * MIB]]


def test_another_stream_of_the_name_may_have_another_limit() -> None:
    driver = knowing(MIB)
    driver.accept(sized(2 * MIB, hash_key=TOP), sized(100))
    driver.fail(driver.request(1.0), "ResourceNotFoundException", now=1.1)
    assert only_failure(driver.pipeline).reason is Reason.TOO_LARGE
    driver.accept(sized(2 * MIB, 1.1), now=1.1)
    driver.list((LEFT, RIGHT), 3.0)
    sent = [data_sizes(driver.request(9.0)), data_sizes(driver.request(9.0 + rules.PROBE_INTERVAL))]
    assert sorted(sent) == [[100], [2 * MIB]]


@pytest.mark.parametrize("first_key", [False, True])
@pytest.mark.parametrize(("known", "least"), [(None, 900_000), (MIB, 900_000), (3 * MIB, 2_900_000)])
def test_aggregates_keep_to_the_streams_limit(first_key: bool, known: int | None, least: int) -> None:
    driver = knowing(known, replace(RULES, aggregation_max_size=10 * MIB, first_key_outside=first_key, rate=100.0))
    key = "k" * 256 if first_key else "k"
    driver.accept(*[item(bytes(10_000), key, arrival=1.0) for _ in range(700)])
    sizes = [size for _ in range(2) for size in data_sizes(driver.request(1.0))]
    assert least < max(sizes) <= (known or MIB)
    assert min(len(batch.items) for request in in_flight_of(driver.pipeline) for batch in request.batches) > 1


def test_an_aggregate_that_was_packed_for_a_larger_limit_is_packed_again() -> None:
    driver = knowing(3 * MIB, replace(RULES, aggregation_max_size=10 * MIB, linger=50.0))
    records = [item(bytes(30_000), arrival=1.0) for _ in range(60)]
    driver.accept(*records)
    driver.pipeline.flush(1.0)
    allow_describing(driver.pipeline)
    driver.describe(BY_KEY, 1.0, MIB)
    request = driver.request(1.1)
    assert max(data_sizes(request)) <= MIB
    assert [each for batch in request.batches for each in batch.items] == records[: sum(map(len, _items(request)))]


def _items(request: Request) -> list[list[PendingRecord]]:
    return [batch.items for batch in request.batches]


# --- invalid for another reason ---


def test_a_refused_request_gets_its_tokens_back() -> None:
    """Records of nearly a second's worth are refused for some reason. Other records go on."""
    driver = knowing(MIB)
    now = 1.0
    for number in range(10):
        driver.accept(sized(MIB, now), sized(100, now), now=now)
        while driver.pipeline.totals.user_records_put + driver.pipeline.totals.user_records_failed < 2 * number + 2:
            now = max(now, driver.pipeline.next_wakeup(now))
            request = driver.request(now)
            now += 0.005
            if max(data_sizes(request)) > 1000:
                driver.fail(request, INVALID, now=now)
            else:
                driver.respond(request, ZERO, now=now)
    assert driver.pipeline.totals.user_records_put == 10
    assert now < 2.0  # ten records of 1 MiB would take nine seconds


def test_with_one_sender_the_parts_of_a_bisection_and_other_requests_take_turns() -> None:
    driver = knowing(MIB)
    driver.accept(*[sized(100) for _ in range(64)])
    driver.fail(driver.request(1.0), INVALID, now=1.0)
    parts_sent = []
    for number in range(6):
        driver.accept(sized(100, hash_key=TOP))
        request = driver.request(1.0)
        parts_sent.append(request.is_part)
        driver.respond(request, *[ONE if number % 2 else ZERO] * len(request.batches), now=1.0)
    assert parts_sent == [True, False] * 3


# --- HTTP 413 ---


def front(driver: Driver, limit: int, now: float) -> list[int]:
    """Play a gateway before the service until nothing is left to send. Return the sizes of refused requests."""
    refused: list[int] = []
    while True:
        request = driver.pipeline.next_request(now)
        if request is None:
            return refused
        if request.size > limit:
            refused.append(request.size)
            driver.fail(request, TOO_LARGE, now=now)
        else:
            shards = [batch.queue.shard.shard_id for batch in request.batches if batch.queue.shard is not None]
            driver.respond(request, *shards, now=now)


@pytest.mark.parametrize("ordered", [False, True])
def test_a_request_that_is_too_large_is_sent_in_parts_and_later_ones_are_smaller(ordered: bool) -> None:
    driver = knowing(MIB, replace(RULES, rate=100.0, ordered=ordered))
    limit = 800_000
    records = [sized(20_000, hash_key=TOP * (number % 2)) for number in range(300)]
    driver.accept(*records)
    assert max(front(driver, limit, 1.0), default=0) <= 5 * MIB
    assert driver.pipeline.totals.user_records_put == 300
    assert not any(each.maybe_written for each in records)
    driver.accept(*[sized(20_000, 2.0, hash_key=TOP * (number % 2)) for number in range(300)], now=2.0)
    assert len(front(driver, limit, 2.0)) <= 2
    driver.accept(*[sized(20_000, 3.0, hash_key=TOP * (number % 2)) for number in range(300)], now=3.0)
    assert front(driver, limit, 3.0) == []
    assert driver.pipeline.totals.user_records_put == 900


def test_a_record_that_is_too_large_for_a_gateway_fails_alone_and_says_so() -> None:
    driver = knowing(MIB, replace(RULES, rate=100.0))
    driver.accept(*[sized(20_000) for _ in range(20)], sized(900_000), *[sized(20_000) for _ in range(20)])
    front(driver, 800_000, 1.0)
    assert driver.pipeline.totals.user_records_put == 40
    failed = [each for each in driver.pipeline.take_completions() if isinstance(each.outcome, Failed)]
    (outcome,) = [each.outcome for each in failed]
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.TOO_LARGE
    assert "900000 bytes before encoding" in outcome.message
    assert "HTTP 413" in outcome.message
    assert failed[0].items[0].tries[-1].code == TOO_LARGE


def test_aggregates_keep_within_the_gateways_limit() -> None:
    driver = knowing(10 * MIB, replace(RULES, rate=100.0, aggregation_max_size=4 * MIB))
    refused = []
    for now in (1.0, 2.0, 3.0):
        driver.accept(*[sized(20_000, now) for _ in range(300)], now=now)
        refused.append(front(driver, 800_000, now))
    assert refused[0]
    assert refused[2] == []
    assert driver.pipeline.totals.user_records_put == 900


def test_requests_may_grow_again() -> None:
    limits = SizeLimits(policy(collection_max_size=4_000_000))
    limits.request_refused(3_000_000, 10.0)
    limits.request_refused(2_000_000, 11.0)
    limits.request_refused(2_800_000, 12.0)  # sent before the first refusal
    assert limits.request == 1_000_000
    grown = []
    now = 12.0
    while limits.grows_at < float("inf"):
        assert limits.grows_at == now + rules.REQUEST_LIMIT_GROWTH
        now = limits.grows_at
        limits.grow(now)
        grown.append(limits.request)
    assert grown == [2_000_000, 4_000_000]


def test_requests_do_not_shrink_without_end() -> None:
    limits = SizeLimits(policy())
    for size in (5_000_000, 100, 1):
        limits.request_refused(size, 1.0)
    assert limits.request == rules.LEAST_REQUEST_LIMIT
    assert limits.aggregate == 51_200


def test_all_records_fail_if_the_gateway_accepts_nothing() -> None:
    driver = knowing(MIB, replace(RULES, rate=100.0))
    driver.accept(*[sized(20_000) for _ in range(300)])
    driver.pipeline.flush(1.0)
    refused = []
    now = 1.0
    while driver.pipeline.totals.user_records_failed < 300:
        request = driver.request(now)
        refused.append(request.size)
        driver.fail(request, TOO_LARGE, now=now)
        now += 0.05
    assert rules.DENIED_GRACE <= now - 1.0 <= rules.DENIED_GRACE + 2.0
    assert driver.pipeline.next_request(now) is None
