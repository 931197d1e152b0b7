// @aws-sdk/client-kinesis against the local Kinesis: `node client.mjs STREAM`. See tests/outside/README.md.
import assert from "node:assert/strict";
import * as sdk from "@aws-sdk/client-kinesis";

const client = new sdk.KinesisClient({});
const StreamName = process.argv[2];
const call = (operation, input) => client.send(new sdk[`${operation}Command`](input));
const text = (records) => records.map((each) => new TextDecoder().decode(each.Data));
const passed = (check) => console.log(`ok ${check}`);
const data = (words) => words.map((each) => new TextEncoder().encode(each));

await call("CreateStream", { StreamName, ShardCount: 2 });
await sdk.waitUntilStreamExists({ client, maxWaitTime: 20, minDelay: 1 }, { StreamName });
passed("create");

const [one, ...others] = data(["one", "two", "three", "four"]);
const put = await call("PutRecord", { StreamName, Data: one, PartitionKey: "a", ExplicitHashKey: "0" });
assert.equal(put.ShardId, "shardId-000000000000");
passed("put record");

const entries = others.map((Data) => ({ Data, PartitionKey: "b", ExplicitHashKey: "1" }));
const answer = await call("PutRecords", { StreamName, Records: entries });
assert.equal(answer.FailedRecordCount, 0);
assert.ok(answer.Records.every((each) => BigInt(each.SequenceNumber) > BigInt(put.SequenceNumber)));
passed("put records");

const page = await call("ListShards", { StreamName, MaxResults: 1 });
const rest = await call("ListShards", { NextToken: page.NextToken });
const shards = [...page.Shards, ...rest.Shards].map((each) => each.ShardId);
assert.deepEqual(shards, ["shardId-000000000000", "shardId-000000000001"]);
passed("list shards");

async function read(ShardId) {
  const position = { StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" };
  const { ShardIterator } = await call("GetShardIterator", position);
  return call("GetRecords", { ShardIterator });
}
const found = await read(shards[0]);
assert.deepEqual(text(found.Records), ["one", "two", "three", "four"]);
assert.ok(Math.abs(found.Records[0].ApproximateArrivalTimestamp - Date.now()) < 60_000);
assert.ok(found.NextShardIterator);
passed("read");

await call("SplitShard", { StreamName, ShardToSplit: shards[0], NewStartingHashKey: String(1n << 126n) });
await sdk.waitUntilStreamExists({ client, maxWaitTime: 20, minDelay: 1 }, { StreamName });
passed("split");
const [left, right] = ["shardId-000000000002", "shardId-000000000003"];
await call("MergeShards", { StreamName, ShardToMerge: left, AdjacentShardToMerge: right });
await sdk.waitUntilStreamExists({ client, maxWaitTime: 20, minDelay: 1 }, { StreamName });
const merged = (await call("ListShards", { StreamName })).Shards.at(-1);
assert.deepEqual([merged.ParentShardId, merged.AdjacentParentShardId], [left, right]);
passed("merge");
const closed = await read(shards[0]);
assert.equal(closed.NextShardIterator, undefined);
assert.deepEqual(closed.ChildShards.map((each) => each.ShardId), [left, right]);
passed("closed shard");

await assert.rejects(call("PutRecord", { StreamName: "none", Data: one, PartitionKey: "a" }), (error) => {
  assert.ok(error instanceof sdk.ResourceNotFoundException);
  return error.message.includes("none") && error.$metadata.httpStatusCode === 400;
});
passed("typed error");

const { StreamARN } = (await call("DescribeStreamSummary", { StreamName })).StreamDescriptionSummary;
const { ConsumerARN } = (await call("RegisterStreamConsumer", { StreamARN, ConsumerName: "node" })).Consumer;
const StartingPosition = { Type: "TRIM_HORIZON" };
const { EventStream } = await call("SubscribeToShard", { ConsumerARN, ShardId: shards[0], StartingPosition });
const [events, children] = [[], []];
for await (const { SubscribeToShardEvent: event } of EventStream) {
  events.push(...text(event.Records));
  children.push(...(event.ChildShards ?? []).map((each) => each.ShardId));
}
assert.deepEqual(events, ["one", "two", "three", "four"]);
assert.deepEqual(children, [left, right]);
passed("fan-out");
client.destroy();
