package outside;

import com.google.common.util.concurrent.ListenableFuture;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordResult;

/**
 * The KPL against the local Kinesis: `java outside.Kpl STREAM AUTO_STREAM RECORDS FOLDER`. See tests/outside/README.md.
 * It puts "record N" with the key "key-N" to the first stream, and without a key to the second.
 * Its daemon speaks only TLS. FOLDER is where it is unpacked.
 */
public final class Kpl {
    public static void main(String[] arguments) throws Exception {
        URI endpoint = URI.create(System.getenv("AWS_ENDPOINT_URL_KINESIS"));
        int port = endpoint.getPort();
        KinesisProducer producer = new KinesisProducer(new KinesisProducerConfiguration()
            .setKinesisEndpoint(endpoint.getHost()).setKinesisPort(port)
            .setStsEndpoint(endpoint.getHost()).setStsPort(port)
            .setCloudwatchEndpoint(endpoint.getHost()).setCloudwatchPort(port)
            .setVerifyCertificate(false)
            .setRegion(System.getenv("AWS_REGION"))
            .setMetricsLevel("none")
            .setTempDirectory(arguments[3])
            .setLogLevel("warning"));
        int records = Integer.parseInt(arguments[2]);
        try {
            confirm(putAll(producer, arguments[0], records, true));
            System.out.println("ok keyed");
            confirm(putAll(producer, arguments[1], records, false));
            System.out.println("ok AUTO without keys");
        } finally {
            producer.destroy();
        }
        System.exit(0);
    }

    private static List<ListenableFuture<UserRecordResult>> putAll(
        KinesisProducer producer, String stream, int records, boolean isKeyed) {
        List<ListenableFuture<UserRecordResult>> futures = new ArrayList<>();
        for (int number = 0; number < records; number++) {
            ByteBuffer data = ByteBuffer.wrap(("record " + number).getBytes(StandardCharsets.UTF_8));
            futures.add(isKeyed
                ? producer.addUserRecord(stream, "key-" + number, data)
                : producer.addUserRecord(stream, data));
        }
        return futures;
    }

    private static void confirm(List<ListenableFuture<UserRecordResult>> futures) throws Exception {
        for (ListenableFuture<UserRecordResult> each : futures) {
            if (!each.get().isSuccessful()) {
                throw new IllegalStateException("a record was not delivered");
            }
        }
    }
}
