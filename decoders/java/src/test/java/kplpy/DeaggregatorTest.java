package kplpy;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

class DeaggregatorTest {
  static Deaggregator deaggregator(JsonNode vector) {
    return new Deaggregator(
        vector.path("max_uncompressed").asInt(Deaggregator.MAX_UNCOMPRESSED),
        vector.path("max_records").asInt(Deaggregator.MAX_RECORDS));
  }

  @TestFactory
  Stream<DynamicTest> deaggregateReturnsWhatTheVectorSays() throws IOException {
    return Vectors.all().stream().map(each -> DynamicTest.dynamicTest(each.get("name").asText(), () -> check(each)));
  }

  private static void check(JsonNode vector) {
    byte[] data = Vectors.data(vector);
    if (vector.has("error")) {
      var error = assertThrows(DeaggregationException.class, () -> deaggregator(vector).deaggregate(data));
      assertEquals(vector.get("error").asText().toUpperCase(Locale.ROOT), error.kind().name());
      return;
    }
    List<Deaggregator.UserRecord> found = deaggregator(vector).deaggregate(data);
    boolean isPlain = vector.get("kind").asText().equals("plain");
    for (int number = 0; number < found.size(); number++) {
      assertEquals(number, found.get(number).subSequenceNumber());
      assertEquals(!isPlain, found.get(number).aggregated());
    }
    if (isPlain) {
      assertEquals(1, found.size());
      assertEquals(ByteBuffer.wrap(data), found.get(0).data());
      assertNull(found.get(0).partitionKey());
      assertNull(found.get(0).headers());
    } else if (vector.has("digest")) {
      assertEquals(vector.get("count").asInt(), found.size());
      MessageDigest digest = Vectors.sha256();
      found.forEach(each -> Vectors.addTo(digest, each.data(), each.partitionKey(), each.explicitHashKey()));
      assertEquals(vector.get("digest").asText(), HexFormat.of().formatHex(digest.digest()));
    } else {
      assertEquals(vector.get("records").size(), found.size());
      for (int number = 0; number < found.size(); number++) {
        JsonNode expected = vector.get("records").get(number);
        Deaggregator.UserRecord record = found.get(number);
        assertTrue(Vectors.isExpected(record.data(), expected.get("data")));
        assertEquals(expected.get("partition_key").asText(), record.partitionKey());
        assertEquals(expected.path("explicit_hash_key").asText(null), record.explicitHashKey());
        assertEquals(headers(expected), record.headers());
      }
    }
  }

  static Map<String, String> headers(JsonNode record) {
    if (!record.has("headers")) {
      return null;
    }
    Map<String, String> headers = new HashMap<>();
    record.get("headers").fields().forEachRemaining(each -> headers.put(each.getKey(), each.getValue().textValue()));
    return headers;
  }

  @Test
  void theBufferIsLeftAsItWas() throws IOException {
    for (JsonNode vector : Vectors.all()) {
      if (vector.get("name").asText().equals("batch-gzip-headers")) {
        byte[] data = Vectors.data(vector);
        ByteBuffer larger = ByteBuffer.allocate(data.length + 10).position(5).put(data).limit(data.length + 5).position(5);
        for (int time = 0; time < 2; time++) {
          assertEquals(4, new Deaggregator().deaggregate(larger.asReadOnlyBuffer()).size());
          assertEquals(4, new Deaggregator().deaggregate(larger).size());
        }
        assertEquals(5, larger.position());
      }
    }
  }

  @Test
  void limitsBelowOneAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> new Deaggregator(0, 1));
    assertThrows(IllegalArgumentException.class, () -> new Deaggregator(1, 0));
  }
}
