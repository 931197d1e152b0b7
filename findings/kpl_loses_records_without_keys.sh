#!/usr/bin/env bash
# The KPL reports records without a partition key as delivered, and the KCL gets none of them.
#
# Since 1.1 addUserRecord(stream, data) puts a record without a key. Streams that place records themselves take it. Whether
# a stream does, the KPL asks with DescribeStreamSummary. Without the permission for it (policies made for 1.0 lack it) the
# KPL goes on as if keys placed the records, "for backward compatibility", and packs those without keys into an aggregate.
# Its one key is the empty text, and no explicit hash key goes with it. The record lands on the first shard. The KCL hashes
# the empty key, finds it outside that shard's range, and drops the aggregate whole: an acknowledged loss, without an error.
# Guess: such a record gets an explicit hash key of its shard in the aggregate, or is refused, as it is with the permission.
# Seen (KPL 1.1.1, KCL 3.5.1 AggregatorUtil with the shard's range, Java 17; a stand-in of two shards over HTTPS that denies
# DescribeStreamSummary and refuses requests with entries without a key, as keyed streams need one): of 100 records all are
# successful, and the KCL delivers none. With keys it delivers all. Needs mvn.
# Exits 0 while it behaves so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check trustme==1.2.1 cryptography==50.0.2
for each in producer:1.1.1 client:3.5.1; do
    cat > "$work/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>software.amazon.kinesis</groupId><artifactId>amazon-kinesis-${each%:*}</artifactId><version>${each#*:}</version>
    </dependency>
  </dependencies>
</project>
XML
    mvn -q -B -f "$work/pom.xml" dependency:build-classpath -Dmdep.outputFile="$work/${each%:*}" >&2
done
cat > "$work/serve.py" <<'PYTHON'
"""A stand-in for Kinesis: two shards, by the explicit hash key or the key's MD5. Appends each record to argv[2]."""
import hashlib, http.server, json, ssl, sys, threading
import trustme

HALF, END = 1 << 127, (1 << 128) - 1
SHARDS = [("shardId-000000000000", 0, HALF - 1), ("shardId-000000000001", HALF, END)]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        status, answer = 200, {}
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if operation == "ListShards":
            answer = {"Shards": [{"ShardId": name, "HashKeyRange": {"StartingHashKey": str(low), "EndingHashKey": str(high)},
                                  "SequenceNumberRange": {"StartingSequenceNumber": "1"}} for name, low, high in SHARDS]}
        elif operation == "PutRecords" and any("PartitionKey" not in each for each in asked["Records"]):
            status, answer = 400, {"__type": "InvalidArgumentException", "message": "the stream's records need a partition key"}
        elif operation == "PutRecords":
            answer = {"FailedRecordCount": 0, "Records": [self.put(each) for each in asked["Records"]]}
        elif operation == "DescribeStreamSummary":
            status, answer = 400, {"__type": "AccessDeniedException", "message": "not authorized"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def put(self, entry):
        place = int(entry.get("ExplicitHashKey") or int.from_bytes(hashlib.md5(entry["PartitionKey"].encode()).digest(), "big"))
        name, low, high = SHARDS[place >= HALF]
        with lock, open(sys.argv[2], "a") as file:
            print(name, low, high, entry["Data"], file=file)
        return {"ShardId": name, "SequenceNumber": "1"}

    def log_message(self, *arguments):
        pass


lock = threading.Lock()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(sys.argv[1], "w") as file:
    print(server.server_port, file=file)
server.serve_forever()
PYTHON
cat > "$work/Write.java" <<'JAVA'
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import com.google.common.util.concurrent.ListenableFuture;
import software.amazon.awssdk.auth.credentials.*;
import software.amazon.kinesis.producer.*;

public class Write {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        var producer = new KinesisProducer(new KinesisProducerConfiguration()
            .setKinesisEndpoint("127.0.0.1").setKinesisPort(port).setCloudwatchEndpoint("127.0.0.1").setCloudwatchPort(port)
            .setStsEndpoint("127.0.0.1").setStsPort(port).setVerifyCertificate(false).setRegion("us-east-1").setMetricsLevel("none")
            .setTempDirectory(arguments[1])
            .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("x", "x"))));
        int successful = 0;
        List<ListenableFuture<UserRecordResult>> futures = new ArrayList<>();
        for (int n = 0; n < 100; n++) {
            var data = ByteBuffer.wrap(("order " + n).getBytes());
            futures.add(arguments[2].equals("keys") ? producer.addUserRecord("orders", "key " + n, data) : producer.addUserRecord("orders", data));
        }
        for (var each : futures) if (each.get(60, TimeUnit.SECONDS).isSuccessful()) successful++;
        producer.destroy();
        System.out.println(successful);
        System.exit(0);
    }
}
JAVA
cat > "$work/Read.java" <<'JAVA'
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.*;
import software.amazon.kinesis.retrieval.*;

public class Read {
    public static void main(String[] arguments) throws Exception {
        int delivered = 0;
        for (Scanner lines = new Scanner(System.in); lines.hasNextLine();) {
            String[] part = lines.nextLine().split(" ");
            var record = KinesisClientRecord.builder().data(ByteBuffer.wrap(Base64.getDecoder().decode(part[3])))
                .partitionKey("a").sequenceNumber("1").build();
            delivered += new AggregatorUtil().deaggregate(List.of(record), new BigInteger(part[1]), new BigInteger(part[2])).size();
        }
        System.out.println(delivered);
    }
}
JAVA
try() { # try keys|none: how many records were successful for the KPL, and how many the KCL delivers
    timeout 120 java -cp "$(cat "$work/producer")" "$work/Write.java" "$(cat "$work/port-$1")" "$work" "$1" 2>"$work/log"
    timeout 60 java -cp "$(cat "$work/client")" "$work/Read.java" <"$work/records-$1" 2>>"$work/log"
}
for each in keys none; do
    "$work/venv/bin/python" "$work/serve.py" "$work/port-$each" "$work/records-$each" >/dev/null 2>&1 &
    for _ in $(seq 100); do [ -s "$work/port-$each" ] && break; sleep 0.1; done
done
keys=$(try keys | paste -sd ' ') || { cat "$work/log" >&2; exit 2; }
none=$(try none | paste -sd ' ') || { cat "$work/log" >&2; exit 2; }
echo "KPL 1.1.1, KCL 3.5.1: with keys ${keys% *} of 100 successful, ${keys#* } delivered; without ${none% *} successful, ${none#* } delivered"
if [ "$keys" = "100 100" ] && [ "$none" = "100 0" ]; then
    echo "as described: records that the KPL reports as delivered are lost to the KCL"
else
    echo "the KPL or the KCL behaves otherwise now"
    exit 1
fi
