"""All metrics that there are: what each is called, what it counts, and down to where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kplpy.metrics.sample import Unit

Level = Literal["summary", "detailed"]
Granularity = Literal["global", "stream", "shard"]

DEPTHS: dict[str, int] = {"global": 0, "stream": 1, "shard": 2}


@dataclass(frozen=True, slots=True)
class Metric:
    """`level`: from which metrics_level on sinks get it. `finest`: how finely it can be told apart. `kpl`: the KPL has
    it, and counts the same. `coded`: it is also told apart by ErrorCode. `flag`: every value is 0 or 1. `percentiles`:
    with a histogram, by stream."""

    name: str
    unit: Unit
    level: Level
    finest: Granularity
    meaning: str
    kpl: bool = True
    coded: bool = False
    flag: bool = False
    percentiles: bool = False


_ALL = (
    Metric("UserRecordsReceived", "Count", "detailed", "stream", "1 for each user record that was accepted", flag=True),
    Metric("UserRecordsPending", "Count", "detailed", "stream", "sampled: user records accepted and not answered"),
    Metric(
        "UserRecordsPut",
        "Count",
        "summary",
        "shard",
        "1 for each user record that was delivered, 0 for each that failed; the average is the rate of success",
        flag=True,
    ),
    Metric("UserRecordsDataPut", "Bytes", "detailed", "shard", "data of each user record that was delivered"),
    Metric("UserRecordExpired", "Count", "summary", "shard", "1 for each user record that ran out of time", flag=True),
    Metric(
        "KinesisRecordsPut",
        "Count",
        "summary",
        "shard",
        "1 for each entry of a PutRecords answer that was taken, 0 for each that was refused",
        flag=True,
    ),
    Metric("KinesisRecordsDataPut", "Bytes", "detailed", "shard", "data of each Kinesis record that was taken"),
    Metric(
        "ErrorsByCode",
        "Count",
        "summary",
        "shard",
        "1 for each entry that was refused, and for each request that failed as a whole (which no shard is known of)",
        coded=True,
        flag=True,
    ),
    Metric(
        "AllErrors",
        "Count",
        "summary",
        "shard",
        "1 for each refused entry and each failed request, 0 for each entry that was taken",
        flag=True,
    ),
    Metric(
        "RetriesPerRecord",
        "Count",
        "detailed",
        "shard",
        "for each user record, when it is answered: attempts after the first",
    ),
    Metric(
        "BufferingTime",
        "Milliseconds",
        "summary",
        "shard",
        "for each attempt of each user record, when it is answered: from its arrival, or the end of the attempt "
        "before, until it was sent",
    ),
    Metric("RequestTime", "Milliseconds", "detailed", "stream", "each PutRecords request, until its answer or failure"),
    Metric(
        "UserRecordsPerKinesisRecord",
        "Count",
        "detailed",
        "shard",
        "user records in each Kinesis record that was sent",
    ),
    Metric("KinesisRecordsPerPutRecordsRequest", "Count", "detailed", "stream", "entries of each request"),
    Metric("UserRecordsPerPutRecordsRequest", "Count", "detailed", "stream", "user records in each request"),
    # --- kplpy's own ---
    Metric(
        "TimeToAnswer",
        "Milliseconds",
        "detailed",
        "shard",
        "each user record, from its arrival to its answer",
        kpl=False,
        percentiles=True,
    ),
    Metric(
        "OldestRecordAge",
        "Milliseconds",
        "detailed",
        "stream",
        "sampled: how long ago the oldest unanswered record arrived; 0 without any",
        kpl=False,
    ),
    Metric("BufferedRecords", "Count", "detailed", "global", "sampled: records that take up room", kpl=False),
    Metric("BufferedBytes", "Bytes", "detailed", "global", "sampled: the room that they take up", kpl=False),
    Metric(
        "BufferUse",
        "Percent",
        "detailed",
        "global",
        "sampled: of max_buffered_records or max_buffered_bytes, whichever is nearer",
        kpl=False,
    ),
    Metric(
        "DataSentInVain",
        "Bytes",
        "detailed",
        "shard",
        "data of each Kinesis record that was sent and refused, or whose request failed, or that landed where "
        "consumers would drop it",
        kpl=False,
    ),
    Metric(
        "PossibleDuplicates",
        "Count",
        "detailed",
        "shard",
        "1 for each delivered user record that an earlier attempt may have written too",
        kpl=False,
        flag=True,
    ),
    Metric(
        "ShardRateLimit",
        "Percent",
        "detailed",
        "shard",
        "sampled: the rate that each open shard is sent at the most, of the shard's own limit",
        kpl=False,
    ),
    Metric(
        "ShardHeadroom",
        "Percent",
        "detailed",
        "shard",
        "sampled: what of that rate the shard did not take within a second, in records or bytes, whichever is less",
        kpl=False,
    ),
)

METRICS: dict[str, Metric] = {each.name: each for each in _ALL}
ORDER: dict[str, int] = {each.name: place for place, each in enumerate(_ALL)}
