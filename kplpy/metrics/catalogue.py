"""All metrics that there are: what each is called, what it counts, and down to where."""

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
    """`level`: from which metrics_level on sinks get it. `finest`: how finely it can be told apart. `kind`, for sinks
    that add up themselves: a counter has the sum of the values, a gauge the latest one, a distribution their sum and
    how many. `prometheus` and `opentelemetry`: its names there, a counter's without the `_total` that
    prometheus_client adds; empty where it is not exported. `kpl`: the KPL has it, and counts the same. `coded`: it is
    also told apart by ErrorCode. `flag`: every value is 0 or 1. `percentiles`: with a histogram, by stream."""

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
        """The unit in the base unit of Prometheus and OpenTelemetry: seconds, or a ratio."""
        return _SCALES.get(self.unit, 1.0)


_ALL = (
    Metric(
        "UserRecordsReceived",
        "Count",
        "detailed",
        "stream",
        "counter",
        "1 for each user record that was accepted",
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
        "sampled: user records accepted and not answered",
        prometheus="kplpy_user_records_pending",
        opentelemetry="kplpy.user_records.pending",
    ),
    Metric(
        "UserRecordsPut",
        "Count",
        "summary",
        "shard",
        "counter",
        "1 for each user record that was delivered, 0 for each that failed; the average is the rate of success",
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
        "data of each user record that was delivered",
        prometheus="kplpy_user_records_data_put_bytes",
        opentelemetry="kplpy.user_records.size",
    ),
    Metric(
        "UserRecordExpired",
        "Count",
        "summary",
        "shard",
        "counter",
        "1 for each user record that ran out of time",
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
        "1 for each entry of a PutRecords answer that was taken, 0 for each that was refused",
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
        "data of each Kinesis record that was taken",
        prometheus="kplpy_kinesis_records_data_put_bytes",
        opentelemetry="kplpy.kinesis_records.size",
    ),
    Metric(
        "ErrorsByCode",
        "Count",
        "summary",
        "shard",
        "counter",
        "1 for each entry that was refused, and for each request that failed as a whole (which no shard is known of)",
        prometheus="kplpy_errors",
        opentelemetry="kplpy.errors",
        coded=True,
        flag=True,
    ),
    Metric(  # without names for sinks that add up: it is the sum of ErrorsByCode
        "AllErrors",
        "Count",
        "summary",
        "shard",
        "counter",
        "1 for each refused entry and each failed request, 0 for each entry that was taken",
        flag=True,
    ),
    Metric(
        "RetriesPerRecord",
        "Count",
        "detailed",
        "shard",
        "counter",
        "for each user record, when it is answered: attempts after the first",
        prometheus="kplpy_user_record_retries",
        opentelemetry="kplpy.user_records.retries",
    ),
    Metric(
        "BufferingTime",
        "Milliseconds",
        "summary",
        "shard",
        "distribution",
        "for each attempt of each user record, when it is answered: from its arrival, or the end of the attempt "
        "before, until it was sent",
        prometheus="kplpy_buffering_time_seconds",
        opentelemetry="kplpy.buffering.time",
    ),
    Metric(
        "RequestTime",
        "Milliseconds",
        "detailed",
        "stream",
        "distribution",
        "each PutRecords request, until its answer or failure",
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
        "each user record, from its arrival to its answer",
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
        "sampled: how long ago the oldest unanswered record arrived; 0 without any",
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
        "sampled: records that take up room",
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
        "sampled: the room that they take up",
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
        "sampled: of max_buffered_records or max_buffered_bytes, whichever is nearer",
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
        "data of each Kinesis record that was sent and refused, or whose request failed, or that landed where "
        "consumers would drop it",
        prometheus="kplpy_data_sent_in_vain_bytes",
        opentelemetry="kplpy.sent_in_vain.size",
        kpl=False,
    ),
    Metric(
        "PossibleDuplicates",
        "Count",
        "detailed",
        "shard",
        "counter",
        "1 for each delivered user record that an earlier attempt may have written too",
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
        "sampled: the rate that each open shard is sent at the most, of the shard's own limit",
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
        "sampled: what of that rate the shard did not take within a second, in records or bytes, whichever is less",
        prometheus="kplpy_shard_headroom_ratio",
        opentelemetry="kplpy.shard.headroom",
        kpl=False,
    ),
)

METRICS: dict[str, Metric] = {each.name: each for each in _ALL}
ORDER: dict[str, int] = {each.name: place for place, each in enumerate(_ALL)}
