package kplpy;

/** A Kinesis record that is not taken apart. None of its user records is returned. */
public final class DeaggregationException extends RuntimeException {
  public enum Kind {
    /** A compressed batch of more bytes, uncompressed, than the limit. */
    TOO_LARGE,
    /** More user records than the limit. */
    TOO_MANY_RECORDS,
    /** A compressed batch of a later kplpy; or one with zstd, and zstd-jni is not on the class path. */
    UNREADABLE
  }

  private final Kind kind;

  DeaggregationException(Kind kind, String message) {
    super(message);
    this.kind = kind;
  }

  public Kind kind() {
    return kind;
  }
}
