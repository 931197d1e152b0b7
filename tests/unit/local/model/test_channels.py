"""Channels at given times: what is delivered when, as which objects, and what is refused."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from kplpy.local import Limits, Model, Phases, ServiceError
from kplpy.local.model.channel import StoredObject

STREAM_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/s"
STORAGE = {"BucketARN": "arn:aws:s3:::lake", "ExpectedBucketOwner": "123456789012", "CompressionType": "NONE"}
LETTERS = {"BucketARN": "arn:aws:s3:::letters", "ExpectedBucketOwner": "123456789012"}
GLUE = "arn:aws:glue:us-east-1:123456789012:schema/registry/schema"
TABLES: dict[str, Any] = {
    "DeadLetterQueueS3Configuration": LETTERS,
    "S3TablesConfigurationList": [
        {
            "TableBucketARN": "arn:aws:s3tables:us-east-1:123456789012:bucket/tables",
            "Namespace": "shop",
            "TableName": "orders",
            "CompressionType": "SNAPPY",
        }
    ],
}


NESTED = b"[" * 100_000
"""Deeper than Python's parser goes."""


def model_of(**phases: float) -> Model:
    model = Model(limits=Limits.none(), phases=Phases(**phases))
    model.account.has_buckets = True
    model.handle("CreateStream", {"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}, 0.0)
    return model


def params_of(record_format: str = "JSON", storage: Any = None, **changes: Any) -> dict[str, Any]:
    record = {"RecordFormatType": record_format}
    return {
        "ChannelName": "c",
        "ServiceExecutionRoleARN": "arn:aws:iam::123456789012:role/channel",
        "StreamConfigurationList": [{"StreamARN": STREAM_ARN, "RecordConfiguration": record}],
        "S3DestinationConfiguration": {"StorageConfiguration": {**STORAGE, **(storage or {})}},
        **changes,
    }


def create(model: Model, now: float = 0.0, **params: Any) -> str:
    arn: str = model.handle("CreateChannel", params_of(**params), now)["ChannelDescription"]["ChannelARN"]
    return arn


def put(model: Model, *data: bytes, now: float) -> None:
    for each in data:
        model.handle("PutRecord", {"StreamName": "s", "Data": each, "PartitionKey": each.decode("latin-1")}, now)


def deliver(model: Model, now: float) -> list[StoredObject]:
    found = []
    for channel, objects, count in model.due_channels(now, None):
        found += objects
        model.note_delivery(channel, count, now)
    return found


def test_records_are_delivered_when_the_oldest_is_as_old_as_the_freshness() -> None:
    model = model_of()
    put(model, b"0", now=1.0)  # before the channel
    create(model, 2.0)
    put(model, b"1", b'{"a": 2}', now=10.0)
    put(model, b"3", now=300.0)
    assert deliver(model, 309.9) == []
    (stored,) = deliver(model, 310.0)
    assert (stored.bucket, stored.body) == ("lake", b'1\n{"a": 2}\n3\n')
    assert deliver(model, 1000.0) == []
    put(model, b"4", now=1000.0)
    assert [each.body for each in deliver(model, 1300.0)] == [b"4\n"]


def test_keys_are_made_from_the_template() -> None:
    model = model_of()
    id_of = create(model, storage={"CompressionType": "GZIP"}).rpartition("/")[2]
    own = {"OutputKeyTemplate": "a/!{stream-name}/!{yyyy}-!{MM}-!{dd}/!{HH}!{mm}", "CompressionType": "GZIP"}
    own_id = create(model, ChannelName="own", storage=own).rpartition("/")[2]
    put(model, b"1", now=0.0)
    first, second = deliver(model, 3661.0)
    start = f"kinesis-channel/c/{id_of}/1970/01/01/01/c-{id_of}-1970-01-01-01-01"
    assert first.key == f"{start}-000000000001-{id_of[:8]}.gz"
    assert gzip.decompress(first.body) == b"1\n"
    assert second.key == f"a/s/1970-01-01/0101-000000000001-{own_id[:8]}"


def test_channels_with_one_template_do_not_overwrite_each_other() -> None:
    model = model_of()
    keys = []
    for start in (0.0, 1000.0):  # the second stream has the same name, and its records the same numbers
        arns = [create(model, start, ChannelName=name, storage={"OutputKeyTemplate": "data"}) for name in ("c", "d")]
        put(model, b"1", now=start + 1.0)
        keys += [each.key for each in deliver(model, start + 301.0)]
        for each in arns:
            model.handle("DeleteChannel", {"ChannelARN": each}, start + 302.0)
        model.handle("DeleteStream", {"StreamName": "s"}, start + 400.0)
        model.handle("CreateStream", {"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}, start + 500)
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("record_format", "sound", "bad"),
    [
        ("JSON", [b"1"], [b"{", b"\xff", NESTED]),
        ("STRING", [b"1", b"{", NESTED], [b"\xff"]),
        ("BYTE_ARRAY", [b"1", b"{", b"\xff", NESTED], []),
    ],
)
def test_records_of_another_format_are_dead_letters(record_format: str, sound: list[bytes], bad: list[bytes]) -> None:
    model = model_of()
    letters = {**LETTERS, "ErrorOutputPrefix": "bad/"}
    destination = {"StorageConfiguration": STORAGE, "DeadLetterQueueS3Configuration": letters}
    create(model, record_format=record_format, S3DestinationConfiguration=destination)
    for data in (b"1", b"{", b"\xff", NESTED):
        model.handle("PutRecord", {"StreamName": "s", "Data": data, "PartitionKey": "k"}, 1.0)
    stored, *dead = deliver(model, 301.0)
    separator = b"" if record_format == "BYTE_ARRAY" else b"\n"
    assert stored.body == b"".join(each + separator for each in sound)
    assert len(dead) == bool(bad)
    for each in dead:
        assert each.bucket == "letters"
        assert each.key.startswith("bad/c-")
        lines = [json.loads(line) for line in each.body.splitlines()]
        assert len(lines) == len(bad)
        assert all(record_format in line["errorMessage"] or "UTF-8" in line["errorMessage"] for line in lines)


def test_a_channel_is_described_and_updated() -> None:
    model = model_of(updating=5, deleting=5)
    arn = create(model, Tags={"a": "1"})
    described = model.handle("DescribeChannel", {"ChannelARN": arn}, 1.0)["ChannelDescription"]
    assert described["ChannelStatus"] == "ACTIVE"
    assert described["S3DestinationConfiguration"]["DataFreshnessInSeconds"] == 300
    assert described["S3DestinationConfiguration"]["DeadLetterQueueS3Configuration"]["ErrorOutputPrefix"] == "error/"
    assert described["LoggingConfiguration"] == {"CloudWatchLogs": {"Enabled": False}}
    assert model.handle("ListTagsForResource", {"ResourceARN": arn}, 1.0)["Tags"] == [{"Key": "a", "Value": "1"}]
    update = {"ChannelARN": arn, "S3DestinationConfiguration": {"DataFreshnessInSeconds": 600}}
    updated = model.handle("UpdateChannel", update, 2.0)["ChannelDescription"]
    assert updated["ChannelStatus"] == "UPDATING"
    assert updated["S3DestinationConfiguration"]["DataFreshnessInSeconds"] == 600
    with pytest.raises(ServiceError, match="ResourceInUseException"):
        model.handle("UpdateChannel", update, 3.0)
    wrong = {"ChannelARN": arn, "S3TablesDestinationConfiguration": {"DataFreshnessInSeconds": 600}}
    with pytest.raises(ServiceError, match="InvalidArgumentException"):
        model.handle("UpdateChannel", wrong, 10.0)
    for operation, params in (
        ("DeleteStream", {"StreamName": "s"}),
        ("UpdateStreamMode", {"StreamARN": STREAM_ARN, "StreamModeDetails": {"StreamMode": "PROVISIONED"}}),
    ):
        with pytest.raises(ServiceError, match="has channels"):
            model.handle(operation, params, 10.0)
    assert model.handle("DescribeLimits", {}, 10.0)["ChannelCount"] == 1
    model.handle("DeleteChannel", {"ChannelARN": arn}, 10.0)
    (summary,) = model.handle("ListChannels", {"StreamFilter": [{"StreamARN": STREAM_ARN}]}, 11.0)["ChannelSummaries"]
    assert (summary["ChannelStatus"], summary["ChannelDestinationType"]) == ("DELETING", "S3")
    with pytest.raises(ServiceError, match="ResourceNotFoundException"):
        model.handle("DescribeChannel", {"ChannelARN": arn}, 15.0)
    assert model.handle("ListChannels", {}, 15.0) == {"ChannelSummaries": []}


def test_what_cannot_be_delivered_here_has_failed_and_says_why() -> None:
    model = model_of()
    source = {"StreamARN": STREAM_ARN, "RecordConfiguration": {"RecordFormatType": "JSON", "GSRSchemaARN": GLUE}}
    tables = params_of(StreamConfigurationList=[source], S3TablesDestinationConfiguration=TABLES)
    del tables["S3DestinationConfiguration"]
    arns = [model.handle("CreateChannel", tables, 0.0)["ChannelDescription"]["ChannelARN"]]
    arns.append(create(model, ChannelName="zstd", storage={"CompressionType": "ZSTD"}))
    model.account.has_buckets = False
    arns.append(create(model, ChannelName="none"))
    put(model, b"1", now=1.0)
    for arn, reason in zip(arns, ("Iceberg", "GZIP only", "channels_dir"), strict=True):
        described = model.handle("DescribeChannel", {"ChannelARN": arn}, 1.0)["ChannelDescription"]
        assert described["ChannelStatus"] == "FAILED"
        assert reason in described["ChannelStatusReason"]
    assert deliver(model, 1000.0) == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({"S3TablesDestinationConfiguration": TABLES}, "Exactly one of"),
    ({"S3DestinationConfiguration": None}, "Exactly one of"),
    ({"record_format": "GSR_JSON"}, "RecordFormatType GSR_JSON"),
    (
        {"S3DestinationConfiguration": {"StorageConfiguration": STORAGE, "DataFreshnessInSeconds": 299}},
        "from 300 to 900",
    ),
    ({"storage": {"OutputKeyTemplate": "../!{dd}"}}, "the part . or .."),
    ({"storage": {"OutputKeyTemplate": "/x"}}, "an empty part"),
    ({"storage": {"OutputKeyTemplate": "x/"}}, "OutputKeyTemplate"),
    ({"storage": {"OutputKeyTemplate": "!{channel-name}/x"}, "ChannelName": ".."}, "the part . or .."),
    ({"storage": {"OutputKeyTemplate": "!{bucket}"}}, "unknown variable"),
    ({"storage": {"BucketARN": "arn:aws:s3:::.."}}, "regular expression"),
    ({"ChannelName": "taken"}, "already exists"),
    ({"StreamConfigurationList": []}, "greater than or equal to 1"),
]


@pytest.mark.parametrize(("changes", "text"), BAD)
def test_a_bad_channel_is_refused(changes: dict[str, Any], text: str) -> None:
    model = model_of()
    create(model, ChannelName="taken")
    with pytest.raises(ServiceError) as raised:
        create(model, **changes)
    assert text in raised.value.message
    assert len(model.account.channels) == 1


def test_error_prefixes_stay_in_the_bucket() -> None:
    model = model_of()
    for prefix in ("/x", "../x", "a/./b", "a//b"):
        letters = {**LETTERS, "ErrorOutputPrefix": prefix}
        destination = {"StorageConfiguration": STORAGE, "DeadLetterQueueS3Configuration": letters}
        with pytest.raises(ServiceError, match="ErrorOutputPrefix"):
            create(model, S3DestinationConfiguration=destination)
