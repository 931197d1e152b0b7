package outside;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.*;
import software.amazon.awssdk.services.kinesis.model.Record;

/**
 * The AWS SDK for Java against the local Kinesis: `java outside.Client STREAM sync|async`. See tests/outside/README.md.
 * The synchronous client has no SubscribeToShard.
 */
public final class Client {
    private static final List<String> EVERYTHING = List.of("one", "two", "three", "four");
    private static final String FIRST = "shardId-000000000000";
    private static final List<String> CHILDREN = List.of("shardId-000000000002", "shardId-000000000003");

    public static void main(String[] arguments) throws Exception {
        String stream = arguments[0];
        if (arguments[1].equals("sync")) {
            try (KinesisClient client = KinesisClient.create()) {
                run(stream, new Sync(client));
            }
            return;
        }
        try (KinesisAsyncClient client = KinesisAsyncClient.create()) {
            Calls calls = new Async(client);
            run(stream, calls);
            subscribe(stream, client, calls);
        }
    }

    /** What the program calls, with either client. */
    private interface Calls {
        void create(CreateStreamRequest request);

        void waitUntilExists(DescribeStreamRequest request);

        PutRecordResponse put(PutRecordRequest request);

        PutRecordsResponse put(PutRecordsRequest request);

        ListShardsResponse list(ListShardsRequest request);

        GetShardIteratorResponse iterator(GetShardIteratorRequest request);

        GetRecordsResponse read(GetRecordsRequest request);

        void split(SplitShardRequest request);

        void merge(MergeShardsRequest request);
    }

    private record Sync(KinesisClient client) implements Calls {
        public void create(CreateStreamRequest request) {
            client.createStream(request);
        }

        public void waitUntilExists(DescribeStreamRequest request) {
            client.waiter().waitUntilStreamExists(request);
        }

        public PutRecordResponse put(PutRecordRequest request) {
            return client.putRecord(request);
        }

        public PutRecordsResponse put(PutRecordsRequest request) {
            return client.putRecords(request);
        }

        public ListShardsResponse list(ListShardsRequest request) {
            return client.listShards(request);
        }

        public GetShardIteratorResponse iterator(GetShardIteratorRequest request) {
            return client.getShardIterator(request);
        }

        public GetRecordsResponse read(GetRecordsRequest request) {
            return client.getRecords(request);
        }

        public void split(SplitShardRequest request) {
            client.splitShard(request);
        }

        public void merge(MergeShardsRequest request) {
            client.mergeShards(request);
        }
    }

    private record Async(KinesisAsyncClient client) implements Calls {
        public void create(CreateStreamRequest request) {
            client.createStream(request).join();
        }

        public void waitUntilExists(DescribeStreamRequest request) {
            client.waiter().waitUntilStreamExists(request).join();
        }

        public PutRecordResponse put(PutRecordRequest request) {
            return client.putRecord(request).join();
        }

        public PutRecordsResponse put(PutRecordsRequest request) {
            return client.putRecords(request).join();
        }

        public ListShardsResponse list(ListShardsRequest request) {
            return client.listShards(request).join();
        }

        public GetShardIteratorResponse iterator(GetShardIteratorRequest request) {
            return client.getShardIterator(request).join();
        }

        public GetRecordsResponse read(GetRecordsRequest request) {
            return client.getRecords(request).join();
        }

        public void split(SplitShardRequest request) {
            client.splitShard(request).join();
        }

        public void merge(MergeShardsRequest request) {
            client.mergeShards(request).join();
        }
    }

    private static void run(String stream, Calls calls) {
        calls.create(CreateStreamRequest.builder().streamName(stream).shardCount(2).build());
        waitUntilExists(stream, calls);
        passed("create");
        put(stream, calls);

        ListShardsResponse page = calls.list(ListShardsRequest.builder().streamName(stream).maxResults(1).build());
        ListShardsResponse rest = calls.list(ListShardsRequest.builder().nextToken(page.nextToken()).build());
        List<String> ids = List.of(page.shards().get(0).shardId(), rest.shards().get(0).shardId());
        expect(List.of(FIRST, "shardId-000000000001"), ids);
        passed("list shards");

        GetRecordsResponse found = read(stream, calls);
        expect(EVERYTHING, texts(found.records()));
        passed("read");
        reshard(stream, calls);
        refused(calls);
    }

    private static void put(String stream, Calls calls) {
        PutRecordRequest.Builder one = PutRecordRequest.builder().streamName(stream).partitionKey("a");
        expect(FIRST, calls.put(one.explicitHashKey("0").data(SdkBytes.fromUtf8String("one")).build()).shardId());
        passed("put record");
        List<PutRecordsRequestEntry> entries = EVERYTHING.subList(1, 4).stream().map(Client::entry).toList();
        PutRecordsRequest request = PutRecordsRequest.builder().streamName(stream).records(entries).build();
        expect(0, calls.put(request).failedRecordCount());
        passed("put records");
    }

    private static PutRecordsRequestEntry entry(String text) {
        SdkBytes data = SdkBytes.fromUtf8String(text);
        return PutRecordsRequestEntry.builder().data(data).partitionKey("b").explicitHashKey("1").build();
    }

    private static void reshard(String stream, Calls calls) {
        SplitShardRequest.Builder split = SplitShardRequest.builder().streamName(stream).shardToSplit(FIRST);
        calls.split(split.newStartingHashKey("85070591730234615865843651857942052864").build());
        waitUntilExists(stream, calls);
        passed("split");
        MergeShardsRequest.Builder merge = MergeShardsRequest.builder().streamName(stream);
        calls.merge(merge.shardToMerge(CHILDREN.get(0)).adjacentShardToMerge(CHILDREN.get(1)).build());
        waitUntilExists(stream, calls);
        List<Shard> shards = calls.list(ListShardsRequest.builder().streamName(stream).build()).shards();
        Shard merged = shards.get(shards.size() - 1);
        expect(CHILDREN, List.of(merged.parentShardId(), merged.adjacentParentShardId()));
        passed("merge");
        GetRecordsResponse closed = read(stream, calls);
        expect(null, closed.nextShardIterator());
        expect(CHILDREN, closed.childShards().stream().map(ChildShard::shardId).toList());
        passed("closed shard");
    }

    private static void refused(Calls calls) {
        PutRecordRequest.Builder request = PutRecordRequest.builder().streamName("none").partitionKey("a");
        try {
            calls.put(request.data(SdkBytes.fromUtf8String("x")).build());
            throw new IllegalStateException("a stream that is missing took a record");
        } catch (ResourceNotFoundException | CompletionException error) {
            Throwable cause = error instanceof CompletionException ? error.getCause() : error;
            expect(ResourceNotFoundException.class, cause.getClass());
            expect(true, cause.getMessage().contains("none"));
        }
        passed("typed error");
    }

    private static void subscribe(String stream, KinesisAsyncClient client, Calls calls) throws Exception {
        String arn = client.describeStreamSummary(each -> each.streamName(stream)).join()
            .streamDescriptionSummary().streamARN();
        String consumer = client.registerStreamConsumer(each -> each.streamARN(arn).consumerName("java")).join()
            .consumer().consumerARN();
        List<Record> records = new ArrayList<>();
        List<String> ends = new ArrayList<>();
        SubscribeToShardRequest request = SubscribeToShardRequest.builder().consumerARN(consumer).shardId(FIRST)
            .startingPosition(each -> each.type(ShardIteratorType.TRIM_HORIZON)).build();
        SubscribeToShardResponseHandler handler = SubscribeToShardResponseHandler.builder()
            .subscriber(SubscribeToShardResponseHandler.Visitor.builder().onSubscribeToShardEvent(event -> {
                records.addAll(event.records());
                event.childShards().forEach(each -> ends.add(each.shardId()));
            }).build())
            .build();
        client.subscribeToShard(request, handler).get(30, TimeUnit.SECONDS);
        expect(EVERYTHING, texts(records));
        expect(CHILDREN, ends);
        passed("fan-out");
    }

    private static GetRecordsResponse read(String stream, Calls calls) {
        GetShardIteratorRequest.Builder position = GetShardIteratorRequest.builder().streamName(stream).shardId(FIRST);
        String iterator = calls.iterator(position.shardIteratorType("TRIM_HORIZON").build()).shardIterator();
        return calls.read(GetRecordsRequest.builder().shardIterator(iterator).build());
    }

    private static void waitUntilExists(String stream, Calls calls) {
        calls.waitUntilExists(DescribeStreamRequest.builder().streamName(stream).build());
    }

    private static List<String> texts(List<Record> records) {
        return records.stream().map(each -> each.data().asString(StandardCharsets.UTF_8)).toList();
    }

    private static void expect(Object wanted, Object found) {
        if (!Objects.equals(wanted, found)) {
            throw new IllegalStateException("wanted " + wanted + ", found " + found);
        }
    }

    private static void passed(String check) {
        System.out.println("ok " + check);
    }
}
