"""aiobotocore against the local Kinesis: `python aiobotocore_client.py STREAM`. See tests/outside/README.md."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from aiobotocore.session import get_session

EVERYTHING = [b"one", b"two", b"three", b"four"]
FIRST = "shardId-000000000000"
CHILDREN = ["shardId-000000000002", "shardId-000000000003"]


def passed(check: str) -> None:
    print(f"ok {check}", flush=True)


async def wait(client: Any, stream: str) -> None:
    await client.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 20})


async def read(client: Any, stream: str) -> Any:
    position = {"StreamName": stream, "ShardId": FIRST, "ShardIteratorType": "TRIM_HORIZON"}
    iterator = await client.get_shard_iterator(**position)
    return await client.get_records(ShardIterator=iterator["ShardIterator"])


async def put_and_read(client: Any, stream: str) -> None:
    await client.create_stream(StreamName=stream, ShardCount=2)
    await wait(client, stream)
    passed("create")
    one = await client.put_record(StreamName=stream, Data=b"one", PartitionKey="a", ExplicitHashKey="0")
    assert one["ShardId"] == FIRST, one
    passed("put record")
    records = [{"Data": each, "PartitionKey": "b", "ExplicitHashKey": "1"} for each in EVERYTHING[1:]]
    answer = await client.put_records(StreamName=stream, Records=records)
    assert answer["FailedRecordCount"] == 0, answer
    passed("put records")
    page = await client.list_shards(StreamName=stream, MaxResults=1)
    rest = await client.list_shards(NextToken=page["NextToken"])
    ids = [each["ShardId"] for each in page["Shards"] + rest["Shards"]]
    assert ids == [FIRST, "shardId-000000000001"], ids
    passed("list shards")
    found = await read(client, stream)
    assert [each["Data"] for each in found["Records"]] == EVERYTHING, found
    passed("read")


async def reshard(client: Any, stream: str) -> None:
    await client.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(1 << 126))
    await wait(client, stream)
    passed("split")
    await client.merge_shards(StreamName=stream, ShardToMerge=CHILDREN[0], AdjacentShardToMerge=CHILDREN[1])
    await wait(client, stream)
    merged = (await client.list_shards(StreamName=stream))["Shards"][-1]
    assert [merged["ParentShardId"], merged["AdjacentParentShardId"]] == CHILDREN, merged
    passed("merge")
    closed = await read(client, stream)
    assert "NextShardIterator" not in closed, closed
    assert [each["ShardId"] for each in closed["ChildShards"]] == CHILDREN, closed
    passed("closed shard")


async def refused(client: Any) -> None:
    try:
        await client.put_record(StreamName="none", Data=b"x", PartitionKey="a")
    except client.exceptions.ResourceNotFoundException as error:
        assert "none" in error.response["Error"]["Message"], error.response
        passed("typed error")
    else:
        raise AssertionError("a stream that is missing took a record")


async def subscribe(client: Any, stream: str) -> None:
    summary = await client.describe_stream_summary(StreamName=stream)
    arn = summary["StreamDescriptionSummary"]["StreamARN"]
    registered = await client.register_stream_consumer(StreamARN=arn, ConsumerName="python")
    answer = await client.subscribe_to_shard(
        ConsumerARN=registered["Consumer"]["ConsumerARN"], ShardId=FIRST, StartingPosition={"Type": "TRIM_HORIZON"}
    )
    events = [each["SubscribeToShardEvent"] async for each in answer["EventStream"]]
    assert [record["Data"] for each in events for record in each["Records"]] == EVERYTHING, events
    assert [child["ShardId"] for each in events for child in each.get("ChildShards", [])] == CHILDREN, events
    passed("fan-out")


async def main() -> None:
    stream = sys.argv[1]
    async with get_session().create_client("kinesis") as client:
        await put_and_read(client, stream)
        await reshard(client, stream)
        await refused(client)
        await subscribe(client, stream)


if __name__ == "__main__":
    asyncio.run(main())
