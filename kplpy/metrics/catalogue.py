"""The table of all metrics: names, units, levels and meanings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["Count", "Bytes", "Milliseconds", "Seconds", "Percent", "Bytes/Second", "Count/Second"]
Level = Literal["summary", "detailed"]
Granularity = Literal["global", "stream", "shard"]
Kind = Literal["counter", "gauge", "distribution"]

DEPTHS: dict[str, int] = {"global": 0, "stream": 1, "shard": 2}

_SCALES: dict[str, float] = {"Milliseconds": 0.001, "Percent": 0.01}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. docs/metrics.md repeats the first columns.

    name: name in CloudWatch and in `Metrics.find`.
    level: lowest metrics_level at which sinks get it.
    finest: finest granularity at which it is counted.
    kind: for sinks that add windows up. A counter exports the sum of the values, a gauge the latest value, a
        distribution the sum and the number of values.
    meaning: what one value is.
    prometheus: name in Prometheus, without the `_total` that prometheus_client adds to a counter. Empty: not exported.
    opentelemetry: name in OpenTelemetry. Empty: not exported.
    kpl: the KPL has the metric and counts it in the same way.
    coded: it also has the dimension ErrorCode.
    flag: every value is 0 or 1.
    percentiles: it has a histogram, by stream.
    """

    name: str
    unit: Unit
    level: Level
    finest: Granularity
    kind: Kind
    meaning: str
    prometheus: str = ""
    opentelemetry: str = ""
    kpl: bool = True
    coded: bool = False
    flag: bool = False
    percentiles: bool = False

    @property
    def scale(self) -> float:
        """The factor from `unit` to the base unit of Prometheus and OpenTelemetry: seconds, or a ratio."""
        return _SCALES.get(self.unit, 1.0)


_ALL = (
    Metric(
        "UserRecordsReceived",
        "Count",
        "detailed",
        "stream",
        "counter",
        "1 for each accepted user record",
        prometheus="kplpy_user_records_received",
        opentelemetry="kplpy.user_records.received",
        flag=True,
    ),
    Metric(
        "UserRecordsPending",
        "Count",
        "detailed",
        "stream",
        "gauge",
        "sampled: accepted user records without an outcome",
        prometheus="kplpy_user_records_pending",
        opentelemetry="kplpy.user_records.pending",
    ),
    Metric(
        "UserRecordsPut",
        "Count",
        "summary",
        "shard",
        "counter",
        "1 for each delivered user record, 0 for each failed one; the average is the success rate",
        prometheus="kplpy_user_records_put",
        opentelemetry="messaging.client.sent.messages",
        flag=True,
    ),
    Metric(
        "UserRecordsDataPut",
        "Bytes",
        "detailed",
        "shard",
        "counter",
        "data of each delivered user record",
        prometheus="kplpy_user_records_data_put_bytes",
        opentelemetry="kplpy.user_records.size",
    ),
    Metric(
        "UserRecordExpired",
        "Count",
        "summary",
        "shard",
        "counter",
        "1 for each user record that expired before its delivery",
        prometheus="kplpy_user_records_expired",
        opentelemetry="kplpy.user_records.expired",
        flag=True,
    ),
    Metric(
        "KinesisRecordsPut",
        "Count",
        "summary",
        "shard",
        "counter",
        "1 for each entry that a PutRecords response accepts, 0 for each that it refuses",
        prometheus="kplpy_kinesis_records_put",
        opentelemetry="kplpy.kinesis_records.put",
        flag=True,
    ),
    Metric(
        "KinesisRecordsDataPut",
        "Bytes",
        "detailed",
        "shard",
        "counter",
        "data of each accepted Kinesis record",
        prometheus="kplpy_kinesis_records_data_put_bytes",
        opentelemetry="kplpy.kinesis_records.size",
    ),
    Metric(
        "ErrorsByCode",
        "Count",
        "summary",
        "shard",
        "counter",
        "1 for each refused entry, and 1 for each request that failed as a whole (without a shard)",
        prometheus="kplpy_errors",
        opentelemetry="kplpy.errors",
        coded=True,
        flag=True,
    ),
    Metric(  # not exported to sinks that add up: it is the sum of ErrorsByCode
        "AllErrors",
        "Count",
        "summary",
        "shard",
        "counter",
        "1 for each refused entry and each failed request, 0 for each accepted entry",
        flag=True,
    ),
    Metric(
        "RetriesPerRecord",
        "Count",
        "detailed",
        "shard",
        "counter",
        "for each user record, when it gets its outcome: attempts after the first",
        prometheus="kplpy_user_record_retries",
        opentelemetry="kplpy.user_records.retries",
    ),
    Metric(
        "BufferingTime",
        "Milliseconds",
        "summary",
        "shard",
        "distribution",
        "for each attempt of each user record: time from its arrival, or from the end of the previous attempt, until "
        "it was sent; counted when the record gets its outcome",
        prometheus="kplpy_buffering_time_seconds",
        opentelemetry="kplpy.buffering.time",
    ),
    Metric(
        "RequestTime",
        "Milliseconds",
        "detailed",
        "stream",
        "distribution",
        "duration of each PutRecords request, until its response or failure",
        prometheus="kplpy_request_time_seconds",
        opentelemetry="kplpy.request.time",
    ),
    Metric(
        "UserRecordsPerKinesisRecord",
        "Count",
        "detailed",
        "shard",
        "distribution",
        "user records in each Kinesis record that was sent",
        prometheus="kplpy_user_records_per_kinesis_record",
        opentelemetry="kplpy.kinesis_record.user_records",
    ),
    Metric(
        "KinesisRecordsPerPutRecordsRequest",
        "Count",
        "detailed",
        "stream",
        "distribution",
        "entries of each request",
        prometheus="kplpy_kinesis_records_per_request",
        opentelemetry="kplpy.request.kinesis_records",
    ),
    Metric(
        "UserRecordsPerPutRecordsRequest",
        "Count",
        "detailed",
        "stream",
        "distribution",
        "user records in each request",
        prometheus="kplpy_user_records_per_request",
        opentelemetry="kplpy.request.user_records",
    ),
    # --- kplpy's own ---
    Metric(
        "TimeToAnswer",
        "Milliseconds",
        "detailed",
        "shard",
        "distribution",
        "time from each user record's arrival to its outcome",
        prometheus="kplpy_time_to_answer_seconds",
        opentelemetry="kplpy.answer.time",
        kpl=False,
        percentiles=True,
    ),
    Metric(
        "OldestRecordAge",
        "Milliseconds",
        "detailed",
        "stream",
        "gauge",
        "sampled: age of the oldest record without an outcome; 0 if there is none",
        prometheus="kplpy_oldest_record_age_seconds",
        opentelemetry="kplpy.oldest_record.age",
        kpl=False,
    ),
    Metric(
        "BufferedRecords",
        "Count",
        "detailed",
        "global",
        "gauge",
        "sampled: records in the buffer",
        prometheus="kplpy_buffered_records",
        opentelemetry="kplpy.buffer.records",
        kpl=False,
    ),
    Metric(
        "BufferedBytes",
        "Bytes",
        "detailed",
        "global",
        "gauge",
        "sampled: bytes charged to the buffer",
        prometheus="kplpy_buffered_bytes",
        opentelemetry="kplpy.buffer.size",
        kpl=False,
    ),
    Metric(
        "BufferUse",
        "Percent",
        "detailed",
        "global",
        "gauge",
        "sampled: share of max_buffered_records or max_buffered_bytes in use, whichever is larger",
        prometheus="kplpy_buffer_use_ratio",
        opentelemetry="kplpy.buffer.utilization",
        kpl=False,
    ),
    Metric(
        "DataSentInVain",
        "Bytes",
        "detailed",
        "shard",
        "counter",
        "data of each sent Kinesis record that was refused, whose request failed, or that landed where consumers "
        "would drop it",
        prometheus="kplpy_data_sent_in_vain_bytes",
        opentelemetry="kplpy.sent_in_vain.size",
        kpl=False,
    ),
    Metric(
        "UncompressedDataPut",
        "Bytes",
        "detailed",
        "shard",
        "counter",
        "with compression: size that the data of each accepted Kinesis record would have without it",
        prometheus="kplpy_uncompressed_data_put_bytes",
        opentelemetry="kplpy.kinesis_records.uncompressed_size",
        kpl=False,
    ),
    Metric(
        "CompressionRatio",
        "Percent",
        "detailed",
        "shard",
        "distribution",
        "with compression: size of each accepted Kinesis record's data, as a share of its size without compression",
        prometheus="kplpy_compression_ratio",
        opentelemetry="kplpy.compression.ratio",
        kpl=False,
    ),
    Metric(
        "PossibleDuplicates",
        "Count",
        "detailed",
        "shard",
        "counter",
        "1 for each delivered user record that an earlier attempt may also have written",
        prometheus="kplpy_possible_duplicates",
        opentelemetry="kplpy.possible_duplicates",
        kpl=False,
        flag=True,
    ),
    Metric(
        "ShardRateLimit",
        "Percent",
        "detailed",
        "shard",
        "gauge",
        "sampled: highest rate of sending to each open shard, as a share of the shard's own limit",
        prometheus="kplpy_shard_rate_limit_ratio",
        opentelemetry="kplpy.shard.rate_limit",
        kpl=False,
    ),
    Metric(
        "ShardHeadroom",
        "Percent",
        "detailed",
        "shard",
        "gauge",
        "sampled: unused share of that rate within a second, in records or bytes, whichever is less",
        prometheus="kplpy_shard_headroom_ratio",
        opentelemetry="kplpy.shard.headroom",
        kpl=False,
    ),
    Metric(
        "SpooledRecords",
        "Count",
        "detailed",
        "global",
        "gauge",
        "sampled, with a spool: records in the spool without an outcome",
        prometheus="kplpy_spooled_records",
        opentelemetry="kplpy.spool.records",
        kpl=False,
    ),
    Metric(
        "SpooledBytes",
        "Bytes",
        "detailed",
        "global",
        "gauge",
        "sampled, with a spool: bytes of these records on disk",
        prometheus="kplpy_spooled_bytes",
        opentelemetry="kplpy.spool.size",
        kpl=False,
    ),
    Metric(
        "OldestSpooledAge",
        "Milliseconds",
        "detailed",
        "global",
        "gauge",
        "sampled, with a spool: age of the oldest record in it; 0 if there is none",
        prometheus="kplpy_oldest_spooled_age_seconds",
        opentelemetry="kplpy.spool.oldest_record.age",
        kpl=False,
    ),
    Metric(
        "SpoolSyncs",
        "Count",
        "detailed",
        "global",
        "counter",
        "with a spool: 1 for each write of records that was synced to the disk",
        prometheus="kplpy_spool_syncs",
        opentelemetry="kplpy.spool.syncs",
        kpl=False,
        flag=True,
    ),
    Metric(
        "SpoolSyncTime",
        "Milliseconds",
        "detailed",
        "global",
        "distribution",
        "with a spool: duration of each of these writes, with its sync",
        prometheus="kplpy_spool_sync_time_seconds",
        opentelemetry="kplpy.spool.sync.time",
        kpl=False,
    ),
    Metric(
        "SpoolErrors",
        "Count",
        "summary",
        "global",
        "counter",
        "with a spool: 1 for each write of records or outcomes that failed",
        prometheus="kplpy_spool_errors",
        opentelemetry="kplpy.spool.errors",
        kpl=False,
        flag=True,
    ),
    Metric(
        "SpoolBypassed",
        "Count",
        "summary",
        "global",
        "counter",
        "with a spool: 1 for each user record that could not be written, and is sent from memory",
        prometheus="kplpy_spool_bypassed",
        opentelemetry="kplpy.spool.bypassed",
        kpl=False,
        flag=True,
    ),
    Metric(
        "SpoolDropped",
        "Count",
        "summary",
        "global",
        "counter",
        "with a spool: 1 for each user record that failed because the spool was full",
        prometheus="kplpy_spool_dropped",
        opentelemetry="kplpy.spool.dropped",
        kpl=False,
        flag=True,
    ),
    Metric(
        "SpoolDamaged",
        "Count",
        "summary",
        "global",
        "counter",
        "with a spool: 1 for each damaged entry, a batch of records or a page, that was set aside",
        prometheus="kplpy_spool_damaged",
        opentelemetry="kplpy.spool.damaged",
        kpl=False,
        flag=True,
    ),
)

METRICS: dict[str, Metric] = {each.name: each for each in _ALL}
ORDER: dict[str, int] = {each.name: place for place, each in enumerate(_ALL)}
