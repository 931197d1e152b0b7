#!/usr/bin/env bash
# After SplitShard, moto goes on writing to the closed parent, and ministack deletes the parent with its records.
#
# The service closes the parent at a split: new records go to the children, and the parent's records stay readable until
# the retention ends. A test of resharding against these stand-ins tests something else: in moto the children stay empty
# for good and the parent's end never comes; in ministack acknowledged records can be read no longer by anyone.
# Guess: both send new records to the children and keep the parent readable, as the service does.
# Seen: moto 5.2.5: all 16 new records in the parent, none in the children; the parent gives a next iterator still.
#   ministack 1.5.33: GetShardIterator for the parent is a ResourceNotFoundException, ListShards leaves it out.
# Exits 0 while they behave so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/moto"
"$work/moto/bin/pip" install --quiet --no-compile --disable-pip-version-check moto==5.2.5 flask==3.1.3 flask-cors==6.0.5 boto3==1.43.117
python3 -m venv "$work/ministack" # it pins its own botocore
"$work/ministack/bin/pip" install --quiet --no-compile --disable-pip-version-check ministack==1.5.33
cat > "$work/try.py" <<'PYTHON'
import sys, time
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)
kinesis = boto3.client("kinesis", "us-east-1", endpoint_url=f"http://127.0.0.1:{sys.argv[2]}", config=config)
for _ in range(150):
    try:
        kinesis.create_stream(StreamName="orders", ShardCount=1)
        break
    except EndpointConnectionError:
        time.sleep(0.2)
kinesis.get_waiter("stream_exists").wait(StreamName="orders")


def read(shard):
    """The shard's data, and whether it goes on; None for a shard that the stand-in does not know."""
    try:
        where = kinesis.get_shard_iterator(StreamName="orders", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    except ClientError as error:
        return error.response["Error"]["Code"]
    answer = kinesis.get_records(ShardIterator=where["ShardIterator"])
    return len(answer["Records"]), bool(answer.get("NextShardIterator"))


parent, low, high = (f"shardId-{number:012}" for number in range(3))
for number in range(5):
    kinesis.put_record(StreamName="orders", Data=b"before", PartitionKey=f"key-{number}")
kinesis.split_shard(StreamName="orders", ShardToSplit=parent, NewStartingHashKey=str(2**127))
kinesis.get_waiter("stream_exists").wait(StreamName="orders")
for number in range(16):
    kinesis.put_record(StreamName="orders", Data=b"after", PartitionKey=f"key-{number}")
listed = [shard["ShardId"] for shard in kinesis.list_shards(StreamName="orders")["Shards"]]
print(f"{sys.argv[1]}: parent {read(parent)}, children {read(low)} {read(high)}, {len(listed)} shards listed")
if sys.argv[1] == "moto":
    same = (read(parent), read(low), read(high)) == ((21, True), (0, True), (0, True)) and parent in listed
else:
    same = read(parent) == "ResourceNotFoundException" and read(low)[0] + read(high)[0] == 16 and parent not in listed
sys.exit(0 if same else 1)
PYTHON
export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret AWS_EC2_METADATA_DISABLED=true
free() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
try() { "$work/moto/bin/python" "$work/try.py" "$1" "$port" || { echo "$1 behaves otherwise now"; exit 1; }; }
port=$(free)
"$work/moto/bin/moto_server" -H 127.0.0.1 -p "$port" > "$work/log" 2>&1 & server=$!
try moto
kill "$server" && wait "$server" 2>/dev/null || true
port=$(free)
GATEWAY_PORT=$port "$work/ministack/bin/ministack" > "$work/log" 2>&1 & server=$!
try ministack
echo "as described: moto 5.2.5 and ministack 1.5.33 both leave the service's rule, each in its own way"
