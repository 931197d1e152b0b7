package kplpy;

import com.github.luben.zstd.ZstdInputStreamNoFinalizer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32;
import java.util.zip.GZIPInputStream;

/**
 * Reads what kplpy writes into a Kinesis stream: aggregates in the KPL's format, compressed batches and plain records.
 *
 * <p>docs/format.md describes the formats. This class needs the JDK, and zstd-jni for batches with zstd. Its objects are
 * immutable, so threads may share them.
 */
public final class Deaggregator {
  /** Bytes that a compressed batch may have uncompressed, by default: 16 MiB. */
  public static final int MAX_UNCOMPRESSED = 16 << 20;

  /** User records that a Kinesis record may hold, by default; and a fourth of the headers. */
  public static final int MAX_RECORDS = 1 << 18;

  private static final byte[] AGGREGATE = {(byte) 0xF3, (byte) 0x89, (byte) 0x9A, (byte) 0xC2};
  private static final byte[] BATCH = {(byte) 0xCB, 'k', 'p', 'b'};
  private static final int DIGEST_SIZE = 16;
  private static final int USUAL_WINDOW_LOG = 23; // a zstd decoder should take 8 MiB (RFC 8878, 3.1.1.1.2)

  private final int maxUncompressed;
  private final int maxRecords;

  public Deaggregator() {
    this(MAX_UNCOMPRESSED, MAX_RECORDS);
  }

  public Deaggregator(int maxUncompressed, int maxRecords) {
    if (maxUncompressed < 1 || maxRecords < 1) {
      throw new IllegalArgumentException("limits must be 1 or more: " + maxUncompressed + ", " + maxRecords);
    }
    this.maxUncompressed = maxUncompressed;
    this.maxRecords = maxRecords;
  }

  /**
   * One record as the producer put it.
   *
   * @param data may share memory with the Kinesis record's data
   * @param partitionKey null for a plain record: the Kinesis record has the key
   * @param explicitHashKey a decimal number of up to 128 bits, or null
   * @param headers null for a record without headers; a header may have no value: null
   * @param subSequenceNumber position in the Kinesis record, from 0
   * @param aggregated false for a plain record
   */
  public record UserRecord(
      ByteBuffer data,
      String partitionKey,
      String explicitHashKey,
      Map<String, String> headers,
      long subSequenceNumber,
      boolean aggregated) {}

  /**
   * Returns the user records in the data of one Kinesis record. A plain record gives one; so does damaged data.
   *
   * @throws DeaggregationException for a batch above a limit, or of a later kplpy
   */
  public List<UserRecord> deaggregate(ByteBuffer buffer) {
    byte[] data = new byte[buffer.remaining()];
    buffer.duplicate().get(data);
    return deaggregate(data);
  }

  /** Does the same for an array. */
  public List<UserRecord> deaggregate(byte[] data) {
    List<UserRecord> records = null;
    try {
      if (isAggregate(data)) {
        records = userRecords(new Message(data, AGGREGATE.length, data.length - DIGEST_SIZE));
      } else {
        byte[] message = batchMessage(data);
        if (message != null) {
          records = userRecords(new Message(message, 0, message.length));
          records = records.isEmpty() ? null : records;
        }
      }
    } catch (MalformedException malformed) {
      records = null;
    }
    return records != null ? records : List.of(new UserRecord(ByteBuffer.wrap(data), null, null, null, 0, false));
  }

  private static boolean isAggregate(byte[] data) {
    int end = data.length - DIGEST_SIZE;
    if (end <= AGGREGATE.length || !startsWith(data, AGGREGATE)) {
      return false;
    }
    try {
      MessageDigest md5 = MessageDigest.getInstance("MD5");
      md5.update(data, AGGREGATE.length, end - AGGREGATE.length);
      return Arrays.equals(md5.digest(), 0, DIGEST_SIZE, data, end, data.length);
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException(impossible); // every Java has MD5
    }
  }

  private static boolean startsWith(byte[] data, byte[] magic) {
    return data.length >= magic.length && Arrays.equals(data, 0, magic.length, magic, 0, magic.length);
  }

  /** Returns the message in a compressed batch, or null for data that is none. */
  private byte[] batchMessage(byte[] data) {
    if (!startsWith(data, BATCH)) {
      return null;
    }
    long size = 0;
    int start = 10;
    for (int shift = 0; ; shift += 7) {
      if (start >= Math.min(data.length, 15)) {
        return null;
      }
      byte next = data[start++];
      size |= (long) (next & 0x7F) << shift;
      if (next >= 0) {
        break;
      }
    }
    int version = data[4] & 0xFF;
    int codec = data[5] & 0xFF;
    if (version != 1 || codec > 2) {
      String found = "a compressed batch of version " + version + " and codec " + codec;
      throw new DeaggregationException(DeaggregationException.Kind.UNREADABLE, found + ": a later kplpy's");
    }
    if (size > maxUncompressed) {
      String found = "a compressed batch of " + size + " bytes uncompressed: the limit is " + maxUncompressed;
      throw new DeaggregationException(DeaggregationException.Kind.TOO_LARGE, found);
    }
    byte[] message = decompress(data, start, codec, (int) size);
    if (message == null || message.length != size) {
      return null;
    }
    CRC32 crc = new CRC32();
    crc.update(message);
    return (int) crc.getValue() == ByteBuffer.wrap(data).getInt(6) ? message : null;
  }

  /** Returns up to size + 1 bytes, so that longer content is seen. Returns null for damaged content. */
  private static byte[] decompress(byte[] data, int start, int codec, int size) {
    if (codec == 0) {
      return Arrays.copyOfRange(data, start, data.length);
    }
    InputStream payload = new ByteArrayInputStream(data, start, data.length - start);
    try (InputStream content = codec == 1 ? new GZIPInputStream(payload) : Zstd.open(payload, size)) {
      return content.readNBytes(size + 1);
    } catch (IOException damaged) {
      return null;
    } catch (LinkageError missing) {
      String found = "a batch compressed with zstd: zstd-jni is not on the class path (" + missing + ")";
      throw new DeaggregationException(DeaggregationException.Kind.UNREADABLE, found);
    }
  }

  /** A class of its own, so that zstd-jni is loaded when it is needed. */
  private static final class Zstd {
    static InputStream open(InputStream payload, int size) throws IOException {
      int windowLog = Math.max(USUAL_WINDOW_LOG, 32 - Integer.numberOfLeadingZeros(size));
      return new ZstdInputStreamNoFinalizer(payload).setLongMax(windowLog);
    }
  }

  /** Does as the KCL: a record with a key that is not in the table, and all records after it, are lost. */
  private List<UserRecord> userRecords(Message message) throws MalformedException {
    List<String> keys = new ArrayList<>();
    List<String> hashKeys = new ArrayList<>();
    List<InnerRecord> inner = new ArrayList<>();
    int headers = 0;
    while (message.next()) {
      if (message.isText(1)) {
        keys.add(message.text());
      } else if (message.isText(2)) {
        hashKeys.add(message.text());
      } else if (message.isText(3)) {
        InnerRecord record = new InnerRecord(message.content());
        headers += record.tags;
        inner.add(record);
      }
      int most = Math.max(inner.size(), Math.max(keys.size(), hashKeys.size()));
      if (Math.max(most, (headers + 3) / 4) > maxRecords) {
        String found = "more than " + maxRecords + " user records in a Kinesis record";
        throw new DeaggregationException(DeaggregationException.Kind.TOO_MANY_RECORDS, found);
      }
    }
    List<UserRecord> records = new ArrayList<>(inner.size());
    for (InnerRecord each : inner) {
      boolean hasHashKey = each.hashKey != null;
      if (!isIndex(each.key, keys) || (hasHashKey && !isIndex(each.hashKey, hashKeys))) {
        break;
      }
      String hashKey = hasHashKey ? hashKeys.get(each.hashKey.intValue()) : null;
      String key = keys.get(each.key.intValue());
      records.add(new UserRecord(each.data, key, hashKey, each.headers, records.size(), true));
    }
    return records;
  }

  private static boolean isIndex(long index, List<String> table) {
    return Long.compareUnsigned(index, table.size()) < 0;
  }

  private static final class InnerRecord {
    Long key;
    Long hashKey;
    ByteBuffer data;
    Map<String, String> headers;
    int tags;

    InnerRecord(Message record) throws MalformedException {
      while (record.next()) {
        if (record.isVarint(1)) {
          key = record.varint;
        } else if (record.isVarint(2)) {
          hashKey = record.varint;
        } else if (record.isText(3)) {
          data = record.bytes();
        } else if (record.isText(4)) {
          addHeader(record.content());
        }
      }
      if (key == null || data == null) {
        throw new MalformedException();
      }
    }

    /** The last of several tags with the same key counts. */
    private void addHeader(Message tag) throws MalformedException {
      String name = null;
      String value = null;
      while (tag.next()) {
        if (tag.isText(1)) {
          name = tag.text();
        } else if (tag.isText(2)) {
          value = tag.text();
        }
      }
      if (name == null) {
        throw new MalformedException();
      }
      if (headers == null) {
        headers = new LinkedHashMap<>();
      }
      headers.put(name, value);
      tags++;
    }
  }

  private static final class MalformedException extends Exception {
    MalformedException() {
      super(null, null, false, false);
    }
  }

  /** The fields of a protobuf message, one after the other. */
  private static final class Message {
    private final byte[] bytes;
    private final int end;
    private int at;
    private long field;
    private int type;
    private int start;
    private long varint;

    Message(byte[] bytes, int start, int end) {
      this.bytes = bytes;
      this.at = start;
      this.end = end;
    }

    boolean next() throws MalformedException {
      if (at == end) {
        return false;
      }
      long tag = readVarint();
      field = tag >>> 3;
      type = (int) tag & 7;
      if (field == 0) {
        throw new MalformedException();
      }
      switch (type) {
        case 0 -> varint = readVarint();
        case 1 -> skip(8);
        case 2 -> skip(readVarint());
        case 5 -> skip(4);
        default -> throw new MalformedException();
      }
      return true;
    }

    boolean isVarint(int number) {
      return field == number && type == 0;
    }

    boolean isText(int number) {
      return field == number && type == 2;
    }

    String text() {
      return new String(bytes, start, at - start, StandardCharsets.UTF_8);
    }

    ByteBuffer bytes() {
      return ByteBuffer.wrap(bytes, start, at - start).slice();
    }

    Message content() {
      return new Message(bytes, start, at);
    }

    private void skip(long size) throws MalformedException {
      if (size < 0 || size > end - at) {
        throw new MalformedException();
      }
      start = at;
      at += (int) size;
    }

    private long readVarint() throws MalformedException {
      long value = 0;
      for (int shift = 0; shift < 70 && at < end; shift += 7) {
        byte next = bytes[at++];
        value |= (long) (next & 0x7F) << shift;
        if (next >= 0) {
          return value;
        }
      }
      throw new MalformedException();
    }
  }
}
