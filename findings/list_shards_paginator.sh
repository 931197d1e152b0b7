#!/usr/bin/env bash
# botocore's own paginator for ListShards cannot get past the first page of a stream that was given by its name.
#
# The service refuses a request with both a NextToken and a stream's name or ARN; the paginator repeats the name with the
# token. It works in tests against moto, which takes both, and fails on the first stream with more shards than a page
# holds (1000, or MaxResults). Paging by hand, with the token alone, works.
# Guess: a paginator that ships with the client keeps the operation's own rule.
# Seen (botocore 1.43.117, kinesis-local 0.6.2): the second request has both, and is an InvalidArgumentException.
# Exits 0 while they behave so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check botocore==1.43.117
npm install --silent --no-audit --no-fund --prefix "$work" kinesis-local@0.6.2
cat > "$work/try.py" <<'PYTHON'
import json, sys, time
import botocore, botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError as Unreachable, HTTPClientError

session = botocore.session.Session()
session.set_credentials("key", "secret")
config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)
kinesis = session.create_client("kinesis", "us-east-1", endpoint_url=f"http://127.0.0.1:{sys.argv[1]}", config=config)
for _ in range(150):
    try:
        kinesis.list_streams()
        break
    except (Unreachable, HTTPClientError):
        time.sleep(0.2)
kinesis.create_stream(StreamName="orders", ShardCount=4)
kinesis.get_waiter("stream_exists").wait(StreamName="orders", WaiterConfig={"Delay": 1})
sent = []
kinesis.meta.events.register("before-call.kinesis.ListShards", lambda params, **_: sent.append(json.loads(params["body"])))
pages, said = [], None
try:
    for page in kinesis.get_paginator("list_shards").paginate(StreamName="orders", PaginationConfig={"PageSize": 3}):
        pages.append(len(page["Shards"]))
except ClientError as error:
    said = error.response["Error"]["Code"]
print(f"botocore {botocore.__version__}: pages of {pages} shards, then {said}; members sent {[sorted(one) for one in sent]}")
first = kinesis.list_shards(StreamName="orders", MaxResults=3)
rest = kinesis.list_shards(NextToken=first["NextToken"])
print(f"by hand: {len(first['Shards'])} shards, then {len(rest['Shards'])}")
same = (pages, said) == ([3], "InvalidArgumentException") and {"NextToken", "StreamName"} <= set(sent[1])
sys.exit(0 if same and len(rest["Shards"]) == 1 else 1)
PYTHON
free() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free)
env -C "$work/node_modules/kinesis-local" KINESIS_MOCK_PLAIN_PORT="$port" KINESIS_MOCK_TLS_PORT="$(free)" node main.js \
    > "$work/log" 2>&1 & server=$!
if AWS_EC2_METADATA_DISABLED=true "$work/venv/bin/python" "$work/try.py" "$port"; then
    echo "as described: the paginator fails at its second page"
else
    echo "botocore or kinesis-local behaves otherwise now"
    exit 1
fi
