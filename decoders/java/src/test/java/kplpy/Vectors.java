package kplpy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;

/** Reads ../vectors/vectors.jsonl, whose README describes a line. */
final class Vectors {
  private Vectors() {}

  static List<JsonNode> all() throws IOException {
    ObjectMapper json = new ObjectMapper();
    List<JsonNode> found = new ArrayList<>();
    for (String line : Files.readAllLines(Path.of("../vectors/vectors.jsonl"))) {
      found.add(json.readTree(line));
    }
    return found;
  }

  static byte[] data(JsonNode vector) {
    ByteArrayOutputStream data = new ByteArrayOutputStream();
    JsonNode given = vector.get("data");
    Iterable<JsonNode> parts = given.isArray() ? given : List.of(given);
    for (JsonNode part : parts) {
      byte[] bytes = Base64.getDecoder().decode(part.isTextual() ? part.asText() : part.get("repeat").asText());
      int size = part.isTextual() ? bytes.length : part.get("size").asInt();
      for (int done = 0; done < size; done += bytes.length) {
        data.write(bytes, 0, Math.min(bytes.length, size - done));
      }
    }
    return data.toByteArray();
  }

  static boolean isExpected(ByteBuffer data, JsonNode expected) {
    byte[] bytes = bytes(data);
    if (expected.isTextual()) {
      return Base64.getEncoder().encodeToString(bytes).equals(expected.asText());
    }
    String digest = HexFormat.of().formatHex(sha256().digest(bytes));
    return bytes.length == expected.get("size").asInt() && digest.equals(expected.get("sha256").asText());
  }

  static void addTo(MessageDigest digest, ByteBuffer data, String partitionKey, String explicitHashKey) {
    String hashKey = explicitHashKey == null ? "-" : explicitHashKey;
    for (byte[] part : List.of(bytes(data), utf8(partitionKey), utf8(hashKey))) {
      digest.update(utf8(part.length + ":"));
      digest.update(part);
    }
  }

  static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (GeneralSecurityException impossible) {
      throw new IllegalStateException(impossible);
    }
  }

  private static byte[] bytes(ByteBuffer data) {
    byte[] bytes = new byte[data.remaining()];
    data.duplicate().get(bytes);
    return bytes;
  }

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
