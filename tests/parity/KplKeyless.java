// Puts records with and without partition keys with the KPL: kpl_keyless.py runs this program.
// Arguments: the port of a local Kinesis with HTTPS on 127.0.0.1, a properties file of KPL settings, and a directory.
// In: a line for each round: stream, number of records, "keys" or "none". Out: its outcome, a line of JSON.
// After the last round the names of the metrics that have values, with those of their dimensions, as a line of JSON.

import com.google.common.util.concurrent.ListenableFuture;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.Attempt;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.Metric;
import software.amazon.kinesis.producer.UserRecordFailedException;
import software.amazon.kinesis.producer.UserRecordResult;

public class KplKeyless {
    static int rounds;

    public static void main(String[] arguments) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err); // whatever else prints
        int port = Integer.parseInt(arguments[0]);
        KinesisProducerConfiguration config = KinesisProducerConfiguration.fromPropertiesFile(arguments[1])
            .setKinesisEndpoint("127.0.0.1").setKinesisPort(port)
            .setStsEndpoint("127.0.0.1").setStsPort(port)
            .setCloudwatchEndpoint("127.0.0.1").setCloudwatchPort(port)
            .setVerifyCertificate(false)
            .setRegion("us-east-1")
            .setTempDirectory(arguments[2])
            .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local")));
        KinesisProducer producer = new KinesisProducer(config);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.trim().split(" ");
            out.println(round(producer, words[0], Integer.parseInt(words[1]), words[2].equals("keys")));
        }
        out.println("[" + String.join(", ", metrics(producer)) + "]");
        producer.destroy();
        System.exit(0);
    }

    static TreeSet<String> metrics(KinesisProducer producer) throws Exception {
        TreeSet<String> names = new TreeSet<>();
        for (Metric each : producer.getMetrics()) {
            names.add("\"" + each.getName() + " " + String.join("/", each.getDimensions().keySet()) + "\"");
        }
        return names;
    }

    static String round(KinesisProducer producer, String stream, int records, boolean keys) throws Exception {
        List<ListenableFuture<UserRecordResult>> futures = new ArrayList<>();
        Map<String, Integer> outcomes = new TreeMap<>();
        for (int n = records * rounds; n < records * (rounds + 1); n++) {
            ByteBuffer data = ByteBuffer.wrap(("record " + n).getBytes());
            try {
                futures.add(keys
                    ? producer.addUserRecord(stream, "key " + n % 50, data)
                    : producer.addUserRecord(stream, data));
            } catch (IllegalArgumentException error) {
                outcomes.merge("refused at the call: " + error.getMessage(), 1, Integer::sum);
            }
        }
        rounds++;
        for (ListenableFuture<UserRecordResult> future : futures) {
            try {
                future.get();
                outcomes.merge("delivered", 1, Integer::sum);
            } catch (ExecutionException error) {
                List<Attempt> attempts = ((UserRecordFailedException) error.getCause()).getResult().getAttempts();
                outcomes.merge(attempts.get(attempts.size() - 1).getErrorCode(), 1, Integer::sum);
            }
        }
        List<String> parts = new ArrayList<>();
        for (Map.Entry<String, Integer> each : outcomes.entrySet()) {
            parts.add("\"" + each.getKey() + "\": " + each.getValue());
        }
        return "{" + String.join(", ", parts) + "}";
    }
}
