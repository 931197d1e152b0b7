"""Tests that the core gets valid entries, and never raises, for any response of the service."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kplpy.aws.kinesis.response import read_entries
from kplpy.core import policy as rules
from kplpy.core.exchange import Exchange
from kplpy.core.outcome import Delivered, Failed
from kplpy.core.results.retry_policy import MALFORMED, THROTTLED
from tests.core_helpers import RIGHT, Driver, item, policy
from tests.inside import parse_response

TAKEN = {"SequenceNumber": "49", "ShardId": "shardId-000000000000"}
REFUSED = {"ErrorCode": THROTTLED, "ErrorMessage": "slow down"}


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        (TAKEN, TAKEN),
        ({**TAKEN, "EncryptionType": "KMS"}, TAKEN),
        ({**TAKEN, "ErrorCode": None, "ErrorMessage": None}, TAKEN),
        ({**TAKEN, "ErrorCode": ""}, TAKEN),
        ({"SequenceNumber": "49"}, {"SequenceNumber": "49"}),
        ({"SequenceNumber": "49", "ShardId": None}, {"SequenceNumber": "49"}),
        ({"SequenceNumber": "49", "ShardId": 3}, {"SequenceNumber": "49"}),
        (REFUSED, REFUSED),
        ({**REFUSED, "SequenceNumber": None, "ShardId": None}, REFUSED),
        ({"ErrorCode": THROTTLED, "ErrorMessage": {"x": 1}}, {"ErrorCode": THROTTLED}),
    ],
)
def test_an_entry_with_a_result_is_kept(came: object, expected: dict[str, str]) -> None:
    assert read_entries([came]) == [expected]


@pytest.mark.parametrize(
    "came",
    [
        {},
        None,
        "x",
        [TAKEN],
        {"ShardId": "shardId-000000000000"},
        {"SequenceNumber": "", "ShardId": "shardId-000000000000"},
        {"SequenceNumber": 7, "ShardId": "shardId-000000000000"},
        {"SequenceNumber": {"a": 1}},
        {"ErrorCode": 500},
        {"ErrorCode": ["InternalFailure"]},
        {"ErrorCode": "\ud800"},
        {"ErrorCode": "<html>"},
        {**TAKEN, **REFUSED},
    ],
)
def test_an_entry_without_a_result_is_malformed_and_shown(came: object) -> None:
    (entry,) = read_entries([came]) or [{}]
    assert set(entry) == {"ErrorMessage"}
    assert entry["ErrorMessage"].startswith(
        "the record's entry must have either a SequenceNumber or an ErrorCode, got "
    )
    assert len(entry["ErrorMessage"]) < 1000


@pytest.mark.parametrize("records", [None, 1, "x", {"0": TAKEN}])
def test_records_that_are_no_list_are_no_entries(records: object) -> None:
    assert read_entries(records) is None


# --- generated responses ---

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
members: dict[str, st.SearchStrategy[Any]] = {
    "SequenceNumber": st.just("49") | values,
    "ShardId": st.sampled_from(["shardId-000000000000", RIGHT.shard_id, "shardId-000000009999"]) | values,
    "ErrorCode": st.sampled_from([THROTTLED, "InternalFailure"]) | values,
    "ErrorMessage": st.just("so") | values,
    "Other": values,
}
entries = values | st.fixed_dictionaries({}, optional=members) | st.just(TAKEN) | st.just(REFUSED)


def is_success(entry: Any) -> bool:
    """Return True if the entry has a sequence number, and no error."""
    if not isinstance(entry, dict) or entry.get("ErrorCode") not in (None, ""):
        return False
    number = entry.get("SequenceNumber")
    return isinstance(number, str) and number != ""


def is_failure(entry: Any) -> bool:
    """Return True if the entry has an error code, and no sequence number."""
    if not isinstance(entry, dict) or entry.get("SequenceNumber") not in (None, ""):
        return False
    code = entry.get("ErrorCode")
    return isinstance(code, str) and code.isascii() and code.isidentifier()


@given(st.lists(entries, min_size=1, max_size=6), st.booleans())
def test_the_core_takes_any_response_and_flags_records_without_a_result(came: list[Any], aggregate: bool) -> None:
    driver = Driver(policy(aggregate=aggregate, aggregation_max_count=1))
    # Each record travels alone: one entry a record.
    records = [item(b"%d" % n, hash_key=n) for n in range(len(came))]
    driver.accept(*records)
    request = driver.request(0.2)
    assert len(request.batches) == len(came)
    driver.pipeline.request_ended(request, Exchange(0.2, 0.3, 0.0, read_entries(came)), 0.3)
    done = {id(each): completion for completion in driver.pipeline.take_completions() for each in completion.items}
    for record, entry in zip(records, came, strict=True):
        if is_success(entry):
            assert isinstance(done[id(record)].outcome, Delivered)
            assert not record.maybe_written
        else:
            assert id(record) not in done
            assert record.maybe_written is not is_failure(entry)
            assert (record.tries[0].code == MALFORMED) is record.maybe_written


@given(st.binary() | values.map(lambda value: json.dumps(value).encode()), st.sampled_from([200, 201, 400, 500]))
def test_any_body_is_read_or_left_to_botocore(body: bytes, status: int) -> None:
    response: dict[str, Any] = {"status_code": status, "headers": {}, "body": body}
    parsed: dict[str, Any] = {}
    parse_response(response, parsed)
    assert response["body"] == (b"{}" if parsed else body)
    assert not parsed or status == 200
    read_entries(parsed.get("Records"))


# --- repeated malformed entries ---


def completions(driver: Driver) -> list[Failed]:
    return [each.outcome for each in driver.pipeline.take_completions() if isinstance(each.outcome, Failed)]


def test_a_record_whose_entries_stay_malformed_is_written_a_few_times_at_most() -> None:
    """The shard's other records are delivered."""
    driver = Driver(policy(aggregate=False))
    driver.accept(item(b"odd", hash_key=1))
    now, sent = 0.2, 0
    while not (failed := completions(driver)):
        now += 0.05
        driver.accept(item(b"good", hash_key=2, arrival=now))
        request = driver.pipeline.next_request(now)
        if request is not None:
            datas = [batch.items[0].data for batch in request.batches]
            sent += datas.count(b"odd")
            sent_entries = [{"ErrorMessage": "what is it?"} if data == b"odd" else TAKEN for data in datas]
            driver.pipeline.request_ended(request, Exchange(now, now, 0.0, sent_entries), now)
        assert now < 29, "it must not wait for its TTL"
    assert sent == rules.MALFORMED_ATTEMPTS
    assert [each.message for each in failed] == [f"{MALFORMED}: what is it?"]


def test_malformed_responses_alone_fail_the_stream_after_the_grace() -> None:
    driver = Driver(policy(aggregate=False))
    records = [item(b"%d" % n, hash_key=n) for n in range(50)]
    driver.accept(*records)
    now = 0.2
    sent: dict[bytes, int] = dict.fromkeys([record.data for record in records], 0)
    while driver.pipeline.outstanding:
        request = driver.pipeline.next_request(now)
        if request is not None:
            for batch in request.batches:
                sent[batch.items[0].data] += 1
            driver.pipeline.request_ended(request, Exchange(now, now, 0.0, [{} for _ in request.batches]), now)
        done = driver.pipeline.take_completions()
        assert all(isinstance(each.outcome, Failed) for each in done)
        driver.pipeline.settled([each for completion in done for each in completion.items])
        assert now < rules.DENIED_GRACE + 2
        now += 0.05
    assert max(sent.values()) <= rules.MALFORMED_ATTEMPTS
    assert all(record.maybe_written for record in records)
