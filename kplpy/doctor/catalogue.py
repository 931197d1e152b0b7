"""The list of all checks: what each one examines, and when it finds a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Problem = Literal["note", "warning", "failure"]


@dataclass(frozen=True)
class Check:
    """One line of the report.

    group: the report's heading.
    examines: what the check looks at.
    problems: by level, when the check finds one. Each check may also be "ok" or "unchecked".
    figures: the names in a finding's `figures`, and what each one is. A finding may lack some of them.
    """

    group: str
    examines: str
    problems: Mapping[Problem, str] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)


_CALL = {"code": "the error's code; absent if the call is allowed"}

CHECKS: Mapping[str, Check] = {
    "credentials": Check(
        "connection",
        "where the credentials come from, and when they expire",
        {
            "failure": "there are none, they cannot be fetched, or the service refuses them",
            "warning": "they expire within an hour, and nothing renews them",
        },
        figures={
            "source": "botocore's name of the source",
            "access_key": "first and last four characters of the access key ID",
            "temporary": "true if there is a session token",
            "expires": "time of the end in UTC, or null",
        },
    ),
    "region": Check(
        "connection",
        "the client's region, and that of the ARN",
        {
            "failure": "there is no region, or its name is malformed",
            "warning": "the ARN is of another region than the client",
        },
        figures={"region": "the client's region"},
    ),
    "endpoint": Check(
        "connection",
        "the URL, whether it is AWS's and of the region, and the time to a response",
        {
            "failure": "no response, or one that is not Kinesis's",
            "note": "the endpoint is not AWS's, or is of another region",
            "warning": "a response takes more than half a second",
        },
        figures={
            "url": "the endpoint, with `***` for a password",
            "is_of_aws": "true if the address is AWS's",
            "first_ms": "milliseconds to the first response, with connecting",
            "later_ms": "milliseconds to the next response",
        },
    ),
    "tls": Check(
        "connection",
        "the protocol's version and the certificate's end",
        {
            "failure": "the certificate is not trusted, or there is no TLS at this address",
            "warning": "http to another machine, verification switched off, or a certificate of less than 14 days",
            "note": "http to this machine",
        },
        figures={"version": "the protocol's version", "certificate_days": "days until the certificate's end"},
    ),
    "clock": Check(
        "connection",
        "this machine's clock against the Date header",
        {"warning": "they differ by a minute or more; AWS refuses signatures that are five minutes off"},
        figures={
            "seconds_ahead": "seconds by which this machine's clock is ahead of the service's; negative if behind"
        },
    ),
    "permission.PutRecords": Check(
        "permissions",
        "PutRecords, by a dry run that writes nothing",
        {"failure": "denied: nothing can be put"},
        figures=_CALL,
    ),
    "permission.ListShards": Check(
        "permissions",
        "ListShards",
        {"warning": "denied: the producer cannot aggregate, and sends each record alone"},
        figures=_CALL,
    ),
    "permission.DescribeStreamSummary": Check(
        "permissions",
        "DescribeStreamSummary",
        {"warning": "denied: the producer does not know the distribution strategy and the largest record"},
        figures=_CALL,
    ),
    "permission.GetShardIterator": Check(
        "permissions",
        "GetShardIterator",
        {"note": "denied: readers and `kplpy tail` need it, a producer does not"},
        figures=_CALL,
    ),
    "permission.GetRecords": Check(
        "permissions",
        "GetRecords",
        {"note": "denied: readers and `kplpy tail` need it, a producer does not"},
        figures=_CALL,
    ),
    "permission.DescribeStreamConsumer": Check(
        "permissions",
        "DescribeStreamConsumer, of a consumer that does not exist",
        {"note": "denied: enhanced fan-out needs it, a producer does not"},
        figures=_CALL,
    ),
    "permission.SubscribeToShard": Check(
        "permissions",
        "SubscribeToShard, of a consumer that does not exist, by a dry run",
        {"note": "denied: enhanced fan-out needs it, a producer does not"},
        figures=_CALL,
    ),
    "permission.ListStreamConsumers": Check(
        "permissions",
        "ListStreamConsumers",
        {"note": "denied: only this command calls it"},
        figures=_CALL,
    ),
    "permission.others": Check(
        "permissions",
        "calls that have an effect and no dry run: always unchecked, with what needs them",
    ),
    "status": Check(
        "stream",
        "StreamStatus",
        {
            "failure": "the stream does not exist, or is CREATING or DELETING",
            "note": "UPDATING: puts work, and a part of them goes to the new shards",
        },
        figures={"status": "StreamStatus"},
    ),
    "mode": Check(
        "stream",
        "the capacity mode, the retention and the warm throughput",
        figures={
            "mode": "StreamMode",
            "retention_hours": "RetentionPeriodHours",
            "warm_mibps": "CurrentMiBps of WarmThroughput, or null",
        },
    ),
    "strategy": Check(
        "stream",
        "RecordDistributionStrategy: whether the keys or the service choose the shards",
        {"note": "AUTO: no order by key, and no aggregates without compression"},
        figures={"strategy": "RecordDistributionStrategy"},
    ),
    "record_size": Check(
        "stream",
        "MaxRecordSizeInKiB against aggregation_max_size and max_user_record_size",
        {"warning": "the producer accepts larger records than the stream takes"},
        figures={"limit_bytes": "the stream's largest record", "producer_bytes": "the producer's"},
    ),
    "encryption": Check(
        "stream",
        "encryption at rest and its KMS key",
        {"failure": "the service cannot use the key: denied, disabled, missing, or not ready"},
        figures={"type": "EncryptionType, or null", "key": "KeyId, or null"},
    ),
    "consumers": Check(
        "stream",
        "registered consumers of enhanced fan-out",
        {"note": "20 or more: the limit of most accounts"},
        figures={"count": "registered consumers", "names": "their names; empty if they could not be listed"},
    ),
    "shards": Check(
        "shards",
        "open shards, and each one's share of the hash keys",
        {
            "warning": "one shard has at least 1.5 times the even share, on a provisioned stream",
            "failure": "the ranges leave a gap, or overlap",
        },
        figures={
            "open": "number of open shards",
            "shares": "the part of the hash keys of each of the first 50",
            "largest": "the shard with the most hash keys",
            "largest_in_even_shares": "its part of the hash keys times `open`",
        },
    ),
    "test_put": Check(
        "shards",
        "a record put by a real producer, with --put only",
        {
            "failure": "it was not delivered within ten seconds",
            "warning": "it took more than one attempt, or landed on another shard than its key's",
        },
        figures={
            "shard": "the record's shard",
            "sequence_number": "the record's sequence number",
            "attempts": "number of attempts",
            "ms": "milliseconds of the last attempt's request",
        },
    ),
    "sample": Check(
        "records",
        "the records read from the stream",
        {
            "note": "there are none, or only some shards could be read",
            "warning": "records that kplpy.deaggregate cannot read",
        },
        figures={
            "shards_read": "number of shards that were read",
            "shards_open": "number of open shards",
            "kinesis_records": "Kinesis records that were read",
            "user_records": "user records in them",
            "bytes": "their data and keys",
            "unreadable": "Kinesis records that could not be read",
            "user_records_per_second": "rate of the whole stream",
            "bytes_per_second": "rate of the whole stream",
        },
    ),
    "placement": Check(
        "records",
        "whether each aggregate's records belong to the shard that it is on",
        {"warning": "they do not: the KCL, and readers like it, drop such aggregates whole"},
        figures={"aggregates": "aggregates of more than one user record", "misplaced": "aggregates on a wrong shard"},
    ),
    "load": Check(
        "records",
        "the busiest shard's records and bytes against its limits",
        {"warning": "80 % or more of a limit"},
        figures={
            "shard": "the busiest shard",
            "records_per_second": "its Kinesis records a second",
            "bytes_per_second": "its bytes a second",
            "part_of_limit": "the larger of its parts of the two limits; 1 is full",
        },
    ),
    "balance": Check(
        "records",
        "the busiest shard against the average, by bytes",
        {"warning": "twice the average or more, over at least 100 Kinesis records"},
        figures={
            "busiest": "the shard with the most bytes",
            "times_average": "its bytes divided by the average shard's",
            "bytes_per_second": "bytes a second by shard",
        },
    ),
    "hot_keys": Check(
        "records",
        "the partition keys with the most bytes",
        {"warning": "one key has as much as an average shard or more, over at least 100 user records"},
        figures={"keys": "the five keys with the most bytes, each with `partition_key` and `share` of the bytes"},
    ),
    "aggregation": Check(
        "advice",
        "user records in a Kinesis record, now and as kplpy would pack this sample",
        {"note": "aggregation at the stream's rate would at least halve the Kinesis records"},
        figures={
            "now": "user records in a Kinesis record",
            "at_rate": "the same, as kplpy would pack them at the rate",
            "full": "the same, in full aggregates",
            "linger_ms": "record_max_buffered_time_ms",
        },
    ),
    "compression": Check(
        "advice",
        "this sample compressed with gzip, and with zstd if it is installed",
        {"note": "compression would at least halve the bytes"},
        figures={
            "now": "bytes of a user record",
            "gzip": "the same, with gzip at the rate",
            "zstd": "the same, with zstd; absent if it is not installed",
        },
    ),
    "capacity": Check(
        "advice",
        "shards needed at the rate, each used up to 80 %",
        {
            "warning": "more than are open, on a provisioned stream",
            "note": "half of the open shards of a provisioned stream would do",
        },
        figures={
            "rate": "user records a second",
            "shards_needed": "shards by the way of sending",
            "shards_open": "number of open shards, or null",
        },
    ),
    "cost": Check(
        "advice",
        "dollars a month at the rate, by the prices in use",
        figures={
            "rate": "user records a second",
            "by_way": "by the way of sending: `shards`, and dollars a month `provisioned` and `on_demand`",
        },
    ),
}
