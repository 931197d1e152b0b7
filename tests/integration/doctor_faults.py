"""One fault for each problem that the doctor finds, in the local Kinesis or on the way to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import botocore.session
import pytest

from kplpy.config.options import Config
from kplpy.doctor import Report, examine
from kplpy.local import Fault, LocalKinesis, Model, Phases
from kplpy.wire.compressed import MAGIC
from kplpy.wire.encode import encode_aggregate

SESSION = botocore.session.Session()  # one for all: it keeps botocore's files, which take 0.1 s to read
SESSION.set_credentials("AKIATESTINGTESTING42", "secret")


@dataclass
class Patient:
    """A local Kinesis with the stream "orders", and how it is examined."""

    kinesis: LocalKinesis
    monkeypatch: pytest.MonkeyPatch
    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    stream: str = "orders"

    def examine(self) -> Report:
        fields = {
            "endpoint_url": self.kinesis.endpoint_url,
            "region_name": self.kinesis.region_name,
            "verify": self.kinesis.ca_bundle,
            "session": SESSION,
        }
        return examine(self.stream, Config(**{**fields, **self.config}), **{"timeout": 20.0, **self.options})

    def fail(self, code: str, operation: str | None = None, message: str = "") -> None:
        self.kinesis.faults.outage(Fault(code=code, message=message), operation=operation)

    def put(self, records: list[tuple[bytes, str]], seconds: float = 0.0) -> None:
        """Put Kinesis records of data and partition key, as if spread over the last `seconds`."""
        entries = [{"Data": data, "PartitionKey": key} for data, key in records]
        now = time.time()
        pieces = [entries[at : at + 20] for at in range(0, len(entries), 20)]

        def put_all(model: Model) -> None:
            model.now = 0.0  # the model's clock does not go back by itself
            for number, piece in enumerate(pieces):
                moment = now - seconds * (1 - number / len(pieces))
                model.handle("PutRecords", {"StreamName": "orders", "Records": piece}, moment)

        self.kinesis.call(put_all)


Setup = Callable[[Patient], None]


@contextmanager
def patient(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[Patient]:
    with LocalKinesis(**{"limits": False, "stream": "orders", "shards": 4, **options}) as kinesis:
        yield Patient(kinesis, monkeypatch)


class Put(NamedTuple):
    """A user record to pack."""

    data: bytes
    partition_key: str
    explicit_hash_key: str | None = None
    headers: dict[str, str | None] | None = None


def event(number: int) -> bytes:
    """Return a JSON text of about 120 bytes that compresses as events do."""
    return json.dumps({"id": number, "customer": number * 7919 % 1000, "event": "page_view", "path": "/shop"}).encode()


def no_credentials(one: Patient) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        one.monkeypatch.delenv(name)
    one.config["session"] = botocore.session.Session()


def expired(one: Patient) -> None:
    one.fail("ExpiredTokenException", None, "The security token included in the request is expired")


def ending_credentials(one: Patient) -> None:
    end = datetime.now(timezone.utc) + timedelta(minutes=30)
    one.monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    one.monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", end.isoformat())
    one.config["session"] = None


def no_region(one: Patient) -> None:
    one.config |= {"endpoint_url": None, "region_name": None, "session": botocore.session.Session()}


def other_region(one: Patient) -> None:
    one.stream = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"


def refused(one: Patient) -> None:
    one.kinesis.faults.outage()


def slow(one: Patient) -> None:
    for operation in ("DescribeStreamSummary", "ListShards"):
        one.kinesis.faults.delay(0.55, operation=operation)


def untrusted(one: Patient) -> None:
    one.config["verify"] = True


def unverified(one: Patient) -> None:
    one.config["verify"] = False


def denied(operation: str) -> Setup:
    message = (
        f"User: arn:aws:iam::123456789012:user/app is not authorized to perform: kinesis:{operation} on resource: "
        "arn:aws:kinesis:us-east-1:123456789012:stream/orders because no identity-based policy allows the action"
    )
    return lambda one: one.fail("AccessDeniedException", operation, message)


def missing(one: Patient) -> None:
    one.stream = "odrers"


def creating(one: Patient) -> None:
    one.kinesis.call(lambda model: setattr(model.account, "phases", Phases(creating=60)))
    one.kinesis.handle("CreateStream", {"StreamName": "new", "ShardCount": 1})
    one.stream = "new"


def updating(one: Patient) -> None:
    one.kinesis.call(lambda model: setattr(model.account, "phases", Phases(updating=60)))
    one.kinesis.handle("UpdateShardCount", {**ORDERS, "TargetShardCount": 8, "ScalingType": "UNIFORM_SCALING"})


def automatic(one: Patient) -> None:
    one.kinesis.handle("UpdateStreamMode", {"StreamARN": ARN, "StreamModeDetails": {"StreamMode": "ON_DEMAND"}})
    strategy = {"StreamARN": ARN, "RecordDistributionStrategy": "AUTO"}
    one.kinesis.handle("UpdateStreamRecordDistributionStrategy", strategy)


def large_records(one: Patient) -> None:
    one.config["max_user_record_size"] = 2 << 20


def key_disabled(one: Patient) -> None:
    one.fail("KMSDisabledException", "PutRecords", "arn:aws:kms:us-east-1:123456789012:key/1 is disabled.")


def many_consumers(one: Patient) -> None:
    for number in range(20):
        one.kinesis.handle("RegisterStreamConsumer", {"StreamARN": ARN, "ConsumerName": f"reader-{number}"})


def uneven(one: Patient) -> None:
    middle = {"ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002"}
    one.kinesis.handle("MergeShards", {**ORDERS, **middle})


def gap(one: Patient) -> None:
    listed = one.kinesis.handle("ListShards", ORDERS)
    one.kinesis.faults.outage(Fault(answer={"Shards": listed["Shards"][1:]}), operation="ListShards")


def put_denied(one: Patient) -> None:
    one.options |= {"put": True, "timeout": 2.0}
    denied("PutRecords")(one)


def put_retried(one: Patient) -> None:
    one.options["put"] = True
    one.kinesis.faults.fail_entries("InternalFailure", times=2)  # the dry run's request takes the first


def unreadable(one: Patient) -> None:
    one.put([(MAGIC + b"\x09\x01 of a later version", "k")])


def misplaced(one: Patient) -> None:
    """Put an aggregate of records for all shards, as a writer does that takes no care."""
    records = [Put(event(number), f"c{number}") for number in range(20)]
    one.put([(encode_aggregate(records), "a")])


def full_shard(one: Patient) -> None:
    one.put([(bytes(500_000), "k")] * 4)


def one_key(one: Patient) -> None:
    one.put([(event(number), "customer-1" if number % 4 else f"c{number}") for number in range(400)], 60)


def plain_records(one: Patient) -> None:
    one.options["rate"] = 4000.0
    one.put([(event(number), f"c{number % 300}") for number in range(800)], 60)


def too_few_shards(one: Patient) -> None:
    one.options |= {"sample": 0, "rate": 20_000.0, "record_size": 100}


def too_many_shards(one: Patient) -> None:
    one.options |= {"sample": 0, "rate": 1000.0, "record_size": 100}


ORDERS = {"StreamName": "orders"}
ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"

# (check, level, a part of its text) and the fault. A fault may have several problems.
FAULTS: list[tuple[str, str, str, Setup]] = [
    ("credentials", "failure", "none of boto's sources has credentials", no_credentials),
    ("credentials", "failure", "the service refuses them: ExpiredTokenException", expired),
    ("credentials", "warning", "in 30 minutes (not renewed)", ending_credentials),
    ("region", "failure", "no AWS region", no_region),
    ("region", "warning", "the client's region is us-east-1, the ARN's is eu-west-1", other_region),
    ("endpoint", "failure", "Connection was closed", refused),
    ("endpoint", "note", "this is not an address of AWS", lambda one: None),
    ("endpoint", "warning", "first response after", slow),
    ("tls", "failure", "CERTIFICATE_VERIFY_FAILED", untrusted),
    ("tls", "warning", "certificates are not verified", unverified),
    ("tls", "note", "within this machine", lambda one: None),
    ("permission.PutRecords", "failure", "nothing can be put", denied("PutRecords")),
    ("permission.ListShards", "warning", "sends each record alone", denied("ListShards")),
    ("permission.DescribeStreamSummary", "warning", "largest record", denied("DescribeStreamSummary")),
    ("permission.GetShardIterator", "note", "StreamReader cannot read", denied("GetShardIterator")),
    ("permission.GetRecords", "note", "StreamReader cannot read", denied("GetRecords")),
    ("permission.DescribeStreamConsumer", "note", "enhanced fan-out", denied("DescribeStreamConsumer")),
    ("permission.SubscribeToShard", "note", "enhanced fan-out", denied("SubscribeToShard")),
    ("permission.ListStreamConsumers", "note", "only this command", denied("ListStreamConsumers")),
    ("status", "failure", "no such stream: Stream odrers under account", missing),
    ("status", "failure", "CREATING: records cannot be put", creating),
    ("status", "note", "UPDATING", updating),
    ("strategy", "note", "AUTO: the service chooses", automatic),
    ("record_size", "warning", "the producer accepts 2,097,152 bytes", large_records),
    ("encryption", "failure", "puts fail: KMSDisabledException: arn:aws:kms", key_disabled),
    ("consumers", "note", "20 registered: reader-0, ", many_consumers),
    ("shards", "warning", "3 open, uneven: shardId-000000000004 takes 50 % of the hash keys", uneven),
    ("shards", "failure", "3 open; a gap before shardId-000000000001", gap),
    ("test_put", "failure", "not delivered: ", put_denied),
    ("test_put", "warning", "at attempt 2: InternalFailure", put_retried),
    ("sample", "note", "no records in the last 900 s in 4 of 4 shards", lambda one: None),
    ("sample", "warning", "1 could not be read: a compressed batch of version 9", unreadable),
    ("placement", "warning", "1 aggregate on another shard than the records' keys", misplaced),
    ("load", "warning", "of what a shard takes", full_shard),
    ("balance", "warning", "times the average shard's bytes", one_key),
    ("hot_keys", "warning", "'customer-1' 7", one_key),
    ("aggregation", "note", "1.0 user records in a Kinesis record now", plain_records),
    ("compression", "note", "bytes for a user record now", plain_records),
    ("capacity", "warning", "25 shards needed at 20,000 user records/s, sent one by one; 4 open", too_few_shards),
    ("capacity", "note", "2 shards needed at 1,000 user records/s", too_many_shards),
]
HTTPS = (untrusted, unverified)
