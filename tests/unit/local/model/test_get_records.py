"""Reading from the modelled service: all types of iterators, the end of closed shards, the limits of reads."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy.local import Limits, Model, ServiceError

SHARD = "shardId-000000000000"


def model_of(shards: int = 1, records: int = 10, **arguments: Any) -> Model:
    """Return a model whose first shard has the records 0, 1, 2 …, put at 1.0, 2.0, 3.0 …"""
    model = Model(limits=arguments.pop("limits", Limits.no_rates()), **arguments)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": shards}, 0.0)
    for each in range(records):
        put(model, b"%d" % each, 1.0 + each)
    return model


def put(model: Model, data: bytes, now: float) -> str:
    params = {"StreamName": "s", "Data": data, "PartitionKey": "k", "ExplicitHashKey": "0"}
    return str(model.handle("PutRecord", params, now)["SequenceNumber"])


def iterator(model: Model, kind: str, now: float = 20.0, shard: str = SHARD, **more: Any) -> str:
    params = {"StreamName": "s", "ShardId": shard, "ShardIteratorType": kind, **more}
    return str(model.handle("GetShardIterator", params, now)["ShardIterator"])


def get(model: Model, token: str, now: float = 20.0, **more: Any) -> dict[str, Any]:
    return model.handle("GetRecords", {"ShardIterator": token, **more}, now)


def data(answer: dict[str, Any]) -> list[int]:
    return [int(each["Data"]) for each in answer["Records"]]


def test_all_types_of_iterators() -> None:
    model = model_of()
    numbers = [each.sequence_number for each in model.ledger("s")]

    def read(kind: str, **more: Any) -> list[int]:
        return data(get(model, iterator(model, kind, **more)))

    assert read("TRIM_HORIZON") == list(range(10))
    assert read("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[4]) == list(range(4, 10))
    assert read("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[4]) == list(range(5, 10))
    assert read("AT_TIMESTAMP", Timestamp=4.5) == list(range(4, 10))
    assert read("AT_TIMESTAMP", Timestamp=0.0) == list(range(10))
    assert read("AT_TIMESTAMP", Timestamp=15.0) == []
    assert read("LATEST") == []


@pytest.mark.parametrize(("kind", "more"), [("LATEST", {}), ("AT_TIMESTAMP", {"Timestamp": 15.0})])
def test_an_iterator_at_the_tip_reads_what_comes_after_it(kind: str, more: dict[str, Any]) -> None:
    model = model_of()
    token = iterator(model, kind, **more)
    put(model, b"99", 20.0)
    assert data(get(model, token)) == [99]


def test_pages_follow_each_other_and_report_how_far_behind_they_are() -> None:
    model = model_of()
    token, found, behind = iterator(model, "TRIM_HORIZON"), [], []
    for _ in range(4):
        answer = get(model, token, Limit=4)
        found += data(answer)
        behind.append(answer["MillisBehindLatest"])
        token = answer["NextShardIterator"]
    assert found == list(range(10))
    assert behind == [16_000, 12_000, 0, 0]


def test_a_record_is_read_with_all_its_members() -> None:
    model = model_of(records=1)
    (record,) = get(model, iterator(model, "TRIM_HORIZON"))["Records"]
    assert record == {
        "SequenceNumber": next(model.ledger("s")).sequence_number,
        "ApproximateArrivalTimestamp": 1.0,
        "Data": b"0",
        "PartitionKey": "k",
    }


def test_the_end_of_a_split_shard() -> None:
    model = model_of()
    token = iterator(model, "TRIM_HORIZON")
    assert "ChildShards" not in get(model, token)
    split = {"StreamName": "s", "ShardToSplit": SHARD, "NewStartingHashKey": str(1 << 127)}
    model.handle("SplitShard", split, 20.0)
    part = get(model, token, Limit=9)
    assert "NextShardIterator" in part
    assert "ChildShards" not in part
    end = get(model, part["NextShardIterator"])
    assert data(end) == [9]
    assert "NextShardIterator" not in end
    assert end["ChildShards"] == [
        {
            "ShardId": "shardId-000000000001",
            "ParentShards": [SHARD],
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str((1 << 127) - 1)},
        },
        {
            "ShardId": "shardId-000000000002",
            "ParentShards": [SHARD],
            "HashKeyRange": {"StartingHashKey": str(1 << 127), "EndingHashKey": str((1 << 128) - 1)},
        },
    ]
    assert "ChildShards" in get(model, iterator(model, "LATEST"))
    assert get(model, iterator(model, "TRIM_HORIZON", shard="shardId-000000000001"))["Records"] == []


def test_the_end_of_merged_shards() -> None:
    model = model_of(2)
    merge = {"StreamName": "s", "ShardToMerge": SHARD, "AdjacentShardToMerge": "shardId-000000000001"}
    model.handle("MergeShards", merge, 20.0)
    for shard in (SHARD, "shardId-000000000001"):
        (child,) = get(model, iterator(model, "TRIM_HORIZON", shard=shard))["ChildShards"]
        assert child["ParentShards"] == [SHARD, "shardId-000000000001"]


def test_a_response_holds_10_mib_or_one_record() -> None:
    model = model_of(records=0, limits=Limits.none())
    for _ in range(25):
        put(model, b"7" * (1 << 20), 1.0)
    answer = get(model, iterator(model, "TRIM_HORIZON"))
    assert len(answer["Records"]) == 9  # ten records with their keys would be a little above 10 MiB
    put(model, b"7" * (11 << 20), 2.0)
    token = iterator(model, "AT_TIMESTAMP", Timestamp=1.5)
    assert len(get(model, token)["Records"]) == 1


def test_five_reads_a_second() -> None:
    model = model_of(limits=Limits())
    token = iterator(model, "TRIM_HORIZON")
    for _ in range(5):
        get(model, token)
    with pytest.raises(ServiceError, match="Rate exceeded for shard shardId-000000000000") as caught:
        get(model, token)
    assert caught.value.code == "ProvisionedThroughputExceededException"
    get(model, token, 20.2)


def test_two_mib_of_reads_a_second() -> None:
    model = model_of(records=0, limits=Limits(shard_bytes_per_second=None))
    for each in range(12):
        put(model, b"7" * 1_000_000, 1.0 + each)
    answer = get(model, iterator(model, "TRIM_HORIZON"))
    assert len(answer["Records"]) == 10
    with pytest.raises(ServiceError):
        get(model, answer["NextShardIterator"], 23.0)
    assert len(get(model, answer["NextShardIterator"], 24.0)["Records"]) == 2


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"ShardIteratorType": "LATEST", "StartingSequenceNumber": "1"}, "InvalidArgumentException", "also a Starting"),
    ({"ShardIteratorType": "AT_SEQUENCE_NUMBER"}, "InvalidArgumentException", "no StartingSequenceNumber"),
    (
        {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "5"},
        "InvalidArgumentException",
        "is invalid",
    ),
    ({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "a"}, "ValidationException", "regular"),
    ({"ShardIteratorType": "AT_TIMESTAMP"}, "InvalidArgumentException", "Must specify timestampInMillis"),
    ({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 30.0}, "InvalidArgumentException", "cannot be greater"),
    ({"ShardIteratorType": "SOON"}, "ValidationException", "enum value set"),
    ({"ShardIteratorType": "LATEST", "ShardId": "shardId-000000000007"}, "ResourceNotFoundException", "does not exist"),
    ({"ShardIteratorType": "LATEST", "ShardId": "seven"}, "ResourceNotFoundException", "does not exist"),
    ({"ShardIteratorType": "LATEST", "StreamName": "t"}, "ResourceNotFoundException", "Stream t"),
]


@pytest.mark.parametrize(("params", "code", "text"), BAD)
def test_bad_iterators_are_refused(params: dict[str, Any], code: str, text: str) -> None:
    with pytest.raises(ServiceError, match=text) as caught:
        model_of().handle("GetShardIterator", {"StreamName": "s", "ShardId": SHARD, **params}, 20.0)
    assert caught.value.code == code


def test_a_number_of_another_shard_is_refused() -> None:
    model = model_of(2)
    number = next(model.ledger("s")).sequence_number
    with pytest.raises(ServiceError, match="is invalid"):
        iterator(model, "AT_SEQUENCE_NUMBER", shard="shardId-000000000001", StartingSequenceNumber=number)


def test_iterators_expire_after_five_minutes() -> None:
    model = model_of()
    token = iterator(model, "TRIM_HORIZON", 20.0)
    get(model, token, 320.0)
    with pytest.raises(ServiceError, match="Iterator expired") as caught:
        get(model, token, 320.1)
    assert caught.value.code == "ExpiredIteratorException"


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "AAAAAAAAaXRlcmF0b3I="])
def test_made_up_iterators_are_refused(token: str) -> None:
    with pytest.raises(ServiceError, match="Invalid ShardIterator") as caught:
        get(model_of(), token)
    assert caught.value.code == "InvalidArgumentException"


def test_an_iterator_does_not_outlive_its_stream() -> None:
    model = model_of()
    token = iterator(model, "TRIM_HORIZON")
    model.handle("DeleteStream", {"StreamName": "s"}, 20.0)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 30.0)
    with pytest.raises(ServiceError, match="does not exist"):
        get(model, token, 30.0)


def test_an_iterator_in_a_trimmed_part_continues_with_the_oldest_record() -> None:
    model = model_of(records=0, limits=Limits.none(), retention_bytes=50_000)
    token = ""
    for each in range(200):
        put(model, b"%d" % each + b" " * 997, 1.0 + each)
        token = token or iterator(model, "TRIM_HORIZON", 1.0)
    found = data(get(model, token, 201.0))
    assert found == list(range(found[0], 200))
    assert 40 <= len(found) <= 50
