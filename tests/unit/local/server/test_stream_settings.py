"""What infrastructure tools set of streams, through boto3 and the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kplpy.local import LocalKinesis, Phases
from tests.newest_botocore import newest_botocore

METRICS = [
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
]
ON_DEMAND: Any = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}


@pytest.fixture(scope="module")
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(stream=None, phases=Phases(deleting=0)) as started:
        yield started


@pytest.fixture(scope="module")
def client(kinesis: LocalKinesis) -> Any:
    return kinesis.client()


@pytest.fixture
def stream(client: Any) -> Iterator[str]:
    client.create_stream(StreamName="s", ShardCount=1)
    yield "s"
    client.delete_stream(StreamName="s", EnforceConsumerDeletion=True)


def arn(client: Any, stream: str) -> str:
    found: str = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    return found


def summary(client: Any, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    return found


def code_of(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return str(raised.value.response["Error"]["Code"])


# --- tags ---


def test_both_families_set_the_same_tags(client: Any, stream: str) -> None:
    resource = arn(client, stream)
    client.add_tags_to_stream(StreamName=stream, Tags={"team": "orders", "cost": "7"})
    client.tag_resource(ResourceARN=resource, Tags={"team": "shop", "é": ""})
    page = client.list_tags_for_stream(StreamARN=resource, Limit=2)
    assert page["Tags"] == [{"Key": "cost", "Value": "7"}, {"Key": "team", "Value": "shop"}]
    assert page["HasMoreTags"]
    rest = client.list_tags_for_stream(StreamName=stream, ExclusiveStartTagKey="team")
    assert (rest["Tags"], rest["HasMoreTags"]) == ([{"Key": "é", "Value": ""}], False)
    client.untag_resource(ResourceARN=resource, TagKeys=["é", "never there"])
    client.remove_tags_from_stream(StreamName=stream, TagKeys=["cost"])
    assert client.list_tags_for_resource(ResourceARN=resource)["Tags"] == [{"Key": "team", "Value": "shop"}]


def test_a_stream_and_a_consumer_have_tags_from_the_start(client: Any) -> None:
    client.create_stream(StreamName="tagged", ShardCount=1, Tags={"a": "1"})
    resource = arn(client, "tagged")
    assert client.list_tags_for_stream(StreamName="tagged")["Tags"] == [{"Key": "a", "Value": "1"}]
    made = client.register_stream_consumer(StreamARN=resource, ConsumerName="app", Tags={"b": "2"})
    consumer = made["Consumer"]["ConsumerARN"]
    assert client.list_tags_for_resource(ResourceARN=consumer)["Tags"] == [{"Key": "b", "Value": "2"}]
    client.delete_stream(StreamName="tagged", EnforceConsumerDeletion=True)
    client.create_stream(StreamName="tagged", ShardCount=1)
    assert client.list_tags_for_stream(StreamName="tagged")["Tags"] == []
    assert code_of(client.list_tags_for_resource, ResourceARN=consumer) == "ResourceNotFoundException"
    client.delete_stream(StreamName="tagged")


def test_bad_tags_change_nothing(client: Any, stream: str) -> None:
    add = client.add_tags_to_stream
    assert code_of(add, StreamName=stream, Tags={"a": "semi;colon"}) == "InvalidArgumentException"
    assert code_of(add, StreamName=stream, Tags={"aws:x": "1"}) == "InvalidArgumentException"
    many = {f"k{number}": "" for number in range(51)}
    assert code_of(add, StreamName=stream, Tags=many) == "InvalidArgumentException"
    assert code_of(add, StreamName=stream, Tags={"k" * 129: ""}) == "ValidationException"
    assert code_of(add, StreamName="none", Tags={"a": "1"}) == "ResourceNotFoundException"
    other = arn(client, stream).replace(":stream/", ":queue/")
    assert code_of(client.tag_resource, ResourceARN=other, Tags={"a": "1"}) == "ResourceNotFoundException"
    assert client.list_tags_for_stream(StreamName=stream)["Tags"] == []


# --- retention ---


def test_retention_goes_up_and_down_within_bounds(client: Any, stream: str) -> None:
    up, down = client.increase_stream_retention_period, client.decrease_stream_retention_period
    up(StreamName=stream, RetentionPeriodHours=8760)
    assert summary(client, stream)["RetentionPeriodHours"] == 8760
    assert code_of(up, StreamName=stream, RetentionPeriodHours=8761) == "InvalidArgumentException"
    assert code_of(up, StreamName=stream, RetentionPeriodHours=8760) == "InvalidArgumentException"
    down(StreamARN=arn(client, stream), RetentionPeriodHours=24)
    assert client.describe_stream(StreamName=stream)["StreamDescription"]["RetentionPeriodHours"] == 24
    assert code_of(down, StreamName=stream, RetentionPeriodHours=23) == "InvalidArgumentException"
    assert code_of(down, StreamName=stream, RetentionPeriodHours=24) == "InvalidArgumentException"


# --- monitoring ---


def test_enhanced_monitoring_is_kept_and_shown(client: Any, stream: str) -> None:
    def shown() -> Any:
        return summary(client, stream)["EnhancedMonitoring"]

    assert shown() == [{"ShardLevelMetrics": []}]
    answer = client.enable_enhanced_monitoring(StreamName=stream, ShardLevelMetrics=["OutgoingBytes", "IncomingBytes"])
    assert answer["CurrentShardLevelMetrics"] == []
    assert answer["DesiredShardLevelMetrics"] == ["IncomingBytes", "OutgoingBytes"]
    assert (answer["StreamName"], answer["StreamARN"]) == (stream, arn(client, stream))
    client.enable_enhanced_monitoring(StreamName=stream, ShardLevelMetrics=["ALL"])
    assert shown() == [{"ShardLevelMetrics": METRICS}]
    answer = client.disable_enhanced_monitoring(StreamName=stream, ShardLevelMetrics=["OutgoingBytes"])
    assert answer["CurrentShardLevelMetrics"] == METRICS
    assert answer["DesiredShardLevelMetrics"] == [each for each in METRICS if each != "OutgoingBytes"]
    client.disable_enhanced_monitoring(StreamName=stream, ShardLevelMetrics=["ALL"])
    assert shown() == [{"ShardLevelMetrics": []}]
    bad = client.enable_enhanced_monitoring
    assert code_of(bad, StreamName=stream, ShardLevelMetrics=["Latency"]) == "ValidationException"


# --- encryption ---


def test_encryption_is_shown_for_the_stream_and_its_records(client: Any, stream: str) -> None:
    def put(data: bytes) -> Any:
        return client.put_record(StreamName=stream, Data=data, PartitionKey="k")

    assert "EncryptionType" not in put(b"plain")
    client.start_stream_encryption(StreamName=stream, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    described = client.describe_stream(StreamName=stream)["StreamDescription"]
    assert (described["EncryptionType"], described["KeyId"]) == ("KMS", "alias/aws/kinesis")
    assert put(b"secret")["EncryptionType"] == "KMS"
    batch = client.put_records(StreamName=stream, Records=[{"Data": b"two", "PartitionKey": "k"}])
    assert batch["EncryptionType"] == "KMS"
    client.stop_stream_encryption(StreamName=stream, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    assert summary(client, stream)["EncryptionType"] == "NONE"
    assert "EncryptionType" not in put(b"plain again")
    start = {"ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    iterator = client.get_shard_iterator(StreamName=stream, **start)["ShardIterator"]
    records = client.get_records(ShardIterator=iterator)["Records"]
    assert [each["EncryptionType"] for each in records] == ["NONE", "KMS", "KMS", "NONE"]
    none = {"EncryptionType": "NONE", "KeyId": "x"}
    assert code_of(client.start_stream_encryption, StreamName=stream, **none) == "InvalidArgumentException"


# --- policies ---


def test_a_policy_is_kept_for_a_stream_and_for_a_consumer(client: Any, stream: str) -> None:
    resource = arn(client, stream)
    made = client.register_stream_consumer(StreamARN=resource, ConsumerName="app")
    for each in (resource, made["Consumer"]["ConsumerARN"]):
        statement = {"Effect": "Allow", "Principal": "*", "Action": "kinesis:*", "Resource": each}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        assert code_of(client.get_resource_policy, ResourceARN=each) == "ResourceNotFoundException"
        client.put_resource_policy(ResourceARN=each, Policy=policy)
        assert client.get_resource_policy(ResourceARN=each)["Policy"] == policy
        for bad in ("{", "[]", '{"Statement": []}', '{"Statement": [{"Effect": "Allow"}]}', "[" * 100_000):
            assert code_of(client.put_resource_policy, ResourceARN=each, Policy=bad) == "ValidationException"
        assert client.get_resource_policy(ResourceARN=each)["Policy"] == policy
        client.delete_resource_policy(ResourceARN=each)
        assert code_of(client.delete_resource_policy, ResourceARN=each) == "ResourceNotFoundException"


# --- the account ---


def test_the_account_shows_its_limits_and_its_use(client: Any, stream: str) -> None:
    client.create_stream(StreamName="demand", **ON_DEMAND)
    answer = client.describe_limits()
    shown = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    assert shown["ShardLimit"] == 20_000
    assert shown["OpenShardCount"] == 1
    assert (shown["OnDemandStreamCount"], shown["OnDemandStreamCountLimit"]) == (1, 50)
    assert code_of(client.create_stream, StreamName="large", ShardCount=20_000) == "LimitExceededException"
    client.delete_stream(StreamName="demand")


@newest_botocore
def test_warm_throughput_needs_the_accounts_commitment(client: Any) -> None:
    status = client.describe_account_settings()["MinimumThroughputBillingCommitment"]
    assert status == {"Status": "DISABLED"}
    create = client.create_stream
    warm: Any = {"StreamName": "warm", "WarmThroughputMiBps": 6}
    assert code_of(create, **warm, **ON_DEMAND) == "ValidationException"
    enabled = client.update_account_settings(MinimumThroughputBillingCommitment={"Status": "ENABLED"})
    commitment = enabled["MinimumThroughputBillingCommitment"]
    assert commitment["Status"] == "ENABLED"
    assert (commitment["EarliestAllowedEndAt"] - commitment["StartedAt"]).total_seconds() == 24 * 3600
    assert code_of(create, **warm, ShardCount=1) == "ValidationException"
    create(**warm, **ON_DEMAND)
    assert summary(client, "warm")["WarmThroughput"] == {"TargetMiBps": 6, "CurrentMiBps": 6}
    assert summary(client, "warm")["OpenShardCount"] == 6
    answer = client.update_stream_warm_throughput(StreamName="warm", WarmThroughputMiBps=9)
    assert answer["WarmThroughput"] == {"TargetMiBps": 9, "CurrentMiBps": 6}
    assert summary(client, "warm")["OpenShardCount"] == 9
    update = client.update_stream_warm_throughput
    assert code_of(update, StreamName="warm", WarmThroughputMiBps=10_241) == "LimitExceededException"
    ended = client.update_account_settings(MinimumThroughputBillingCommitment={"Status": "DISABLED"})
    assert ended["MinimumThroughputBillingCommitment"]["Status"] == "ENABLED_UNTIL_EARLIEST_ALLOWED_END"
    client.update_stream_mode(StreamARN=arn(client, "warm"), StreamModeDetails={"StreamMode": "PROVISIONED"})
    assert "WarmThroughput" not in summary(client, "warm")
    assert code_of(update, StreamName="warm", WarmThroughputMiBps=1) == "ValidationException"
    client.delete_stream(StreamName="warm")


@newest_botocore
def test_an_auto_stream_takes_no_sequence_number_for_ordering(client: Any, stream: str) -> None:
    client.create_stream(StreamName="auto", RecordDistributionStrategy="AUTO", **ON_DEMAND)
    record: Any = {"Data": b"x", "PartitionKey": "k", "SequenceNumberForOrdering": "1"}
    assert code_of(client.put_record, StreamName="auto", **record) == "InvalidArgumentException"
    client.put_record(StreamName=stream, **record)
    client.delete_stream(StreamName="auto")
