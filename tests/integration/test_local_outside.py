"""The same boto3 calls against the local Kinesis and against moto, an independent implementation.

DIFFERENCES names the tests on which the two differ, and why. Each of these tests must fail on moto, so that an entry
that is no longer true is noticed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from kplpy.config.options import Config
from kplpy.doctor import examine
from kplpy.local import LocalKinesis, Phases

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

DIFFERENCES = {
    "test_the_summary_knows_the_record_size": "moto does not return MaxRecordSizeInKiB",
    "test_describe_stream_pages": "moto ignores ExclusiveStartShardId and lists every shard again",
    "test_list_shards_pages": "moto needs the first page's parameters beside the NextToken, which the service refuses",
    "test_list_shards_pages_keep_their_filter": "moto needs the first page's parameters beside the NextToken",
    "test_a_next_token_stands_alone": "moto needs the first page's parameters beside the NextToken",
    "test_list_shards_by_filter": "moto's AT_LATEST lists closed shards too",
    "test_describe_stream_of_a_closed_shard": "moto ends a closed shard with its last number, the service above it",
    "test_children_begin_above_their_parents": "moto numbers each shard's records from 1",
    "test_sequence_numbers_look_like_the_services": "moto numbers each shard's records from 1",
    "test_numbers_of_another_shard": "moto numbers each shard's records from 1, so a number is valid for any shard",
    "test_records_go_to_open_shards_only": "moto answers HTTP 500, or still routes to the closed parent",
    "test_the_end_of_a_closed_shard": "moto still returns iterators for a closed shard, and names no children",
    "test_update_shard_count_beyond_double": "moto has no such limit",
    "test_a_request_of_more_than_5_mib": "moto has the limit that the service had until 2025",
    "test_a_shard_is_throttled": "moto has no limits per second",
    "test_a_dry_run": "moto does not have DryRun",
    "test_bad_iterators": "moto answers HTTP 500",
}

STREAMS = (f"outside-{each}" for each in count())
TOP = (1 << 128) - 1


class Service:
    """A client of an endpoint, with one stream for one test."""

    def __init__(self, client: KinesisClient, shards: int) -> None:
        self.client = client
        self.stream = next(STREAMS)
        client.create_stream(StreamName=self.stream, ShardCount=shards)
        client.get_waiter("stream_exists").wait(StreamName=self.stream, WaiterConfig={"Delay": 1})

    def put(self, *data: bytes, hash_key: int | None = None) -> list[Any]:
        explicit = {} if hash_key is None else {"ExplicitHashKey": str(hash_key)}
        records: list[Any] = [{"Data": each, "PartitionKey": "k", **explicit} for each in data]
        answer = self.client.put_records(StreamName=self.stream, Records=records)
        assert answer["FailedRecordCount"] == 0
        return answer["Records"]

    def shards(self, **filters: Any) -> list[Any]:
        return self.client.list_shards(StreamName=self.stream, **filters)["Shards"]

    def ids(self, kind: str, **more: Any) -> list[int]:
        return sorted(int(each["ShardId"][-12:]) for each in self.shards(ShardFilter={"Type": kind, **more}))

    def iterator(self, shard: str, kind: Any = "TRIM_HORIZON", **more: Any) -> str:
        answer = self.client.get_shard_iterator(StreamName=self.stream, ShardId=shard, ShardIteratorType=kind, **more)
        return answer["ShardIterator"]

    def read(self, shard: str, kind: Any = "TRIM_HORIZON", **more: Any) -> list[bytes]:
        answer = self.client.get_records(ShardIterator=self.iterator(shard, kind, **more))
        return [each["Data"] for each in answer["Records"]]

    def split(self, shard: str, boundary: int) -> None:
        self.client.split_shard(StreamName=self.stream, ShardToSplit=shard, NewStartingHashKey=str(boundary))

    def refused(self, operation: str, **params: Any) -> str:
        with pytest.raises(ClientError) as caught:
            getattr(self.client, operation)(**params)
        return str(caught.value.response["Error"].get("Code"))


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def local() -> Iterator[str]:
    with LocalKinesis(stream=None, phases=Phases(deleting=0)) as kinesis:
        yield kinesis.endpoint_url


@pytest.fixture(params=["local", "moto"])
def endpoint(request: pytest.FixtureRequest) -> str:
    reason = DIFFERENCES.get(request.node.originalname)
    if request.param == "moto" and reason is not None:
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def client(endpoint: str) -> KinesisClient:
    return boto3.client(
        "kinesis",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


@pytest.fixture
def one(client: KinesisClient) -> Service:
    return Service(client, 1)


@pytest.fixture
def four(client: KinesisClient) -> Service:
    return Service(client, 4)


FIRST = "shardId-000000000000"


# --- streams ---


def test_describe_stream(four: Service) -> None:
    described = four.client.describe_stream(StreamName=four.stream)["StreamDescription"]
    assert described["StreamName"] == four.stream
    assert described["StreamARN"] == f"arn:aws:kinesis:us-east-1:123456789012:stream/{four.stream}"
    assert described["StreamStatus"] == "ACTIVE"
    assert described["RetentionPeriodHours"] == 24
    assert described["HasMoreShards"] is False
    assert abs(described["StreamCreationTimestamp"].timestamp() - time.time()) < 60
    assert [each["ShardId"] for each in described["Shards"]] == [f"shardId-{each:012d}" for each in range(4)]
    ranges = [each["HashKeyRange"] for each in described["Shards"]]
    assert (ranges[0]["StartingHashKey"], ranges[-1]["EndingHashKey"]) == ("0", str(TOP))


def test_describe_stream_pages(four: Service) -> None:
    page = four.client.describe_stream(StreamName=four.stream, Limit=3)["StreamDescription"]
    assert (len(page["Shards"]), page["HasMoreShards"]) == (3, True)
    rest = four.client.describe_stream(StreamName=four.stream, ExclusiveStartShardId=page["Shards"][-1]["ShardId"])
    assert len(rest["StreamDescription"]["Shards"]) == 1


def test_the_summary(four: Service) -> None:
    summary = four.client.describe_stream_summary(StreamName=four.stream)["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["StreamStatus"]) == (4, "ACTIVE")


def test_the_summary_knows_the_record_size(one: Service) -> None:
    summary = one.client.describe_stream_summary(StreamName=one.stream)["StreamDescriptionSummary"]
    assert summary["MaxRecordSizeInKiB"] == 1024


def test_list_streams(client: KinesisClient) -> None:
    made = sorted(Service(client, 1).stream for _ in range(3))
    listed: list[str] = []
    page = client.list_streams(Limit=2)
    while True:
        listed += page["StreamNames"]
        if not page["HasMoreStreams"]:
            break
        page = client.list_streams(Limit=2, ExclusiveStartStreamName=listed[-1])
    assert set(made) <= set(listed)
    assert len(listed) == len(set(listed))


def test_delete_stream(one: Service) -> None:
    one.client.delete_stream(StreamName=one.stream)
    assert one.refused("describe_stream", StreamName=one.stream) == "ResourceNotFoundException"
    one.client.create_stream(StreamName=one.stream, ShardCount=2)
    assert len(one.shards()) == 2


def test_errors_of_streams(one: Service) -> None:
    assert one.refused("create_stream", StreamName=one.stream, ShardCount=1) == "ResourceInUseException"
    assert one.refused("delete_stream", StreamName="none") == "ResourceNotFoundException"
    record = {"Data": b"x", "PartitionKey": "k"}
    assert one.refused("put_record", StreamName="none", **record) == "ResourceNotFoundException"
    assert one.refused("put_records", StreamName="none", Records=[record]) == "ResourceNotFoundException"


# --- shards ---


def test_list_shards_pages(four: Service) -> None:
    page = four.client.list_shards(StreamName=four.stream, MaxResults=3)
    rest = four.client.list_shards(NextToken=page["NextToken"])
    assert [each["ShardId"][-1] for each in page["Shards"] + rest["Shards"]] == ["0", "1", "2", "3"]
    assert "NextToken" not in rest


def test_list_shards_pages_keep_their_filter(four: Service) -> None:
    four.split(FIRST, 1 << 120)
    page = four.client.list_shards(StreamName=four.stream, MaxResults=2, ShardFilter={"Type": "AT_LATEST"})
    rest = four.client.list_shards(NextToken=page["NextToken"])
    assert len(page["Shards"] + rest["Shards"]) == 5


def test_a_next_token_stands_alone(four: Service) -> None:
    token = four.client.list_shards(StreamName=four.stream, MaxResults=1)["NextToken"]
    assert four.refused("list_shards", StreamName=four.stream, NextToken=token) == "InvalidArgumentException"


def test_list_shards_by_filter(four: Service) -> None:
    four.split(FIRST, 1 << 120)
    assert four.ids("AT_LATEST") == [1, 2, 3, 4, 5]
    assert four.ids("AT_TRIM_HORIZON") == [0, 1, 2, 3]
    assert four.ids("FROM_TRIM_HORIZON") == [0, 1, 2, 3, 4, 5]
    assert four.ids("AFTER_SHARD_ID", ShardId="shardId-000000000003") == [4, 5]


def test_a_split_and_a_merge(four: Service) -> None:
    four.split(FIRST, 1 << 120)
    four.client.merge_shards(
        StreamName=four.stream, ShardToMerge="shardId-000000000002", AdjacentShardToMerge="shardId-000000000003"
    )
    shards = {int(each["ShardId"][-12:]): each for each in four.shards()}
    assert [shards[each]["ParentShardId"] for each in (4, 5)] == [FIRST, FIRST]
    assert (shards[6]["ParentShardId"][-1], shards[6]["AdjacentParentShardId"][-1]) == ("2", "3")
    assert shards[5]["HashKeyRange"]["StartingHashKey"] == str(1 << 120)
    assert shards[6]["HashKeyRange"]["EndingHashKey"] == str(TOP)
    assert [each for each in shards if "EndingSequenceNumber" in shards[each]["SequenceNumberRange"]] == [0, 2, 3]


def test_describe_stream_of_a_closed_shard(one: Service) -> None:
    last = one.put(b"x")[0]["SequenceNumber"]
    one.split(FIRST, 1 << 127)
    shard = one.client.describe_stream(StreamName=one.stream)["StreamDescription"]["Shards"][0]
    assert int(shard["SequenceNumberRange"]["EndingSequenceNumber"]) > int(last)


def test_children_begin_above_their_parents(one: Service) -> None:
    one.put(b"x")
    one.split(FIRST, 1 << 127)
    ranges = [each["SequenceNumberRange"] for each in one.shards()]
    assert int(ranges[1]["StartingSequenceNumber"]) > int(ranges[0]["EndingSequenceNumber"])


def test_records_go_to_open_shards_only(one: Service) -> None:
    one.split(FIRST, 1 << 127)
    ends = [one.put(b"x", hash_key=each)[0]["ShardId"][-1] for each in (0, (1 << 127) - 1, 1 << 127, TOP)]
    assert ends == ["1", "1", "2", "2"]


def test_update_shard_count(four: Service) -> None:
    answer = four.client.update_shard_count(StreamName=four.stream, TargetShardCount=8, ScalingType="UNIFORM_SCALING")
    assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (4, 8)
    summary = four.client.describe_stream_summary(StreamName=four.stream)["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 8


def test_update_shard_count_beyond_double(one: Service) -> None:
    params = {"StreamName": one.stream, "TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"}
    assert one.refused("update_shard_count", **params) == "InvalidArgumentException"


def test_a_split_outside_the_shard(four: Service) -> None:
    params = {"StreamName": four.stream, "ShardToSplit": FIRST, "NewStartingHashKey": str(TOP)}
    assert four.refused("split_shard", **params) == "InvalidArgumentException"
    params["ShardToSplit"] = "shardId-000000000099"
    assert four.refused("split_shard", **params) == "ResourceNotFoundException"


def test_a_merge_of_shards_that_are_apart(four: Service) -> None:
    params = {"StreamName": four.stream, "ShardToMerge": FIRST, "AdjacentShardToMerge": "shardId-000000000002"}
    assert four.refused("merge_shards", **params) == "InvalidArgumentException"


# --- puts ---


def test_put_record(one: Service) -> None:
    answer = one.client.put_record(StreamName=one.stream, Data=b"x", PartitionKey="k")
    assert answer["ShardId"] == FIRST
    assert one.read(FIRST) == [b"x"]


def test_put_records_by_arn(one: Service) -> None:
    arn = one.client.describe_stream(StreamName=one.stream)["StreamDescription"]["StreamARN"]
    one.client.put_records(StreamARN=arn, Records=[{"Data": b"x", "PartitionKey": "k"}])
    assert one.read(FIRST) == [b"x"]


def test_partition_keys_choose_the_shard(four: Service) -> None:
    keys = ["a", "b", "é", "日本", "customer-1", "customer-2"]
    records: list[Any] = [{"Data": b"x", "PartitionKey": each} for each in keys]
    answer = four.client.put_records(StreamName=four.stream, Records=records)
    # Four equal shards: the first two bits of a key's MD5 choose the shard.
    assert [each["ShardId"][-1] for each in answer["Records"]] == ["0", "2", "1", "1", "2", "2"]


def test_sequence_numbers_rise(one: Service) -> None:
    numbers = [int(each["SequenceNumber"]) for _ in range(3) for each in one.put(b"a", b"b", b"c")]
    assert numbers == sorted(set(numbers))


def test_sequence_numbers_look_like_the_services(one: Service) -> None:
    first, second = (one.put(b"x")[0]["SequenceNumber"] for _ in range(2))
    assert {len(first), len(second)} == {56}
    assert int(second) - int(first) > 1 << 60


def test_more_than_500_records(one: Service) -> None:
    records = [{"Data": b"x", "PartitionKey": "k"}] * 501
    code = one.refused("put_records", StreamName=one.stream, Records=records)
    assert code in ("ValidationException", "InvalidArgumentException")


def test_a_request_of_more_than_5_mib(client: KinesisClient) -> None:
    service = Service(client, 8)
    records: list[Any] = [
        {"Data": b"x" * 900_000, "PartitionKey": "k", "ExplicitHashKey": str(each << 125)} for each in range(8)
    ]
    assert client.put_records(StreamName=service.stream, Records=records)["FailedRecordCount"] == 0


def test_an_explicit_hash_key_out_of_range(one: Service) -> None:
    record = {"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": str(TOP + 1)}
    assert one.refused("put_record", StreamName=one.stream, **record) == "InvalidArgumentException"


def test_large_records_where_the_stream_allows_them(client: KinesisClient) -> None:
    stream = next(STREAMS)
    client.create_stream(StreamName=stream, ShardCount=1, MaxRecordSizeInKiB=2048)
    assert client.put_record(StreamName=stream, Data=b"x" * 2_000_000, PartitionKey="k")["ShardId"] == FIRST


def test_a_shard_is_throttled(one: Service) -> None:
    """One request must exceed the limit: on a busy machine a second may pass before the next request."""
    records: list[Any] = [{"Data": b"x" * 3000, "PartitionKey": "k"}] * 500
    answer = one.client.put_records(StreamName=one.stream, Records=records)
    codes = [each.get("ErrorCode") for each in answer["Records"]]
    assert 1 <= codes.count("ProvisionedThroughputExceededException") <= 200
    assert answer["FailedRecordCount"] == len(codes) - codes.count(None)


def test_a_dry_run(one: Service) -> None:
    shape: Any = one.client.meta.service_model.operation_model("PutRecord").input_shape
    if "DryRun" not in shape.members:
        pytest.skip("this botocore is too old")
    record = {"Data": b"x", "PartitionKey": "k"}
    assert one.refused("put_record", StreamName=one.stream, DryRun=True, **record) == "DryRunOperationException"


def test_the_doctor_writes_nothing(one: Service, endpoint: str) -> None:
    """Also where DryRun is ignored, as moto does."""
    report = examine(one.stream, Config(endpoint_url=endpoint, region_name="us-east-1"))
    assert report.finding("permission.ListShards").level == "ok"
    assert one.read(FIRST) == []


# --- reads ---


def test_all_iterators(one: Service) -> None:
    numbers = [each["SequenceNumber"] for each in one.put(b"a", b"b", b"c")]
    assert one.read(FIRST) == [b"a", b"b", b"c"]
    assert one.read(FIRST, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == [b"b", b"c"]
    assert one.read(FIRST, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == [b"c"]
    assert one.read(FIRST, "LATEST") == []
    hour = datetime.now(timezone.utc) - timedelta(hours=1)
    assert one.read(FIRST, "AT_TIMESTAMP", Timestamp=hour) == [b"a", b"b", b"c"]


def test_pages_of_records(one: Service) -> None:
    one.put(*(b"%d" % each for each in range(7)))
    token, found, behind = one.iterator(FIRST), [], []
    for _ in range(3):
        answer = one.client.get_records(ShardIterator=token, Limit=3)
        found += [each["Data"] for each in answer["Records"]]
        behind.append(answer["MillisBehindLatest"])
        token = answer["NextShardIterator"]
    assert found == [b"%d" % each for each in range(7)]
    assert behind[-1] == 0


def test_latest_reads_what_comes_after(one: Service) -> None:
    one.put(b"before")
    token = one.iterator(FIRST, "LATEST")
    one.put(b"after")
    assert [each["Data"] for each in one.client.get_records(ShardIterator=token)["Records"]] == [b"after"]


def test_the_end_of_a_closed_shard(one: Service) -> None:
    one.put(b"x")
    one.split(FIRST, 1 << 127)
    answer: Any = one.client.get_records(ShardIterator=one.iterator(FIRST))
    if answer.get("NextShardIterator"):  # the service may send one more response, without records, before the end
        assert "ChildShards" not in answer
        answer = one.client.get_records(ShardIterator=answer["NextShardIterator"])
    assert "NextShardIterator" not in answer
    assert [each["ShardId"][-1] for each in answer["ChildShards"]] == ["1", "2"]
    assert [each["ParentShards"] for each in answer["ChildShards"]] == [[FIRST], [FIRST]]


def test_errors_of_reads(one: Service) -> None:
    params = {"StreamName": one.stream, "ShardId": "shardId-000000000099", "ShardIteratorType": "LATEST"}
    assert one.refused("get_shard_iterator", **params) == "ResourceNotFoundException"


def test_bad_iterators(one: Service) -> None:
    assert one.refused("get_records", ShardIterator="made up") == "InvalidArgumentException"
    params = {"StreamName": one.stream, "ShardId": FIRST, "ShardIteratorType": "AT_SEQUENCE_NUMBER"}
    assert one.refused("get_shard_iterator", **params) == "InvalidArgumentException"


def test_numbers_of_another_shard(four: Service) -> None:
    number = four.put(b"x", hash_key=0)[0]["SequenceNumber"]
    params = {"StreamName": four.stream, "ShardId": "shardId-000000000001", "ShardIteratorType": "AT_SEQUENCE_NUMBER"}
    assert four.refused("get_shard_iterator", StartingSequenceNumber=number, **params) == "InvalidArgumentException"
