"""Registered consumers and subscriptions, at given times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kplpy.local import Limits, Model, ServiceError

NOW = 1_700_000_000.0
SHARD = "shardId-000000000000"
STREAM_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/s"


@pytest.fixture
def model() -> Model:
    made = Model(limits=Limits(shard_records_per_second=None, shard_bytes_per_second=None))
    made.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, NOW)
    made.handle("RegisterStreamConsumer", {"StreamARN": STREAM_ARN, "ConsumerName": "app"}, NOW)
    return made


def arn_of(model: Model, name: str = "app") -> str:
    described = model.handle("DescribeStreamConsumer", {"StreamARN": STREAM_ARN, "ConsumerName": name}, NOW)
    arn: str = described["ConsumerDescription"]["ConsumerARN"]
    return arn


def subscribe(model: Model, now: float, **position: Any) -> Any:
    start = position or {"Type": "TRIM_HORIZON"}
    params = {"ConsumerARN": arn_of(model), "ShardId": SHARD, "StartingPosition": start}
    return model.handle("SubscribeToShard", params, now)["EventStream"]


def put(model: Model, now: float, data: bytes = b"x") -> str:
    params = {"StreamName": "s", "Data": data, "PartitionKey": "k"}
    number: str = model.handle("PutRecord", params, now)["SequenceNumber"]
    return number


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ServiceError) as raised:
        call()
    return raised.value.code


def data_in(events: list[dict[str, Any]]) -> list[bytes]:
    return [each["Data"] for event in events for each in event["Records"]]


def test_consumers_are_registered_listed_and_deregistered(model: Model) -> None:
    arn = f"{STREAM_ARN}/consumer/app:{int(NOW)}"
    assert arn_of(model) == arn
    again = {"StreamARN": STREAM_ARN, "ConsumerName": "app"}
    assert code_of(lambda: model.handle("RegisterStreamConsumer", again, NOW)) == "ResourceInUseException"
    for number in range(19):
        model.handle("RegisterStreamConsumer", {"StreamARN": STREAM_ARN, "ConsumerName": f"n{number:02}"}, NOW)
    one_more = {"StreamARN": STREAM_ARN, "ConsumerName": "more"}
    assert code_of(lambda: model.handle("RegisterStreamConsumer", one_more, NOW)) == "LimitExceededException"
    page = model.handle("ListStreamConsumers", {"StreamARN": STREAM_ARN, "MaxResults": 15}, NOW)
    following = {"StreamARN": STREAM_ARN, "NextToken": page["NextToken"]}
    rest = model.handle("ListStreamConsumers", following, NOW)
    names = [each["ConsumerName"] for each in page["Consumers"] + rest["Consumers"]]
    assert names == ["app", *(f"n{number:02}" for number in range(19))]
    assert code_of(lambda: model.handle("ListStreamConsumers", following, NOW + 301)) == "ExpiredNextTokenException"
    summary = model.handle("DescribeStreamSummary", {"StreamName": "s"}, NOW)["StreamDescriptionSummary"]
    assert summary["ConsumerCount"] == 20
    model.handle("DeregisterStreamConsumer", {"ConsumerARN": arn}, NOW)
    gone = {"StreamARN": STREAM_ARN, "ConsumerName": "app"}
    assert code_of(lambda: model.handle("DescribeStreamConsumer", gone, NOW)) == "ResourceNotFoundException"
    assert code_of(lambda: model.handle("DescribeStreamConsumer", {}, NOW)) == "InvalidArgumentException"


def test_records_come_once_with_a_number_to_go_on_from(model: Model) -> None:
    first = put(model, NOW)
    subscription = subscribe(model, NOW)
    (event,) = subscription.events(NOW)
    assert [each["SequenceNumber"] for each in event["Records"]] == [first]
    assert (event["MillisBehindLatest"], event["ChildShards"]) == (0, [])
    assert subscription.events(NOW + 1) == []
    put(model, NOW + 2, b"y")
    assert data_in(subscription.events(NOW + 2)) == [b"y"]
    after = subscribe(model, NOW + 6, Type="AFTER_SEQUENCE_NUMBER", SequenceNumber=event["ContinuationSequenceNumber"])
    assert data_in(after.events(NOW + 6)) == [b"y"]


def test_an_empty_event_comes_at_once_and_every_five_seconds(model: Model) -> None:
    put(model, NOW)
    subscription = subscribe(model, NOW + 1, Type="LATEST")
    (event,) = subscription.events(NOW + 1)
    assert event["Records"] == []
    assert subscription.events(NOW + 5.9) == []
    assert len(subscription.events(NOW + 6)) == 1
    put(model, NOW + 7, b"later")
    # The number of an empty event is after what was there, and before what came.
    after = subscribe(model, NOW + 8, Type="AFTER_SEQUENCE_NUMBER", SequenceNumber=event["ContinuationSequenceNumber"])
    assert data_in(after.events(NOW + 8)) == [b"later"]


def test_it_ends_after_five_minutes(model: Model) -> None:
    subscription = subscribe(model, NOW)
    subscription.events(NOW)
    assert len(subscription.events(NOW + 299)) == 1
    put(model, NOW + 299)
    assert subscription.events(NOW + 300) == []
    assert subscription.ended


def test_one_subscription_for_each_consumer_and_shard(model: Model) -> None:
    first = subscribe(model, NOW)
    first.events(NOW)
    assert code_of(lambda: subscribe(model, NOW + 0.5)) == "LimitExceededException"
    assert code_of(lambda: subscribe(model, NOW + 4.9)) == "ResourceInUseException"
    assert not first.ended
    second = subscribe(model, NOW + 6)
    assert code_of(lambda: first.events(NOW + 6)) == "ResourceInUseException"
    assert first.ended
    assert len(second.events(NOW + 6)) == 1
    model.handle("RegisterStreamConsumer", {"StreamARN": STREAM_ARN, "ConsumerName": "other"}, NOW + 6)
    params = {"ConsumerARN": arn_of(model, "other"), "ShardId": SHARD, "StartingPosition": {"Type": "LATEST"}}
    model.handle("SubscribeToShard", params, NOW + 6)
    assert second.events(NOW + 7) == []
    assert not second.ended


def test_it_gets_two_mebibytes_a_second(model: Model) -> None:
    for _ in range(8):
        put(model, NOW, bytes(1 << 20)[:-1])
    subscription = subscribe(model, NOW)
    events = subscription.events(NOW)
    assert len(data_in(events)) == 2
    assert all(len(event["Records"]) == 1 for event in events)
    assert events[-1]["MillisBehindLatest"] == 0
    assert events[-1]["ContinuationSequenceNumber"] == events[-1]["Records"][-1]["SequenceNumber"]
    later = subscription.events(NOW + 1)
    assert len(data_in(later)) == 2
    assert later[0]["MillisBehindLatest"] == 1000
    assert len(data_in(subscription.events(NOW + 9) + subscription.events(NOW + 10))) == 4


def test_the_end_of_a_closed_shard_names_its_children(model: Model) -> None:
    subscription = subscribe(model, NOW)
    subscription.events(NOW)
    put(model, NOW + 1)
    boundary = {"StreamName": "s", "ShardToSplit": SHARD, "NewStartingHashKey": str(1 << 127)}
    model.handle("SplitShard", boundary, NOW + 2)
    (event,) = subscription.events(NOW + 2)
    assert data_in([event]) == [b"x"]
    assert [each["ShardId"][-1] for each in event["ChildShards"]] == ["1", "2"]
    assert "ContinuationSequenceNumber" not in event
    assert subscription.ended
    (event,) = subscribe(model, NOW + 8, Type="LATEST").events(NOW + 8)
    assert len(event["ChildShards"]) == 2


@pytest.mark.parametrize("operation", ["DeregisterStreamConsumer", "DeleteStream"])
def test_it_ends_with_its_consumer_and_its_stream(model: Model, operation: str) -> None:
    subscription = subscribe(model, NOW)
    subscription.events(NOW)
    whole: dict[str, Any] = {"StreamName": "s", "EnforceConsumerDeletion": True}
    params = whole if operation == "DeleteStream" else {"ConsumerARN": arn_of(model)}
    model.handle(operation, params, NOW + 1)
    assert code_of(lambda: subscription.events(NOW + 1)) == "ResourceNotFoundException"


def test_a_recreated_stream_has_no_consumers(model: Model) -> None:
    arn = arn_of(model)
    assert code_of(lambda: model.handle("DeleteStream", {"StreamName": "s"}, NOW)) == "ResourceInUseException"
    model.handle("DeleteStream", {"StreamName": "s", "EnforceConsumerDeletion": True}, NOW)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, NOW + 11)
    params = {"ConsumerARN": arn, "ShardId": SHARD, "StartingPosition": {"Type": "LATEST"}}
    assert code_of(lambda: model.handle("SubscribeToShard", params, NOW + 12)) == "ResourceNotFoundException"


def test_consumers_of_a_stream_of_another_time_are_not_listed(model: Model) -> None:
    params: dict[str, Any] = {"StreamARN": STREAM_ARN, "StreamCreationTimestamp": NOW}
    assert len(model.handle("ListStreamConsumers", params, NOW)["Consumers"]) == 1
    earlier = {**params, "StreamCreationTimestamp": NOW - 60}
    assert code_of(lambda: model.handle("ListStreamConsumers", earlier, NOW)) == "ResourceNotFoundException"
    both = {**params, "NextToken": "x"}
    assert code_of(lambda: model.handle("ListStreamConsumers", both, NOW)) == "InvalidArgumentException"


def test_arguments_are_checked(model: Model) -> None:
    def refused(**changes: Any) -> str:
        params = {"ConsumerARN": arn_of(model), "ShardId": SHARD, "StartingPosition": {"Type": "LATEST"}}
        return code_of(lambda: model.handle("SubscribeToShard", {**params, **changes}, NOW))

    assert refused(ConsumerARN="arn:aws:kinesis") == "ValidationException"
    assert refused(StartingPosition=None) == "ValidationException"
    assert refused(StartingPosition={"Type": "OLDEST"}) == "ValidationException"
    assert refused(DryRun=True) == "DryRunOperationException"
    with pytest.raises(ValueError, match="subscription_takeover_seconds must be a number above 0"):
        Limits(subscription_takeover_seconds=None)  # type: ignore[arg-type]
