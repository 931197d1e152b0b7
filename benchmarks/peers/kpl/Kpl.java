import com.google.common.util.concurrent.ListenableFuture;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Properties;
import java.util.Random;
import java.util.UUID;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordResult;

/**
 * The KPL as a driver: see peers/driver.py for what is asked and answered. One line a run on stdin:
 * "records size keys window". System properties are its settings.
 */
public final class Kpl {
    public static void main(String[] arguments) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err); // whatever else prints
        Properties given = System.getProperties();
        String stream = given.getProperty("stream");
        int port = Integer.getInteger("port");
        KinesisProducerConfiguration config = new KinesisProducerConfiguration()
            .setKinesisEndpoint("127.0.0.1").setKinesisPort(port)
            .setStsEndpoint("127.0.0.1").setStsPort(port)
            .setCloudwatchEndpoint("127.0.0.1").setCloudwatchPort(port)
            .setVerifyCertificate(false)
            .setRegion("us-east-1")
            .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local")))
            .setMetricsLevel("none")
            .setLogLevel("warning")
            .setRateLimit(Long.getLong("rateLimit", 1_000_000))
            .setRecordTtl(60_000)
            .setEnableOldestFutureTracker(Boolean.getBoolean("tracker"))
            .setAggregationEnabled(!Boolean.getBoolean("unaggregated"))
            .setAggregationMaxSize(Long.getLong("aggregationMaxSize", 51200))
            .setCollectionMaxSize(Long.getLong("collectionMaxSize", 5 << 20))
            .setRecordMaxBufferedTime(Long.getLong("recordMaxBufferedTime", 100))
            .setMaxConnections(Long.getLong("maxConnections", 24))
            .setThreadingModel(given.getProperty("threadingModel", "PER_REQUEST"));
        if (Integer.getInteger("threadPoolSize") != null) {
            config.setThreadPoolSize(Integer.getInteger("threadPoolSize"));
        }
        if (given.getProperty("tempDirectory") != null) {
            config.setTempDirectory(given.getProperty("tempDirectory"));
        }
        KinesisProducer producer = new KinesisProducer(config);
        producer.addUserRecord(stream, "warm", ByteBuffer.wrap(new byte[] {1})).get();
        out.println("{\"ready\": true}");
        BufferedReader asked = new BufferedReader(new InputStreamReader(System.in));
        for (String line = asked.readLine(); line != null; line = asked.readLine()) {
            String[] words = line.trim().split(" ");
            int records = Integer.parseInt(words[0]);
            byte[] data = new byte[Integer.parseInt(words[1])];
            java.util.Arrays.fill(data, (byte) 'x');
            String[] keys = keys(words[2], records);
            int window = Integer.parseInt(words[3]);
            out.printf(
                "{\"records\": %d, \"seconds\": %.6f}%n", records, run(producer, stream, data, keys, window) / 1e9);
        }
        producer.destroy(); // the end of stdin: end the daemon too
        System.exit(0);
    }

    private static String[] keys(String kind, int records) {
        Random random = new Random(7);
        int distinct = kind.equals("uuid") ? records : 10_000;
        String[] some = new String[distinct];
        for (int n = 0; n < distinct; n++) {
            some[n] = (kind.equals("uuid") ? UUID.randomUUID() : new UUID(random.nextLong(), random.nextLong())).toString();
        }
        String[] keys = new String[records];
        for (int n = 0; n < records; n++) {
            keys[n] = some[n % distinct];
        }
        return keys;
    }

    /** Nanoseconds from the first put to the last confirmation; at most `window` records are unconfirmed. */
    private static long run(KinesisProducer producer, String stream, byte[] data, String[] keys, int window)
        throws Exception {
        ArrayDeque<ListenableFuture<UserRecordResult>> pending = new ArrayDeque<>(window + 1);
        long started = System.nanoTime();
        for (String key : keys) {
            pending.add(producer.addUserRecord(stream, key, ByteBuffer.wrap(data)));
            if (pending.size() > window) {
                confirm(pending.poll());
            }
        }
        for (ListenableFuture<UserRecordResult> each : pending) {
            confirm(each);
        }
        return System.nanoTime() - started;
    }

    private static void confirm(ListenableFuture<UserRecordResult> future) throws Exception {
        if (!future.get().isSuccessful()) {
            throw new IllegalStateException("a record was not delivered");
        }
    }
}
