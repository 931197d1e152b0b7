#!/usr/bin/env bash
# aws-kinesis-agg gives a record of an aggregate another record's explicit hash key when it has none itself.
#
# In the KPL's format a record names its explicit hash key by an index into a table, and a record without one has no
# index. Both of AWS's decoders, for Python and for Node.js, read the missing index as 0: the table's first entry. Who puts
# the records into a second stream with what the decoder gave moves them to the wrong shard. The KCL tells the two apart.
# (The Python package also imports `six` and does not depend on it: alone, it cannot be imported.)
# Guess: a record without an explicit hash key comes out without one (None, undefined, or no member).
# Seen: PyPI aws-kinesis-agg 1.2.3 and npm aws-kinesis-agg 4.2.8: [340282366920938463463374607431768211455, the same].
# Exits 0 while they behave so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check aws-kinesis-agg==1.2.3 protobuf==7.36.2 six==1.17.0
npm install --silent --no-audit --no-fund --prefix "$work" aws-kinesis-agg@4.2.8
cat > "$work/try.py" <<'PYTHON'
import base64, hashlib, sys
from aws_kinesis_agg.deaggregator import deaggregate_records, messages_pb2

highest = str(2**128 - 1)
aggregate = messages_pb2.AggregatedRecord(partition_key_table=["first", "second"], explicit_hash_key_table=[highest])
aggregate.records.add(partition_key_index=0, explicit_hash_key_index=0, data=b"1")
aggregate.records.add(partition_key_index=1, data=b"2")
assert not aggregate.records[1].HasField("explicit_hash_key_index")
body = aggregate.SerializeToString()
data = base64.b64encode(b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body).digest()).decode()
record = {
    "kinesis": {
        "kinesisSchemaVersion": "1.0", "data": data, "partitionKey": "a", "sequenceNumber": "1",
        "approximateArrivalTimestamp": 1.0,
    },
    "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": "shardId-000000000000:1",
    "eventName": "aws:kinesis:record", "invokeIdentityArn": "arn", "awsRegion": "us-east-1", "eventSourceARN": "arn",
}
keys = [one["kinesis"].get("explicitHashKey") for one in deaggregate_records([record])]
print("Python:", keys, file=sys.stderr)
print(data)
sys.exit(0 if keys == [highest, highest] else 1)
PYTHON
cat > "$work/try.js" <<'JS'
const { deaggregateSync } = require("aws-kinesis-agg");
const record = { data: process.argv[2], partitionKey: "a", sequenceNumber: "1" };
deaggregateSync(record, true, (error, records) => {
  if (error) throw error;
  const keys = records.map((one) => one.explicitPartitionKey);
  console.error("Node.js:", keys);
  process.exit(keys.length === 2 && keys.every((key) => key === (2n ** 128n - 1n).toString()) ? 0 : 1);
});
JS
if data=$("$work/venv/bin/python" "$work/try.py") && node "$work/try.js" "$data"; then
    echo "as described: the second record has no explicit hash key, and both decoders give it the first one's"
else
    echo "aws-kinesis-agg behaves otherwise now"
    exit 1
fi
