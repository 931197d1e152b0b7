"""Streams and shards of the modelled service: created, listed, split, merged, deleted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kplpy.local import Limits, Model, Phases, ServiceError

WHOLE = 1 << 128


def model_of(shards: int = 2, **arguments: Any) -> Model:
    model = Model(**arguments)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": shards}, 0.0)
    return model


def call(model: Model, operation: str, now: float = 1.0, **params: Any) -> dict[str, Any]:
    return model.handle(operation, {"StreamName": "s", **params}, now)


def refused(model: Model, operation: str, params: dict[str, Any], now: float = 1.0) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        model.handle(operation, params, now)
    return caught.value


def listed(model: Model, now: float, **params: Any) -> list[int]:
    return [int(each["ShardId"][-12:]) for each in call(model, "ListShards", now, **params)["Shards"]]


def split(model: Model, shard: int, now: float) -> None:
    ranges = model.streams["s"].shards[shard]
    middle = (ranges.first + ranges.last + 1) // 2
    call(model, "SplitShard", now, ShardToSplit=ranges.id, NewStartingHashKey=str(middle))


def covered(shards: list[dict[str, Any]]) -> None:
    """Assert that the shards' ranges cover all hash keys exactly once."""
    ranges = sorted(
        (int(each["HashKeyRange"]["StartingHashKey"]), int(each["HashKeyRange"]["EndingHashKey"])) for each in shards
    )
    assert ranges[0][0] == 0
    assert ranges[-1][1] == WHOLE - 1
    assert all(left[1] + 1 == right[0] for left, right in pairwise(ranges))


UNIFORM: dict[str, Any] = {"ScalingType": "UNIFORM_SCALING"}


def splitting(shard: str, boundary: int) -> dict[str, Any]:
    return {"StreamName": "s", "ShardToSplit": shard, "NewStartingHashKey": str(boundary)}


def filtering(kind: str) -> dict[str, Any]:
    return {"StreamName": "s", "ShardFilter": {"Type": kind}}


BAD_REQUESTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("Nonsense", {}, "UnknownOperationException", "Nonsense"),
    ("CreateStream", {}, "ValidationException", "Value null at 'streamName'"),
    ("CreateStream", {"StreamName": "a b", "ShardCount": 1}, "ValidationException", r"pattern: \[a-zA-Z0-9_.-\]\+"),
    ("CreateStream", {"StreamName": "a" * 129, "ShardCount": 1}, "ValidationException", "less than or equal to 128"),
    ("CreateStream", {"StreamName": "a", "ShardCount": 0}, "ValidationException", "greater than or equal to 1"),
    ("CreateStream", {"StreamName": "a"}, "ValidationException", "ShardCount must be provided"),
    ("CreateStream", {"StreamName": "a", "ShardCount": "1"}, "SerializationException", "converted to an Integer"),
    ("CreateStream", {"StreamName": "s", "ShardCount": 1}, "ResourceInUseException", "already exists"),
    ("CreateStream", {"StreamName": "a", "ShardCount": 1, "MaxRecordSizeInKiB": 1}, "ValidationException", "1024"),
    ("DeleteStream", {"StreamName": "x"}, "ResourceNotFoundException", "Stream x under account 123456789012"),
    ("DescribeStream", {}, "InvalidArgumentException", "Either StreamName or StreamARN"),
    ("DescribeStream", {"StreamARN": "arn:x"}, "ValidationException", "regular expression"),
    ("ListShards", {}, "InvalidArgumentException", "Either NextToken or StreamName should be provided"),
    ("ListShards", {"StreamName": "s", "NextToken": "x"}, "InvalidArgumentException", "cannot be provided together"),
    ("ListShards", {"NextToken": "x"}, "InvalidArgumentException", "NextToken provided is invalid"),
    ("ListShards", {"StreamName": "s", "MaxResults": 10001}, "ValidationException", "10000"),
    ("ListShards", filtering("NEAR"), "ValidationException", "enum value set"),
    ("ListShards", {"StreamName": "s", "ShardFilter": {}}, "ValidationException", "'shardFilter.type'"),
    ("ListShards", filtering("AFTER_SHARD_ID"), "InvalidArgumentException", "ShardId"),
    ("ListShards", filtering("AT_TIMESTAMP"), "InvalidArgumentException", "Timestamp"),
    ("ListShards", {"StreamName": "s", "StreamCreationTimestamp": 9.0}, "ResourceNotFoundException", "created at"),
    ("SplitShard", splitting("shardId-9", 5), "ResourceNotFoundException", "Could not find"),
    ("SplitShard", splitting("shardId-0", 1), "InvalidArgumentException", "greater than one plus"),
    ("SplitShard", splitting("shardId-0", WHOLE), "InvalidArgumentException", "range"),
    (
        "MergeShards",
        {"StreamName": "s", "ShardToMerge": "0", "AdjacentShardToMerge": "0"},
        "InvalidArgumentException",
        "not an adjacent pair",
    ),
    ("UpdateShardCount", {"StreamName": "s", "TargetShardCount": 5, **UNIFORM}, "InvalidArgumentException", "double"),
    (
        "UpdateShardCount",
        {"StreamName": "s", "TargetShardCount": 2, "ScalingType": "ODD"},
        "ValidationException",
        "enum",
    ),
]


@pytest.mark.parametrize(("operation", "params", "code", "text"), BAD_REQUESTS)
def test_bad_requests_are_refused_as_the_service_does(
    operation: str, params: dict[str, Any], code: str, text: str
) -> None:
    with pytest.raises(ServiceError, match=text) as caught:
        model_of().handle(operation, params, 1.0)
    assert caught.value.code == code


def test_several_bad_members_are_reported_together() -> None:
    error = refused(model_of(), "CreateStream", {"StreamName": "a b", "ShardCount": 0})
    assert error.message.startswith("2 validation errors detected: Value 'a b' at 'streamName' failed to satisfy")


def test_a_stream_can_be_named_by_its_arn() -> None:
    model = model_of()
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/s"
    assert model.handle("DescribeStream", {"StreamARN": arn}, 1.0)["StreamDescription"]["StreamName"] == "s"


def test_the_summary() -> None:
    summary = call(model_of(3), "DescribeStreamSummary")["StreamDescriptionSummary"]
    assert summary == {
        "StreamName": "s",
        "StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/s",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "StreamCreationTimestamp": 0.0,
        "RetentionPeriodHours": 24,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
        "OpenShardCount": 3,
        "ConsumerCount": 0,
        "ChannelCount": 0,
        "QueueCount": 0,
        "MaxRecordSizeInKiB": 1024,
    }


def test_describe_stream_pages() -> None:
    model = model_of(5)
    first = call(model, "DescribeStream", Limit=3)["StreamDescription"]
    rest = call(model, "DescribeStream", ExclusiveStartShardId=first["Shards"][-1]["ShardId"])["StreamDescription"]
    assert (first["HasMoreShards"], rest["HasMoreShards"]) == (True, False)
    covered(first["Shards"] + rest["Shards"])


def test_list_streams_pages() -> None:
    model = Model()
    for each in range(5):
        model.handle("CreateStream", {"StreamName": f"s{each}", "ShardCount": 1}, 0.0)
    page = model.handle("ListStreams", {"Limit": 3}, 0.0)
    assert (page["StreamNames"], page["HasMoreStreams"]) == (["s0", "s1", "s2"], True)
    rest = model.handle("ListStreams", {"NextToken": page["NextToken"]}, 0.0)
    assert (rest["StreamNames"], rest["HasMoreStreams"]) == (["s3", "s4"], False)
    assert model.handle("ListStreams", {"ExclusiveStartStreamName": "s3"}, 0.0)["StreamNames"] == ["s4"]


def test_list_shards_pages_of_a_thousand_and_carries_its_filter() -> None:
    model = model_of(2500)
    pages = [call(model, "ListShards", ShardFilter={"Type": "AT_LATEST"})]
    while "NextToken" in pages[-1]:
        pages.append(model.handle("ListShards", {"NextToken": pages[-1]["NextToken"]}, 2.0))
    assert [len(each["Shards"]) for each in pages] == [1000, 1000, 500]
    covered([shard for page in pages for shard in page["Shards"]])
    split(model, 0, 3.0)
    small = call(model, "ListShards", 3.0, MaxResults=1, ShardFilter={"Type": "AT_LATEST"})
    assert small["Shards"][0]["ShardId"].endswith("1")  # 0 is closed
    following = model.handle("ListShards", {"NextToken": small["NextToken"], "MaxResults": 10_000}, 3.0)
    assert len(following["Shards"]) == 1000


def test_next_tokens_expire_and_belong_to_one_incarnation() -> None:
    model = model_of(5)
    token = call(model, "ListShards", 1.0, MaxResults=2)["NextToken"]
    assert refused(model, "ListShards", {"NextToken": token}, 302.0).code == "ExpiredNextTokenException"
    token = call(model, "ListShards", 302.0, MaxResults=2)["NextToken"]
    call(model, "DeleteStream", 303.0)
    create = {"StreamName": "s", "ShardCount": 5}
    # The name stays in use for ten seconds, as in the service.
    assert refused(model, "CreateStream", create, 312.9).code == "ResourceInUseException"
    call(model, "CreateStream", 313.0, ShardCount=5)
    assert refused(model, "ListShards", {"NextToken": token}, 314.0).code == "ResourceNotFoundException"


def test_list_shards_is_limited() -> None:
    model = model_of(limits=Limits(list_shards_per_second=2))
    for _ in range(2):
        call(model, "ListShards")
    assert refused(model, "ListShards", {"StreamName": "s"}).code == "LimitExceededException"
    model = model_of()
    for _ in range(20):
        call(model, "DescribeStreamSummary")
    assert refused(model, "DescribeStreamSummary", {"StreamName": "s"}).code == "LimitExceededException"


def test_filters_after_a_split_and_a_merge() -> None:
    model = model_of(2)  # 0 and 1
    split(model, 0, 100.0)  # 2 and 3
    call(model, "MergeShards", 200.0, ShardToMerge="shardId-000000000003", AdjacentShardToMerge="shardId-000000000001")

    def filtered(kind: str, now: float = 300.0, **more: Any) -> list[int]:
        return listed(model, now, ShardFilter={"Type": kind, **more})

    assert listed(model, 300.0) == [0, 1, 2, 3, 4]
    assert filtered("AT_LATEST") == [2, 4]
    assert filtered("AT_TRIM_HORIZON") == [0, 1]
    assert filtered("FROM_TRIM_HORIZON") == [0, 1, 2, 3, 4]
    assert filtered("AT_TIMESTAMP", Timestamp=150.0) == [1, 2, 3]
    assert filtered("AT_TIMESTAMP", Timestamp=100.0) == [1, 2, 3]
    assert filtered("FROM_TIMESTAMP", Timestamp=150.0) == [1, 2, 3, 4]
    assert filtered("AFTER_SHARD_ID", ShardId="shardId-000000000002") == [3, 4]
    assert listed(model, 300.0, ExclusiveStartShardId="shardId-000000000003") == [4]
    day = 86_400.0
    assert filtered("AT_TRIM_HORIZON", day + 150) == [1, 2, 3]  # a day later, the first split is before the horizon
    assert listed(model, day + 250) == [2, 4]  # and all parents are trimmed


def test_at_trim_horizon_covers_the_range_even_after_a_split_at_the_moment_of_creation() -> None:
    model = model_of(2)
    split(model, 0, 0.0)
    assert listed(model, 0.0, ShardFilter={"Type": "AT_TRIM_HORIZON"}) == [0, 1]


def test_parents_children_and_their_sequence_numbers() -> None:
    model = model_of(2)
    last = call(model, "PutRecord", 1.0, Data=b"x", PartitionKey="k", ExplicitHashKey="0")["SequenceNumber"]
    split(model, 0, 1.0)
    call(model, "MergeShards", 1.0, ShardToMerge="shardId-000000000002", AdjacentShardToMerge="shardId-000000000003")
    shards = call(model, "ListShards", 1.0)["Shards"]
    assert [each.get("ParentShardId") for each in shards[2:]] == [*["shardId-000000000000"] * 2, "shardId-000000000002"]
    assert shards[4]["AdjacentParentShardId"] == "shardId-000000000003"
    numbers = [each["SequenceNumberRange"] for each in shards]
    assert int(numbers[0]["StartingSequenceNumber"]) < int(last) < int(numbers[0]["EndingSequenceNumber"])
    assert int(numbers[0]["EndingSequenceNumber"]) < int(numbers[2]["StartingSequenceNumber"])
    assert int(numbers[2]["EndingSequenceNumber"]) < int(numbers[4]["StartingSequenceNumber"])
    assert "EndingSequenceNumber" not in numbers[4]


def test_closed_shards_take_nothing_more() -> None:
    model = model_of(1)
    split(model, 0, 1.0)
    answer = call(model, "PutRecord", 1.0, Data=b"x", PartitionKey="k", ExplicitHashKey="0")
    assert answer["ShardId"] == "shardId-000000000001"
    error = refused(model, "SplitShard", splitting("shardId-0", 99))
    assert "is not open" in error.message


def test_a_stream_goes_through_its_phases() -> None:
    model = model_of(2, phases=Phases(creating=10, updating=10, deleting=10))

    def status(now: float) -> str:
        return str(call(model, "DescribeStream", now)["StreamDescription"]["StreamStatus"])

    assert status(1.0) == "CREATING"
    assert refused(model, "ListShards", {"StreamName": "s"}).code == "ResourceInUseException"
    assert status(10.0) == "ACTIVE"
    split(model, 0, 10.0)
    assert status(19.9) == "UPDATING"
    assert refused(model, "SplitShard", splitting("shardId-1", 99), 19.9).code == "ResourceInUseException"
    before = call(model, "PutRecord", 19.9, Data=b"x", PartitionKey="k", ExplicitHashKey="0")
    assert before["ShardId"].endswith("0")  # the parent takes records until the end of the phase
    assert status(20.0) == "ACTIVE"
    assert listed(model, 20.0) == [0, 1, 2, 3]
    call(model, "DeleteStream", 21.0)
    assert status(22.0) == "DELETING"
    assert refused(model, "CreateStream", {"StreamName": "s", "ShardCount": 1}, 30.9).code == "ResourceInUseException"
    assert refused(model, "DescribeStream", {"StreamName": "s"}, 31.0).code == "ResourceNotFoundException"


def test_update_shard_count_up_and_down() -> None:
    model = model_of(4)
    assert call(model, "UpdateShardCount", TargetShardCount=8, **UNIFORM)["CurrentShardCount"] == 4
    assert call(model, "DescribeStreamSummary")["StreamDescriptionSummary"]["OpenShardCount"] == 8
    call(model, "UpdateShardCount", TargetShardCount=4, **UNIFORM)
    call(model, "UpdateShardCount", TargetShardCount=5, **UNIFORM)
    latest = call(model, "ListShards", ShardFilter={"Type": "AT_LATEST"})["Shards"]
    covered(latest)
    assert len(latest) == 5
    widths = {
        int(each["HashKeyRange"]["EndingHashKey"]) - int(each["HashKeyRange"]["StartingHashKey"]) for each in latest
    }
    assert max(widths) - min(widths) < 5


def test_update_shard_count_takes_place_step_by_step() -> None:
    model = model_of(4, phases=Phases(updating=8))
    open_shards = []
    for second in range(10):
        if second == 1:
            call(model, "UpdateShardCount", 1.0, TargetShardCount=8, ScalingType="UNIFORM_SCALING")
        open_shards.append(len(listed(model, float(second), ShardFilter={"Type": "AT_LATEST"})))
    assert open_shards == [4, 4, 4, 5, 5, 6, 6, 7, 7, 8]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(1, 99)), max_size=25))
def test_the_open_shards_cover_the_range_after_any_reshards(steps: list[tuple[bool, int, int]]) -> None:
    model = model_of(3, limits=Limits.none())
    for now, (splits, which, percent) in enumerate(steps):
        opened = model.streams["s"].open
        shard = opened[which % len(opened)]
        if splits:
            boundary = shard.first + 2 + (shard.last - shard.first - 3) * percent // 100
            call(model, "SplitShard", now, ShardToSplit=shard.id, NewStartingHashKey=str(boundary))
        elif shard is not opened[-1]:
            beside = opened[opened.index(shard) + 1]
            call(model, "MergeShards", now, ShardToMerge=shard.id, AdjacentShardToMerge=beside.id)
        covered(call(model, "ListShards", now, ShardFilter={"Type": "AT_LATEST"})["Shards"])
        covered(call(model, "ListShards", now, ShardFilter={"Type": "AT_TRIM_HORIZON"})["Shards"])
        covered(call(model, "ListShards", now, ShardFilter={"Type": "AT_TIMESTAMP", "Timestamp": now / 2})["Shards"])


def test_a_recreated_stream_is_empty_and_the_ledger_can_keep_the_old_one() -> None:
    model = model_of(1, keep_deleted=True, phases=Phases(deleting=10))
    call(model, "PutRecord", 1.0, Data=b"old", PartitionKey="k")
    call(model, "DeleteStream", 2.0)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 3}, 12.0)
    call(model, "PutRecord", 13.0, Data=b"new", PartitionKey="k")
    assert listed(model, 13.0) == [0, 1, 2]
    assert [(each.data, each.incarnation) for each in model.ledger("s")] == [(b"old", 1), (b"new", 2)]


def test_on_demand_streams() -> None:
    model = Model()
    on_demand = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
    model.handle("CreateStream", {"StreamName": "s", **on_demand}, 0.0)
    assert len(listed(model, 0.0)) == 4
    error = refused(model, "UpdateShardCount", {"StreamName": "s", "TargetShardCount": 8, **UNIFORM})
    assert error.code == "ValidationException"
    params = {"StreamARN": model.streams["s"].arn, "StreamModeDetails": {"StreamMode": "PROVISIONED"}}
    model.handle("UpdateStreamMode", params, 1.0)
    assert call(model, "DescribeStream")["StreamDescription"]["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert (
        refused(model, "CreateStream", {"StreamName": "t", "ShardCount": 1, **on_demand}).code == "ValidationException"
    )
