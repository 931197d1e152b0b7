"""PutRecord and PutRecords of the modelled service: refusals, accepted records, the ledger, faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kplpy.local import Fault, Faults, Limits, Model, Phases, ServiceError
from kplpy.wire.encode import encode_aggregate
from tests.core_helpers import item

KIB = 1024


def model_of(shards: int = 2, **arguments: Any) -> Model:
    model = Model(**arguments)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": shards}, 0.0)
    return model


def entries(count: int, data: bytes = b"x", key: str = "k") -> list[dict[str, Any]]:
    return [{"Data": data, "PartitionKey": key} for _ in range(count)]


def put(model: Model, records: list[dict[str, Any]], now: float = 1.0, **more: Any) -> dict[str, Any]:
    return model.handle("PutRecords", {"StreamName": "s", "Records": records, **more}, now)


def refused(model: Model, operation: str, params: dict[str, Any], now: float = 1.0) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        model.handle(operation, params, now)
    return caught.value


def test_records_are_answered_in_order_and_kept() -> None:
    model = model_of()
    answer = put(model, [{"Data": b"%d" % each, "PartitionKey": f"k{each}"} for each in range(20)])
    assert answer["FailedRecordCount"] == 0
    ledger = list(model.ledger("s"))
    assert [each.data for each in ledger] == [b"%d" % each for each in range(20)]
    assert [(each.shard_id, each.sequence_number) for each in ledger] == [
        (each["ShardId"], each["SequenceNumber"]) for each in answer["Records"]
    ]
    assert {each.time for each in ledger} == {1.0}
    assert {each.shard_id for each in ledger} == {"shardId-000000000000", "shardId-000000000001"}


def test_an_explicit_hash_key_decides_the_shard() -> None:
    model = model_of(2)
    half = str(1 << 127)
    records = [
        {"Data": b"a", "PartitionKey": "k", "ExplicitHashKey": "0"},
        {"Data": b"b", "PartitionKey": "k", "ExplicitHashKey": half},
        {"Data": b"c", "PartitionKey": "k", "ExplicitHashKey": str((1 << 128) - 1)},
    ]
    assert [each["ShardId"][-1] for each in put(model, records)["Records"]] == ["0", "1", "1"]
    first = next(model.ledger("s"))
    assert (first.explicit_hash_key, first.shard_range) == ("0", (0, (1 << 127) - 1))


def test_the_ledger_marks_aggregates_that_the_kcl_would_drop() -> None:
    model = model_of(2)
    for other in ("k2", "k"):  # k2 belongs to the first shard
        data = encode_aggregate([item(b"x", key) for key in ("k", other)])
        put(model, [{"Data": data, "PartitionKey": "k"}])
    put(model, [{"Data": b"plain", "PartitionKey": "k"}])
    assert [each.dropped for each in model.ledger("s")] == [True, False, False]


def test_sequence_numbers_rise_within_a_shard_and_look_like_the_services() -> None:
    model = model_of(1)
    numbers = [put(model, entries(1), 1.0 + each / 7)["Records"][0]["SequenceNumber"] for each in range(50)]
    assert numbers == sorted(numbers, key=int)
    assert len(set(numbers)) == 50
    assert {len(each) for each in numbers} == {56}


BAD_RECORDS: list[tuple[Any, str, str]] = [
    ({"PartitionKey": "k"}, "ValidationException", "'records.1.member.data' failed .*: Member must not be null"),
    ({"Data": b"x"}, "ValidationException", "'records.1.member.partitionKey' failed .*: Member must not be null"),
    ({"Data": b"x", "PartitionKey": ""}, "ValidationException", "length greater than or equal to 1"),
    ({"Data": b"x", "PartitionKey": "k" * 257}, "ValidationException", "length less than or equal to 256"),
    ({"Data": b"x", "PartitionKey": 7}, "SerializationException", "can not be converted to an String"),
    ({"Data": "x", "PartitionKey": "k"}, "SerializationException", "can not be converted to an Blob"),
    ("x", "SerializationException", "Expected a structure"),
    ({"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": "01"}, "ValidationException", "regular expression"),
    ({"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": "-1"}, "ValidationException", "regular expression"),
    ({"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": str(1 << 128)}, "InvalidArgumentException", r"2\^128-1"),
    ({"Data": b"x" * KIB * KIB, "PartitionKey": "k"}, "InvalidArgumentException", "larger than the maximum record"),
]


@pytest.mark.parametrize(("record", "code", "text"), BAD_RECORDS)
def test_one_bad_record_fails_the_request_and_nothing_is_accepted(record: Any, code: str, text: str) -> None:
    model = model_of()
    with pytest.raises(ServiceError, match=text) as caught:
        put(model, [record, *entries(3)])
    assert caught.value.code == code
    assert not list(model.ledger("s"))


def test_a_record_may_be_as_large_as_the_stream_allows_key_included() -> None:
    model = model_of()
    put(model, entries(1, b"x" * (KIB * KIB - 1)), 1.0)
    put(model, entries(1, b"x" * (KIB * KIB - 2), "é"), 10.0)
    with pytest.raises(ServiceError, match="1048577 bytes"):
        put(model, entries(1, b"x" * (KIB * KIB - 1), "é"), 20.0)
    model.handle("UpdateMaxRecordSize", {"StreamARN": model.streams["s"].arn, "MaxRecordSizeInKiB": 10240}, 20.0)
    assert put(model, entries(1, b"x" * (10 * KIB * KIB - 1)), 30.0)["FailedRecordCount"] == 0


def test_a_request_takes_500_records_and_10_mib_keys_counted() -> None:
    model = model_of(limits=Limits.no_rates())
    assert put(model, entries(500))["FailedRecordCount"] == 0
    assert (
        "less than or equal to 500"
        in refused(model, "PutRecords", {"StreamName": "s", "Records": entries(501)}).message
    )
    assert "greater than or equal to 1" in refused(model, "PutRecords", {"StreamName": "s", "Records": []}).message
    full = entries(10, b"x" * (KIB * KIB - 1))
    assert put(model, full)["FailedRecordCount"] == 0
    error = refused(model, "PutRecords", {"StreamName": "s", "Records": [*full, *entries(1, b"")]})
    assert (error.code, error.message) == ("InvalidArgumentException", "Records size exceeds 10 MB limit")


def test_entries_over_a_shards_rate_fail_alone() -> None:
    model = model_of(1)
    assert put(model, entries(500))["FailedRecordCount"] == 0
    assert put(model, entries(400))["FailedRecordCount"] == 0
    answer = put(model, entries(300))
    assert answer["FailedRecordCount"] == 200
    assert answer["Records"][-1] == {
        "ErrorCode": "ProvisionedThroughputExceededException",
        "ErrorMessage": "Rate exceeded for shard shardId-000000000000 in stream s under account 123456789012.",
    }
    assert len(list(model.ledger("s"))) == 1000
    error = refused(model, "PutRecord", {"StreamName": "s", **entries(1)[0]})
    assert (error.code, error.status) == ("ProvisionedThroughputExceededException", 400)


def test_windows_are_the_same_for_the_same_seed() -> None:
    def history() -> list[int]:
        model = model_of(1, limits=Limits(rate_form="window"))
        return [put(model, entries(500), each / 10)["FailedRecordCount"] for each in range(40)]

    assert history() == history()
    assert sum(500 - each for each in history()) <= 5000


def test_put_record() -> None:
    model = model_of()
    answer = model.handle("PutRecord", {"StreamName": "s", "Data": b"x", "PartitionKey": "k"}, 1.0)
    assert set(answer) == {"ShardId", "SequenceNumber"}
    error = refused(model, "PutRecord", {"StreamName": "s", "Data": b"x"})
    assert "Value null at 'partitionKey'" in error.message


def test_dry_run_is_refused_after_everything_else_was_fine() -> None:
    model = model_of()
    error = refused(model, "PutRecords", {"StreamName": "s", "Records": entries(1), "DryRun": True})
    assert error.code == "DryRunOperationException"
    error = refused(model, "PutRecords", {"StreamName": "none", "Records": entries(1), "DryRun": True})
    assert error.code == "ResourceNotFoundException"
    assert not list(model.ledger())


def test_auto_streams_ignore_keys_and_need_none() -> None:
    model = Model()
    model.handle("CreateStream", {"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}, 0.0)
    with pytest.raises(ServiceError, match="partitionKey"):
        put(model, [{"Data": b"x"}])
    arn = model.streams["s"].arn
    strategy = "UpdateStreamRecordDistributionStrategy"
    model.handle(strategy, {"StreamARN": arn, "RecordDistributionStrategy": "AUTO"}, 1.0)
    answer = put(model, [{"Data": b"x"}, *entries(7)])
    assert sorted(each["ShardId"][-1] for each in answer["Records"]) == [*"00112233"]
    assert next(model.ledger("s")).partition_key is None
    summary = model.handle("DescribeStreamSummary", {"StreamName": "s"}, 1.0)["StreamDescriptionSummary"]
    assert summary["RecordDistributionStrategy"] == "AUTO"
    model.handle(strategy, {"StreamARN": arn, "RecordDistributionStrategy": "USER_PARTITION_KEY"}, 2.0)
    assert len({each["ShardId"] for each in put(model, entries(8), 2.0)["Records"]}) == 1


def test_auto_is_for_on_demand_streams_only() -> None:
    model = model_of()
    params = {"StreamARN": model.streams["s"].arn, "RecordDistributionStrategy": "AUTO"}
    assert refused(model, "UpdateStreamRecordDistributionStrategy", params).code == "InvalidArgumentException"


def test_without_store_only_counts_are_kept() -> None:
    model = model_of(1, store=False)
    put(model, entries(5))
    assert not list(model.ledger("s"))
    assert model.streams["s"].shards[0].accepted_records == 5
    assert model.streams["s"].shards[0].accepted_bytes == 10


def test_the_oldest_records_go_when_there_are_too_many_bytes() -> None:
    model = model_of(1, limits=Limits.none(), retention_bytes=100_000)
    for each in range(300):
        put(model, entries(1, b"%04d" % each + b"x" * 995), 1.0 + each)
    held = [int(each.data[:4]) for each in model.ledger("s")]
    assert held == list(range(held[0], 300))
    assert 85_000 <= model.streams["s"].held_bytes <= 100_000


def test_records_are_trimmed_after_a_day() -> None:
    model = model_of(1)
    put(model, entries(1, b"old"), 10.0)
    put(model, entries(1, b"new"), 80_000.0)
    model.handle("DescribeStream", {"StreamName": "s"}, 10.0 + 86_400 + 61)
    assert [each.data for each in model.ledger("s")] == [b"new"]


# --- faults ---


def test_only_the_ordered_number_of_requests_fails() -> None:
    model = model_of()
    model.faults.fail("KMSThrottlingException", "slow", times=2)
    for _ in range(2):
        assert refused(model, "PutRecords", {"StreamName": "s", "Records": entries(1)}).code == "KMSThrottlingException"
    assert put(model, entries(1))["FailedRecordCount"] == 0
    assert len(list(model.ledger("s"))) == 1


def test_entries_fail_by_position_or_by_shard() -> None:
    model = model_of(2)
    model.faults.fail_entries("InternalFailure", entries=frozenset({1, 3}))
    answer = put(model, entries(5))
    assert [each.get("ErrorCode") for each in answer["Records"]] == [
        None,
        "InternalFailure",
        None,
        "InternalFailure",
        None,
    ]
    assert answer["Records"][1]["ErrorMessage"] == "Internal service failure."
    model.faults.fail_entries(shard="shardId-000000000001")
    ends = [{"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": each} for each in ("0", str((1 << 128) - 1))]
    assert ["ErrorCode" in each for each in put(model, ends)["Records"]] == [False, True]


def test_a_plan_sees_every_request() -> None:
    model = model_of()
    model.faults.plan = lambda operation, params, now: Fault(code="InternalFailure", status=503) if now == 2.0 else None
    put(model, entries(1), 1.0)
    assert refused(model, "PutRecords", {"StreamName": "s", "Records": entries(1)}, 2.0).status == 503


@pytest.mark.parametrize(("transport", "accepted"), [("cut_before", 0), ("refused", 0), ("cut_after", 3), ("never", 3)])
def test_an_exchange_has_the_fault_of_its_connection(transport: Any, accepted: int) -> None:
    model = model_of()
    model.faults.add(Fault(transport=transport, delay=0.5))
    exchange = model.exchange("PutRecords", {"StreamName": "s", "Records": entries(3)}, 1.0)
    assert (exchange.transport, exchange.delay, exchange.error) == (transport, 0.5, None)
    assert len(list(model.ledger("s"))) == accepted


def test_a_response_of_the_wrong_length_has_one_entry_too_few() -> None:
    model = model_of()
    model.faults.add(Fault(transport="wrong_length"))
    exchange = model.exchange("PutRecords", {"StreamName": "s", "Records": entries(3)}, 1.0)
    assert exchange.answer is not None
    assert len(exchange.answer["Records"]) == 2


def test_a_given_response_replaces_the_real_one() -> None:
    model = model_of(1)
    stale = model.handle("ListShards", {"StreamName": "s"}, 1.0)
    split = {"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": str(1 << 127)}
    model.handle("SplitShard", split, 2.0)
    model.faults.add(Fault(answer=stale), operation="ListShards")
    assert model.handle("ListShards", {"StreamName": "s"}, 3.0) == stale
    assert len(model.handle("ListShards", {"StreamName": "s"}, 3.0)["Shards"]) == 3


def test_faults_can_be_limited_to_a_stream_and_cleared() -> None:
    model = model_of()
    model.faults.fail("InternalFailure", stream="other")
    put(model, entries(1))
    model.faults.fail("InternalFailure")
    model.faults.clear()
    put(model, entries(1))


def misspelt(transport: Any) -> Fault:
    return Fault(transport=transport)


def test_an_outage_lasts_until_it_is_cleared() -> None:
    """It can be of all operations and streams or of one, with refused connections or with a given fault."""
    model = model_of()
    listing, putting = {"StreamName": "s"}, {"StreamName": "s", "Records": entries(1)}
    model.faults.outage()
    for _ in range(1000):
        assert model.exchange("ListShards", listing, 1.0).transport == "refused"
        assert model.exchange("PutRecords", putting, 1.0).transport == "refused"
    model.faults.clear()
    assert model.exchange("PutRecords", putting, 1.0).error is None
    model.faults.outage(Fault(code="ServiceUnavailable", status=503), operation="PutRecords", stream="s")
    for _ in range(1000):
        assert refused(model, "PutRecords", putting).code == "ServiceUnavailable"
    assert model.exchange("ListShards", listing, 1.0).error is None
    model.faults.clear()
    assert model.exchange("PutRecords", putting, 1.0).error is None


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (lambda faults: faults.fail("InternalFailur"), "got 'InternalFailur'; did you mean InternalFailure"),
        (
            lambda faults: faults.fail("Boom"),
            "code must be an error code of Kinesis or Firehose; .*any_code=True .* 'Boom'$",
        ),
        (lambda faults: faults.fail(""), "code must be an error code of Kinesis or Firehose; .* got ''$"),
        (lambda faults: faults.fail(503), "code must be an error code of Kinesis or Firehose; .* got 503$"),
        (
            lambda faults: faults.fail_entries("ProvisionedThroughputExceeded"),
            "^entry_code .*'; did you mean ProvisionedThroughputExceededException",
        ),
        (lambda faults: faults.fail("InternalFailure", status="500"), "status must be an HTTP status, .* got '500'"),
        (lambda faults: faults.fail("InternalFailure", times=0), "times must be a whole number, 1 or more; got 0"),
        (lambda faults: faults.delay("2"), "delay must be 0 or more seconds, got '2'"),
        (lambda faults: faults.delay(float("nan")), "delay must be 0 or more seconds, got nan"),
        (lambda faults: faults.add(misspelt("refuse")), "must be one of .*'refuse'; did you mean refused?"),
        (lambda faults: faults.add("refused"), "fault must be a kplpy.local.Fault, got 'refused'"),
        (lambda faults: faults.outage("refused"), "fault must be a kplpy.local.Fault, got 'refused'"),
        (lambda faults: faults.cut(accepted=True, operation="PutRecord s"), "'PutRecord s'; did you mean PutRecords?"),
        (lambda faults: faults.outage(operation="ListShard"), "got 'ListShard'; did you mean ListShards"),
        (lambda faults: faults.outage(stream="arn:aws:kinesis:::stream/s"), "stream must be a stream's name, or None"),
        (lambda faults: faults.by_seed(1, [("refused", 0.5)]), "pairs of a kplpy.local.Fault and .*; got 'refused'"),
    ],
)
def test_a_bad_order_raises_at_the_call_and_has_no_effect(order: Callable[[Faults], object], says: str) -> None:
    model = model_of()
    with pytest.raises((ValueError, TypeError), match=says):
        order(model.faults)
    assert put(model, entries(1))["FailedRecordCount"] == 0


def test_a_code_that_kinesis_does_not_have_can_be_allowed() -> None:
    model = model_of()
    model.faults.add(Fault(code="TeapotException", status=418, any_code=True))
    assert refused(model, "PutRecords", {"StreamName": "s", "Records": entries(1)}).code == "TeapotException"


@pytest.mark.parametrize(
    "plan",
    [Fault(transport="refused"), "refused", [], lambda: None, lambda operation, params: None],
    ids=["a fault", "a text", "a list", "no argument", "two arguments"],
)
def test_a_plan_that_cannot_be_called_is_refused(plan: Any) -> None:
    model = model_of()
    with pytest.raises(TypeError, match=r"plan must be a function of \(operation, params, now\), or None; got"):
        model.faults.plan = plan
    with pytest.raises(TypeError, match="plan must be a function"):
        Faults(plan)
    assert model.faults.plan is None


def test_what_a_plan_returns_must_be_a_fault() -> None:
    model = model_of()
    plan: Any = lambda *_: "refused"  # noqa: E731
    model.faults.plan = plan
    with pytest.raises(
        TypeError, match=r"must return a kplpy.local.Fault or None; for PutRecords it returned 'refused'"
    ):
        put(model, entries(1))


@pytest.mark.parametrize(
    "fault",
    [{"code": "InternalFailure", "status": 500}, {"transport": "never"}, {"transport": "empty"}, {"delay": 3.0}],
    ids=str,
)
@pytest.mark.parametrize("by_seed", [False, True])
def test_any_fault_can_be_limited_to_a_shard(fault: dict[str, Any], by_seed: bool) -> None:
    model = model_of(2)
    one = Fault(shard="shardId-000000000001", **fault)
    if by_seed:
        model.faults.by_seed(1, [(one, 1.0)])
    else:
        model.faults.add(one)
    first = {"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": "0"}
    second = {**first, "ExplicitHashKey": str(1 << 127)}
    for _ in range(3):
        whole = model.exchange("PutRecords", {"StreamName": "s", "Records": [first]}, 1.0)
        assert (whole.error, whole.transport, whole.delay) == (None, None, 0.0)
    hit = model.exchange("PutRecords", {"StreamName": "s", "Records": [first, second]}, 1.0)
    assert (hit.error and hit.error.code, hit.transport, hit.delay) == (
        fault.get("code"),
        fault.get("transport"),
        fault.get("delay", 0.0),
    )


def test_faults_by_seed() -> None:
    def errors(seed: int, stream: str = "s") -> list[str | None]:
        model = model_of()
        some = [(Fault(code="InternalFailure", status=500), 0.3), (Fault(code="AccessDeniedException"), 0.2)]
        model.faults.by_seed(seed, some, stream=stream)
        request = {"StreamName": "s", "Records": entries(1)}
        found = [model.exchange("PutRecords", request, 1.0).error for _ in range(200)]
        return [each.code if each else None for each in found]

    assert errors(1) == errors(1) != errors(2)
    assert 30 < errors(1).count("InternalFailure") < 90
    assert 15 < errors(1).count("AccessDeniedException") < 65
    assert set(errors(1, stream="other")) == {None}
    with pytest.raises(ValueError, match=r"at most 1 together; got \[0.7, 0.6\]"):
        model_of().faults.by_seed(1, [(Fault(delay=1), 0.7), (Fault(delay=2), 0.6)])


def test_a_stream_that_is_being_created_or_deleted_accepts_nothing() -> None:
    model = model_of(phases=Phases(creating=5, deleting=10))
    params = {"StreamName": "s", "Records": entries(1)}
    assert refused(model, "PutRecords", params, 4.9).code == "ResourceNotFoundException"
    assert put(model, entries(1), 5.0)["FailedRecordCount"] == 0
    model.handle("DeleteStream", {"StreamName": "s"}, 6.0)
    assert refused(model, "PutRecords", params, 7.0).code == "ResourceNotFoundException"
