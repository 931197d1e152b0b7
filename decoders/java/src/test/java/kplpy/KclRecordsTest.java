package kplpy;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import software.amazon.kinesis.retrieval.AggregatorUtil;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/** The records of each vector reach the application as the KCL gives them: AggregatorUtil comes first. */
class KclRecordsTest {
  private static final Instant ARRIVAL = Instant.ofEpochSecond(1_790_000_000);

  private static List<KinesisClientRecord> fromKcl(byte[] data) {
    KinesisClientRecord record =
        KinesisClientRecord.builder()
            .data(ByteBuffer.wrap(data))
            .partitionKey("outer")
            .sequenceNumber("7")
            .approximateArrivalTimestamp(ARRIVAL)
            .build();
    return new AggregatorUtil().deaggregate(List.of(record));
  }

  @TestFactory
  Stream<DynamicTest> deaggregateReturnsWhatTheVectorSays() throws IOException {
    return Vectors.all().stream()
        .filter(each -> !each.get("kind").asText().equals("aggregate"))
        .map(each -> DynamicTest.dynamicTest(each.get("name").asText(), () -> check(each)));
  }

  private static void check(JsonNode vector) {
    byte[] data = Vectors.data(vector);
    List<KinesisClientRecord> given = fromKcl(data);
    Deaggregator deaggregator = DeaggregatorTest.deaggregator(vector);
    assertEquals(1, given.size());
    if (vector.has("error")) {
      var error = assertThrows(DeaggregationException.class, () -> KclRecords.deaggregate(given, deaggregator));
      assertTrue(error.getMessage().startsWith("Kinesis record 7: "));
      return;
    }
    List<KinesisClientRecord> found = KclRecords.deaggregate(given, deaggregator);
    if (vector.get("kind").asText().equals("plain")) {
      assertEquals(1, found.size());
      assertSame(given.get(0), found.get(0));
      assertEquals(ByteBuffer.wrap(data), found.get(0).data());
      return;
    }
    for (int number = 0; number < found.size(); number++) {
      KinesisClientRecord record = found.get(number);
      assertEquals("7", record.sequenceNumber());
      assertEquals(ARRIVAL, record.approximateArrivalTimestamp());
      assertEquals(number, record.subSequenceNumber());
      assertTrue(record.aggregated());
    }
    if (vector.has("digest")) {
      assertEquals(vector.get("digest").asText(), digest(found));
      return;
    }
    assertEquals(vector.get("records").size(), found.size());
    for (int number = 0; number < found.size(); number++) {
      JsonNode expected = vector.get("records").get(number);
      KinesisClientRecord record = found.get(number);
      assertTrue(Vectors.isExpected(record.data(), expected.get("data")));
      assertEquals(expected.get("partition_key").asText(), record.partitionKey());
      assertEquals(expected.path("explicit_hash_key").asText(null), record.explicitHashKey());
      assertEquals(DeaggregatorTest.headers(expected), KclRecords.headers(record));
    }
  }

  private static String digest(List<KinesisClientRecord> records) {
    MessageDigest digest = Vectors.sha256();
    records.forEach(each -> Vectors.addTo(digest, each.data(), each.partitionKey(), each.explicitHashKey()));
    return HexFormat.of().formatHex(digest.digest());
  }

  /** decoders/test compares the file with what is recorded in tests/parity. */
  @Test
  void theKclReadsAggregatesByItself() throws IOException {
    StringBuilder answers = new StringBuilder();
    for (JsonNode vector : Vectors.all()) {
      if (vector.get("kind").asText().equals("aggregate") && !vector.has("error")) {
        List<KinesisClientRecord> given = fromKcl(Vectors.data(vector));
        List<KinesisClientRecord> found = KclRecords.deaggregate(given);
        assertEquals(given, found);
        for (int number = 0; number < found.size(); number++) {
          assertEquals(number, found.get(number).subSequenceNumber());
          assertNull(KclRecords.headers(found.get(number)));
        }
        answers.append(vector.get("name").asText() + " " + found.size() + " " + digest(found) + "\n");
      }
    }
    Files.writeString(Path.of("target/kcl.txt"), answers);
  }
}
