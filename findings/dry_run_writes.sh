#!/usr/bin/env bash
# PutRecords with DryRun writes the records for real in the stand-ins for Kinesis.
#
# The service answers a dry run with the error DryRunOperationException when the call would have been allowed, and
# writes nothing. These stand-ins do not know the member: they acknowledge the records and keep them. A check of
# permissions that puts dry runs passes here by its wrong branch, and leaves its test data in the stream.
# Guess: the strict ones refuse the unknown member (a SerializationException, say), the others ignore it.
# Seen (boto3 1.43.117): moto 5.2.5, kinesalite 3.3.3 and kinesis-local 0.6.2 each acknowledge and keep the record.
# Exits 0 while they behave so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check moto==5.2.5 flask==3.1.3 flask-cors==6.0.5 boto3==1.43.117
npm install --silent --no-audit --no-fund --prefix "$work" kinesalite@3.3.3 kinesis-local@0.6.2
cat > "$work/try.py" <<'PYTHON'
import sys, time
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError as Unreachable, HTTPClientError

config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)
kinesis = boto3.client("kinesis", "us-east-1", endpoint_url=f"http://127.0.0.1:{sys.argv[2]}", config=config)
for _ in range(150):
    try:
        kinesis.list_streams()
        break
    except (Unreachable, HTTPClientError):
        time.sleep(0.2)
kinesis.create_stream(StreamName="orders", ShardCount=1)
kinesis.get_waiter("stream_exists").wait(StreamName="orders", WaiterConfig={"Delay": 1})
try:
    answer = kinesis.put_records(StreamName="orders", Records=[{"Data": b"dry", "PartitionKey": "key"}], DryRun=True)
    said = f"{answer['FailedRecordCount']} failed"
except ClientError as error:
    said = error.response["Error"]["Code"]
where = {"StreamName": "orders", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
kept = kinesis.get_records(ShardIterator=kinesis.get_shard_iterator(**where)["ShardIterator"])["Records"]
print(f"{sys.argv[1]}: {said}, {len(kept)} record kept")
sys.exit(0 if (said, len(kept)) == ("0 failed", 1) else 1)
PYTHON
export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret AWS_EC2_METADATA_DISABLED=true
free() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
try() { # name, command…: the server runs, is asked, and is ended
    local name=$1
    shift
    "$@" > "$work/log" 2>&1 & server=$!
    "$work/venv/bin/python" "$work/try.py" "$name" "$port" || { echo "$name behaves otherwise now"; exit 1; }
    kill "$server" && wait "$server" 2>/dev/null || true
}
port=$(free)
try moto "$work/venv/bin/moto_server" -H 127.0.0.1 -p "$port"
port=$(free)
try kinesalite "$work/node_modules/.bin/kinesalite" --port "$port" --createStreamMs 10
port=$(free)
try kinesis-local env -C "$work/node_modules/kinesis-local" KINESIS_MOCK_PLAIN_PORT="$port" KINESIS_MOCK_TLS_PORT="$(free)" node main.js
echo "as described: a dry run is acknowledged and kept"
