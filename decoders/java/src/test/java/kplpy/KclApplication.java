package kplpy;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.KinesisClientLibException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.RetrievalSpecificConfig;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * A KCL application that prints each user record as a line of JSON. It ends when its standard input ends.
 *
 * <p>Arguments: the stream, the addresses of a local Kinesis and a local DynamoDB, and "polling" or "fan-out".
 * scripts/kcl_application.py starts it and checks what it prints.
 */
final class KclApplication implements ShardRecordProcessor {
  private static final ObjectMapper JSON = new ObjectMapper();

  private String shard;

  @Override
  public void initialize(InitializationInput input) {
    shard = input.shardId();
  }

  @Override
  public void processRecords(ProcessRecordsInput input) {
    for (KinesisClientRecord record : KclRecords.deaggregate(input.records())) {
      print(record);
    }
    checkpoint(input.checkpointer());
  }

  private void print(KinesisClientRecord record) {
    byte[] data = new byte[record.data().remaining()];
    record.data().duplicate().get(data);
    Map<String, Object> shown = new HashMap<>();
    shown.put("shard", shard);
    shown.put("sequence_number", record.sequenceNumber());
    shown.put("sub_sequence_number", record.subSequenceNumber());
    shown.put("partition_key", record.partitionKey());
    shown.put("explicit_hash_key", record.explicitHashKey());
    shown.put("headers", KclRecords.headers(record));
    shown.put("data", Base64.getEncoder().encodeToString(data));
    try {
      String line = JSON.writeValueAsString(shown);
      synchronized (System.out) {
        System.out.println(line);
      }
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  @Override
  public void shardEnded(ShardEndedInput input) {
    checkpoint(input.checkpointer());
  }

  @Override
  public void leaseLost(LeaseLostInput input) {}

  @Override
  public void shutdownRequested(ShutdownRequestedInput input) {}

  private static void checkpoint(RecordProcessorCheckpointer checkpointer) {
    try {
      checkpointer.checkpoint();
    } catch (KinesisClientLibException error) {
      throw new IllegalStateException(error);
    }
  }

  private static RetrievalSpecificConfig retrieval(String kind, String stream, KinesisAsyncClient reader) {
    return switch (kind) {
      case "polling" -> new PollingConfig(stream, reader).idleTimeBetweenReadsInMillis(250);
      case "fan-out" -> new FanOutConfig(reader).streamName(stream).applicationName("reader");
      default -> throw new IllegalArgumentException(kind);
    };
  }

  public static void main(String[] arguments) throws IOException {
    String stream = arguments[0];
    URI kinesisUri = URI.create(arguments[1]);
    URI dynamoUri = URI.create(arguments[2]);
    var credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local"));
    Region region = Region.US_EAST_1;
    var kinesis = KinesisAsyncClient.builder().endpointOverride(kinesisUri);
    KinesisAsyncClient reader = kinesis.region(region).credentialsProvider(credentials).build();
    var dynamo = DynamoDbAsyncClient.builder().endpointOverride(dynamoUri);
    DynamoDbAsyncClient leases = dynamo.region(region).credentialsProvider(credentials).build();
    var cloudWatch = CloudWatchAsyncClient.builder().endpointOverride(dynamoUri); // not used
    CloudWatchAsyncClient metrics = cloudWatch.region(region).credentialsProvider(credentials).build();

    var start = InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
    ConfigsBuilder configs =
        new ConfigsBuilder(
            new SingleStreamTracker(stream, start), "reader", reader, leases, metrics, "worker-1", KclApplication::new);
    Scheduler scheduler =
        new Scheduler(
            configs.checkpointConfig(),
            configs.coordinatorConfig().parentShardPollIntervalMillis(200).shardConsumerDispatchPollIntervalMillis(200),
            configs
                .leaseManagementConfig()
                .failoverTimeMillis(1000)
                .shardSyncIntervalMillis(1000)
                // Without it the KCL does not know a new shard's range for up to 30 s. Until then it does not drop
                // aggregates that belong elsewhere, whose records kplpy puts again.
                .maxCacheMissesBeforeReload(0),
            configs.lifecycleConfig(),
            configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
            configs.processorConfig(),
            configs.retrievalConfig().retrievalSpecificConfig(retrieval(arguments[3], stream, reader)));
    Thread worker = new Thread(scheduler);
    worker.setDaemon(true);
    worker.start();
    System.in.readAllBytes();
    Runtime.getRuntime().halt(0); // the stream and the leases are gone with it
  }
}
