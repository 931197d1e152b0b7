#!/usr/bin/env bash
# The KCL drops what async-kinesis' KPL processors write to all shards but one, without an error.
#
# An aggregate carries a partition key for each inner record. The KCL drops an aggregate whole if the hash of an inner key
# lies outside the range of the shard it was read from. async-kinesis gives every inner record the key "a", and the Kinesis
# record that holds them another key for each aggregate, so that the aggregates spread over the shards. Only the shard whose
# range holds the hash of "a" delivers them: with N shards about 1 of N aggregates arrives, and the rest is lost silently.
# Guess: the outer key is the inner one, or an inner hash key is chosen to match, so that every record arrives.
# Seen (async-kinesis 3.0.1 with aws-kinesis-agg 1.2.3 on moto 5.2.0, KCL 3.5.1 AggregatorUtil with each shard's range, 4
# shards): of 60 aggregates some 15 lay on each shard; the KCL delivered those of shardId-000000000000, and none of the others.
# Without a range the KCL's code delivers all. Needs java 17 and mvn.
# Exits 0 while it behaves so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    async-kinesis==3.0.1 aws-kinesis-agg==1.2.3 protobuf==7.36.2 six==1.17.0 moto==5.2.0 flask==3.1.2 flask-cors==6.0.1 boto3==1.43.117 botocore==1.43.117 aiobotocore==3.10.0
cat > "$work/pom.xml" <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>software.amazon.kinesis</groupId><artifactId>amazon-kinesis-client</artifactId><version>3.5.1</version>
    </dependency>
  </dependencies>
</project>
XML
mvn -q -B -f "$work/pom.xml" dependency:build-classpath -Dmdep.outputFile="$work/classpath" >&2
cat > "$work/write.py" <<'PYTHON'
"""Writes with async-kinesis, and prints each Kinesis record with the range of the shard that holds it."""
import asyncio, base64, os
import boto3
from kinesis import Producer
from kinesis.processors import KPLStringProcessor
from moto.server import ThreadedMotoServer

os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
url = "http://127.0.0.1:{}".format(server._server.socket.getsockname()[1])
kinesis = boto3.client("kinesis", endpoint_url=url)
kinesis.create_stream(StreamName="orders", ShardCount=4)

async def write():
    async with Producer("orders", endpoint_url=url, region_name="us-east-1", processor=KPLStringProcessor()) as producer:
        for batch in range(60):
            for number in range(3):
                await producer.put("order {}-{}".format(batch, number))
            await producer.flush()

asyncio.run(write())
for shard in kinesis.list_shards(StreamName="orders")["Shards"]:
    where = {"StreamName": "orders", "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    page = kinesis.get_records(ShardIterator=kinesis.get_shard_iterator(**where)["ShardIterator"])
    keys = shard["HashKeyRange"]
    for record in page["Records"]:
        data = base64.b64encode(record["Data"]).decode()
        print(shard["ShardId"], keys["StartingHashKey"], keys["EndingHashKey"], record["PartitionKey"], data)
server.stop()
PYTHON
cat > "$work/Read.java" <<'JAVA'
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.*;
import software.amazon.kinesis.retrieval.*;

public class Read {
    public static void main(String[] arguments) throws Exception {
        Map<String, int[]> counts = new TreeMap<>();
        for (Scanner lines = new Scanner(System.in); lines.hasNextLine();) {
            String[] part = lines.nextLine().split(" ");
            BigInteger low = new BigInteger(part[1]), high = new BigInteger(part[2]);
            int[] count = counts.computeIfAbsent(part[0], shard -> new int[3]);
            count[0]++;
            count[1] += new AggregatorUtil().deaggregate(List.of(record(part)), low, high).size();
            count[2] += new AggregatorUtil().deaggregate(List.of(record(part))).size();
        }
        int full = 0, empty = 0;
        for (var each : counts.entrySet()) {
            int[] count = each.getValue();
            System.out.printf("%s: %d aggregates; user records: %d with the shard's range, %d without%n",
                each.getKey(), count[0], count[1], count[2]);
            if (count[2] != 3 * count[0]) throw new AssertionError("not all aggregates hold three records");
            if (count[1] == count[2]) full++; else if (count[1] == 0) empty++;
        }
        System.exit(full == 1 && empty == 3 ? 0 : 1);
    }

    static KinesisClientRecord record(String[] part) {
        ByteBuffer data = ByteBuffer.wrap(Base64.getDecoder().decode(part[4]));
        return KinesisClientRecord.builder().data(data).partitionKey(part[3]).sequenceNumber("1").build();
    }
}
JAVA
"$work/venv/bin/python" -W ignore "$work/write.py" > "$work/records" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
if java -cp "$(cat "$work/classpath")" "$work/Read.java" < "$work/records"; then
    echo "as described: one shard of four delivers, the others lose everything"
else
    echo "async-kinesis or the KCL behaves otherwise now"
    exit 1
fi
