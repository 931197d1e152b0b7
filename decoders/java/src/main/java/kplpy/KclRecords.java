package kplpy;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/**
 * Takes apart the compressed batches among the records that KCL 3 gives to processRecords.
 *
 * <p>The KCL takes apart aggregates in the KPL's format by itself, and gives a compressed batch as one record.
 *
 * <p>The KCL counts a compressed batch as one record. So a checkpoint must not lie within a batch: call {@code
 * checkpointer.checkpoint()} after all records, or {@code checkpoint(record.sequenceNumber())} after all records with
 * that sequence number.
 */
public final class KclRecords {
  private static final Deaggregator USUAL = new Deaggregator();

  private KclRecords() {}

  /** Does as the method with a Deaggregator, with the usual limits. */
  public static List<KinesisClientRecord> deaggregate(List<KinesisClientRecord> records) {
    return deaggregate(records, USUAL);
  }

  /**
   * Returns the records in order, each compressed batch replaced by its user records.
   *
   * <p>A user record has its own data, partition key, explicit hash key and sub-sequence number, the batch's sequence
   * number and arrival time, and is marked as aggregated. {@link #headers} returns its headers. Other records are
   * returned as they are.
   *
   * @throws DeaggregationException for a batch above a limit, or of a later kplpy. Its message names the sequence
   *     number. The KCL skips the records of a processRecords that throws, so catch it there.
   */
  public static List<KinesisClientRecord> deaggregate(List<KinesisClientRecord> records, Deaggregator deaggregator) {
    List<KinesisClientRecord> found = new ArrayList<>(records.size());
    for (KinesisClientRecord record : records) {
      if (record.aggregated() || record.data() == null) {
        found.add(record);
      } else {
        add(found, record, deaggregator);
      }
    }
    return found;
  }

  private static void add(List<KinesisClientRecord> found, KinesisClientRecord record, Deaggregator deaggregator) {
    List<Deaggregator.UserRecord> inner;
    try {
      inner = deaggregator.deaggregate(record.data());
    } catch (DeaggregationException error) {
      throw new DeaggregationException(error.kind(), "Kinesis record " + record.sequenceNumber() + ": " + error.getMessage());
    }
    for (Deaggregator.UserRecord each : inner) {
      found.add(each.aggregated() ? new OfABatch(record, each) : record);
    }
  }

  /**
   * Returns the headers of a record, or null if it has none. Of a batch's records the map may have null values.
   *
   * <p>The KCL does not keep the headers of records in aggregates. {@link Deaggregator} returns them, given the data of
   * the Kinesis record.
   */
  public static Map<String, String> headers(KinesisClientRecord record) {
    return record instanceof OfABatch user ? user.headers : null;
  }

  private static final class OfABatch extends KinesisClientRecord {
    private final Map<String, String> headers;

    OfABatch(KinesisClientRecord batch, Deaggregator.UserRecord user) {
      super(
          batch.sequenceNumber(),
          batch.approximateArrivalTimestamp(),
          user.data(),
          user.partitionKey(),
          batch.encryptionType(),
          user.subSequenceNumber(),
          user.explicitHashKey(),
          true,
          batch.schema());
      this.headers = user.headers();
    }
  }
}
