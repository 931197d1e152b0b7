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
    """

    group: str
    examines: str
    problems: Mapping[Problem, str] = field(default_factory=dict)


CHECKS: Mapping[str, Check] = {
    "credentials": Check(
        "connection",
        "where the credentials come from, and when they expire",
        {
            "failure": "there are none, they cannot be fetched, or the service refuses them",
            "warning": "they expire within an hour, and nothing renews them",
        },
    ),
    "region": Check(
        "connection",
        "the client's region, and that of the ARN",
        {
            "failure": "there is no region, or its name is malformed",
            "warning": "the ARN is of another region than the client",
        },
    ),
    "endpoint": Check(
        "connection",
        "the URL, whether it is AWS's and of the region, and the time to a response",
        {
            "failure": "no response, or one that is not Kinesis's",
            "note": "the endpoint is not AWS's, or is of another region",
            "warning": "a response takes more than half a second",
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
    ),
    "clock": Check(
        "connection",
        "this machine's clock against the Date header",
        {"warning": "they differ by a minute or more; AWS refuses signatures that are five minutes off"},
    ),
    "permission.PutRecords": Check(
        "permissions",
        "PutRecords, by a dry run that writes nothing",
        {"failure": "denied: nothing can be put"},
    ),
    "permission.ListShards": Check(
        "permissions",
        "ListShards",
        {"warning": "denied: the producer cannot aggregate, and sends each record alone"},
    ),
    "permission.DescribeStreamSummary": Check(
        "permissions",
        "DescribeStreamSummary",
        {"warning": "denied: the producer does not know the distribution strategy and the largest record"},
    ),
    "permission.GetShardIterator": Check(
        "permissions", "GetShardIterator", {"note": "denied: readers and `kplpy tail` need it, a producer does not"}
    ),
    "permission.GetRecords": Check(
        "permissions", "GetRecords", {"note": "denied: readers and `kplpy tail` need it, a producer does not"}
    ),
    "permission.DescribeStreamConsumer": Check(
        "permissions",
        "DescribeStreamConsumer, of a consumer that does not exist",
        {"note": "denied: enhanced fan-out needs it, a producer does not"},
    ),
    "permission.SubscribeToShard": Check(
        "permissions",
        "SubscribeToShard, of a consumer that does not exist, by a dry run",
        {"note": "denied: enhanced fan-out needs it, a producer does not"},
    ),
    "permission.ListStreamConsumers": Check(
        "permissions", "ListStreamConsumers", {"note": "denied: only this command calls it"}
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
    ),
    "mode": Check("stream", "the capacity mode, the retention and the warm throughput"),
    "strategy": Check(
        "stream",
        "RecordDistributionStrategy: whether the keys or the service choose the shards",
        {"note": "AUTO: no order by key, and no aggregates without compression"},
    ),
    "record_size": Check(
        "stream",
        "MaxRecordSizeInKiB against aggregation_max_size and max_user_record_size",
        {"warning": "the producer accepts larger records than the stream takes"},
    ),
    "encryption": Check(
        "stream",
        "encryption at rest and its KMS key",
        {"failure": "the service cannot use the key: denied, disabled, missing, or not ready"},
    ),
    "consumers": Check(
        "stream",
        "registered consumers of enhanced fan-out",
        {"note": "20 or more: the limit of most accounts"},
    ),
    "shards": Check(
        "shards",
        "open shards, and each one's share of the hash keys",
        {
            "warning": "one shard has at least 1.5 times the even share",
            "failure": "the ranges leave a gap, or overlap",
        },
    ),
    "test_put": Check(
        "shards",
        "a record put by a real producer, with --put only",
        {
            "failure": "it was not delivered within ten seconds",
            "warning": "it took more than one attempt, or landed on another shard than its key's",
        },
    ),
    "sample": Check(
        "records",
        "the records read from the stream",
        {
            "note": "there are none, or only some shards could be read",
            "warning": "records that kplpy.deaggregate cannot read",
        },
    ),
    "placement": Check(
        "records",
        "whether each aggregate's records belong to the shard that it is on",
        {"warning": "they do not: the KCL, and readers like it, drop such aggregates whole"},
    ),
    "load": Check(
        "records",
        "the busiest shard's records and bytes against its limits",
        {"warning": "80 % or more of a limit"},
    ),
    "balance": Check(
        "records",
        "the busiest shard against the average, by bytes",
        {"warning": "twice the average or more, over at least 100 Kinesis records"},
    ),
    "hot_keys": Check(
        "records",
        "the partition keys with the most bytes",
        {"warning": "one key has as much as an average shard or more, over at least 100 user records"},
    ),
    "aggregation": Check(
        "advice",
        "user records in a Kinesis record, now and as kplpy would pack this sample",
        {"note": "aggregation at the stream's rate would at least halve the Kinesis records"},
    ),
    "compression": Check(
        "advice",
        "this sample compressed with gzip, and with zstd if it is installed",
        {"note": "compression would at least halve the bytes"},
    ),
    "capacity": Check(
        "advice",
        "shards needed at the rate, each used up to 80 %",
        {
            "warning": "more than are open, on a provisioned stream",
            "note": "half of the open shards of a provisioned stream would do",
        },
    ),
    "cost": Check("advice", "dollars a month at the rate, by the prices in use"),
}
