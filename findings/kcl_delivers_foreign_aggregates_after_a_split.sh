#!/usr/bin/env bash
# For up to 30 seconds after a split, the KCL delivers aggregates of the new shards that it should drop.
#
# An aggregate that was under way during a split can land on a child shard that does not hold the hash keys of its records.
# The KCL drops it whole, and the producer puts its records again. For that the KCL must know the child's range. It looks in
# a list of shards that it renews after 30 s, or after 1000 misses, and on a miss it goes on without the range: one line in
# the log, and the aggregate is delivered. The application has its records twice, as the producer puts them again. A
# reshard is the only time at which such aggregates occur. maxCacheMissesBeforeReload(0) makes the KCL list the shards at once.
# Guess: on a shard that is not in the list, the KCL lists the shards again, and drops the aggregate.
# Seen (KCL 3.5.1, Java 17, aws-kinesis-agg 1.2.3): with the default settings [order 7] is delivered on the wrong child;
# with maxCacheMissesBeforeReload 0 nothing is. The listing is a stand-in; the KCL's detector and task are its own. Needs mvn.
# Exits 0 while it behaves so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check aws-kinesis-agg==1.2.3 protobuf==7.36.2 six==1.17.0
cat > "$work/pom.xml" <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>software.amazon.kinesis</groupId><artifactId>amazon-kinesis-client</artifactId><version>3.5.1</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>2.0.13</version>
    </dependency>
  </dependencies>
</project>
XML
mvn -q -B -f "$work/pom.xml" dependency:build-classpath -Dmdep.outputFile="$work/classpath" >&2
cat > "$work/write.py" <<'PYTHON'
import base64
from aws_kinesis_agg.aggregator import RecordAggregator

aggregator = RecordAggregator()
aggregator.add_user_record("b", b"order 7")  # the hash of "b" is 92eb..., in the upper half
print(base64.b64encode(aggregator.clear_and_get().get_contents()[2]).decode())
PYTHON
cat > "$work/Try.java" <<'JAVA'
import java.lang.reflect.Proxy;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledExecutorService;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.HashKeyRange;
import software.amazon.awssdk.services.kinesis.model.ListShardsResponse;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.kinesis.checkpoint.ShardRecordProcessorCheckpointer;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.coordinator.streamInfo.StreamIdCache;
import software.amazon.kinesis.coordinator.streamInfo.StreamIdCacheManager;
import software.amazon.kinesis.coordinator.streamInfo.StreamIdOnboardingState;
import software.amazon.kinesis.leases.KinesisShardDetector;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.leases.LeaseStatsRecorder;
import software.amazon.kinesis.leases.ShardInfo;
import software.amazon.kinesis.lifecycle.ProcessTask;
import software.amazon.kinesis.lifecycle.events.*;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.Checkpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.AggregatorUtil;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.ThrottlingReporter;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;

public class Try {
  static final BigInteger END = BigInteger.ONE.shiftLeft(128).subtract(BigInteger.ONE);
  static final BigInteger HALF = BigInteger.ONE.shiftLeft(127);
  static boolean isSplit;

  static Shard shard(String id, BigInteger first, BigInteger last) {
    var range = HashKeyRange.builder().startingHashKey(first.toString()).endingHashKey(last.toString()).build();
    return Shard.builder().shardId(id).hashKeyRange(range).build();
  }

  static ListShardsResponse listing() {
    List<Shard> shards = new ArrayList<>(List.of(shard("shardId-000000000000", BigInteger.ZERO, END)));
    if (isSplit) {
      shards.add(shard("shardId-000000000001", BigInteger.ZERO, HALF.subtract(BigInteger.ONE)));
      shards.add(shard("shardId-000000000002", HALF, END));
    }
    return ListShardsResponse.builder().shards(shards).build();
  }

  @SuppressWarnings("unchecked")
  static <T> T unused(Class<T> type) {
    return (T) Proxy.newProxyInstance(Try.class.getClassLoader(), new Class<?>[] {type}, (proxy, method, arguments) -> null);
  }

  /** Returns what the application gets on the lower child, for an aggregate of the upper one. */
  static List<String> deliver(String data, int maxCacheMisses, LeaseManagementConfig defaults) throws Exception {
    isSplit = false;
    var client = (KinesisAsyncClient) Proxy.newProxyInstance(Try.class.getClassLoader(), new Class<?>[] {KinesisAsyncClient.class},
        (proxy, method, arguments) -> CompletableFuture.completedFuture(listing()));
    var detector = new KinesisShardDetector(client, StreamIdentifier.singleStreamInstance("orders"), 100, 1,
        defaults.listShardsCacheAllowedAgeInSeconds(), maxCacheMisses, defaults.cacheMissWarningModulus(), Duration.ofSeconds(10));
    detector.listShards(); // as when the application starts
    isSplit = true;

    var child = new ShardInfo("shardId-000000000001", "token", List.of("shardId-000000000000"), ExtendedSequenceNumber.TRIM_HORIZON);
    var checkpointer = new ShardRecordProcessorCheckpointer(child, unused(Checkpointer.class));
    checkpointer.setInitialCheckpointValue(ExtendedSequenceNumber.TRIM_HORIZON);
    var record = KinesisClientRecord.builder().data(ByteBuffer.wrap(Base64.getDecoder().decode(data)))
        .partitionKey("a").sequenceNumber("1").build();
    var input = ProcessRecordsInput.builder().records(List.of(record)).millisBehindLatest(0L).build();
    List<String> delivered = new ArrayList<>();
    var application = new ShardRecordProcessor() {
      public void initialize(InitializationInput input) {}
      public void processRecords(ProcessRecordsInput input) {
        input.records().forEach(each -> delivered.add(StandardCharsets.UTF_8.decode(each.data()).toString()));
      }
      public void leaseLost(LeaseLostInput input) {}
      public void shardEnded(ShardEndedInput input) {}
      public void shutdownRequested(ShutdownRequestedInput input) {}
    };
    var failure = new ProcessTask(child, application, checkpointer, 100, false, detector, new ThrottlingReporter(5, "child"), input,
        false, 100, new AggregatorUtil(), new NullMetricsFactory(), null, new LeaseStatsRecorder(1000L, System::currentTimeMillis))
        .call().getException();
    if (failure != null) throw failure;
    return delivered;
  }

  public static void main(String[] arguments) throws Exception {
    StreamIdCache.initialize(new StreamIdCacheManager(unused(ScheduledExecutorService.class), null, Map.of(),
        StreamIdOnboardingState.NOT_ONBOARDED, false, new NullMetricsFactory()), StreamIdOnboardingState.NOT_ONBOARDED);
    var defaults = new LeaseManagementConfig("table", "application", null, null, "worker");
    var usual = deliver(arguments[0], defaults.maxCacheMissesBeforeReload(), defaults);
    var eager = deliver(arguments[0], 0, defaults);
    System.out.println("defaults (" + defaults.maxCacheMissesBeforeReload() + " misses, "
        + defaults.listShardsCacheAllowedAgeInSeconds() + " s): delivered " + usual);
    System.out.println("maxCacheMissesBeforeReload 0: delivered " + eager);
    System.exit(usual.equals(List.of("order 7")) && eager.isEmpty() ? 0 : 1);
  }
}
JAVA
if timeout 60 java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$(cat "$work/classpath")" "$work/Try.java" "$("$work/venv/bin/python" "$work/write.py")"; then
    echo "as described: the KCL delivered an aggregate that belongs to the other child"
else
    echo "the KCL behaves otherwise now"
    exit 1
fi
