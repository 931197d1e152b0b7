"""The rules for the members of requests, and the service's errors for members that break them.

The rules are from the service's API reference. The errors have the service's wording: ValidationException for a value
out of its bounds, SerializationException for a value of another type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any

from kplpy.local.model.errors import ServiceError, validation


@dataclass(frozen=True)
class Text:
    """A string member with a length from `low` to `high` characters."""

    low: int = 0
    high: int = 1 << 62
    pattern: str | None = None
    choices: tuple[str, ...] = ()

    def violations(self, value: object) -> list[str]:
        if not isinstance(value, str):
            raise _wrong_type(value, "String")
        found = _length(len(value), self.low, self.high)
        if self.pattern and not re.fullmatch(self.pattern, value):
            found.append(f"Member must satisfy regular expression pattern: {self.pattern}")
        if self.choices and value not in self.choices:
            found.append(f"Member must satisfy enum value set: [{', '.join(self.choices)}]")
        return found


@dataclass(frozen=True)
class Whole:
    """An integer member from `low` to `high`."""

    low: int
    high: int = (1 << 31) - 1

    def violations(self, value: object) -> list[str]:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(value, "Integer")
        if value < self.low:
            return [f"Member must have value greater than or equal to {self.low}"]
        if value > self.high:
            return [f"Member must have value less than or equal to {self.high}"]
        return []


@dataclass(frozen=True)
class Plain:
    """A member of which only the type is checked.

    `type_name`: the type's name in the service's errors.
    """

    types: tuple[type, ...]
    type_name: str

    def violations(self, value: object) -> list[str]:
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            raise _wrong_type(value, self.type_name)
        return []


@dataclass(frozen=True)
class Time:
    """A time member in epoch seconds.

    CBOR, unlike JSON, can carry NaN and infinity, which are not times.
    """

    def violations(self, value: object) -> list[str]:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong_type(value, "Timestamp")
        if not abs(value) < _END_OF_TIME:  # also true for NaN
            raise ServiceError("SerializationException", f"{value!r:.40} can not be converted to a Timestamp")
        return []


_END_OF_TIME = 1e12
"""Seconds, about 31,000 years. Any bound would do that keeps arithmetic with times finite."""


@dataclass(frozen=True)
class Structure:
    members: Mapping[str, Member]


@dataclass(frozen=True)
class Member:
    rule: Text | Whole | Plain | Time | Structure
    required: bool = False


def _wrong_type(value: object, wanted: str) -> ServiceError:
    if isinstance(value, list):
        return ServiceError("SerializationException", "Start of list found where not expected")
    if isinstance(value, dict):
        return ServiceError("SerializationException", "Start of structure or map found where not expected.")
    return ServiceError("SerializationException", f"{type(value).__name__} can not be converted to an {wanted}")


def _length(length: int, low: int, high: int) -> list[str]:
    if length < low:
        return [f"Member must have length greater than or equal to {low}"]
    if length > high:
        return [f"Member must have length less than or equal to {high}"]
    return []


NAME = "[a-zA-Z0-9_.-]+"
HASH = r"0|([1-9]\d{0,38})"
SEQUENCE = r"0|([1-9]\d{0,128})"

_name = Text(1, 128, NAME)
_arn = Text(1, 2048, r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+")
_consumer_arn = Text(1, 2048, rf"(arn):aws.*:kinesis:.*:\d{{12}}:.*stream\/{NAME}\/consumer\/{NAME}:[0-9]+")
_token = Text(1, 1 << 20)
_time = Time()
_flag = Plain((bool,), "Boolean")
_page = Whole(1, 10_000)
_mode = Structure({"StreamMode": Member(Text(choices=("PROVISIONED", "ON_DEMAND")), True)})
_strategy = Text(choices=("AUTO", "USER_PARTITION_KEY"))
_max_record = Whole(1024, 10_240)
_iterator_types = ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")
_filter_types = (
    "AFTER_SHARD_ID",
    "AT_TRIM_HORIZON",
    "FROM_TRIM_HORIZON",
    "AT_LATEST",
    "AT_TIMESTAMP",
    "FROM_TIMESTAMP",
)
_stream = {"StreamName": Member(_name), "StreamARN": Member(_arn)}
_consumer = {"StreamARN": Member(_arn), "ConsumerName": Member(_name), "ConsumerARN": Member(_consumer_arn)}
_dry = {"DryRun": Member(_flag)}

PUT_ENTRY = {
    "Data": Member(Plain((bytes, bytearray, memoryview), "Blob"), True),
    "PartitionKey": Member(Text(1, 256)),
    "ExplicitHashKey": Member(Text(pattern=HASH)),
}

DELIVERY_ENTRY = {"Data": Member(Plain((bytes, bytearray, memoryview), "Blob"), True)}

DELIVERY_DESTINATIONS = tuple(
    f"{each}DestinationConfiguration"
    for each in """
    ExtendedS3 S3 Redshift Elasticsearch Amazonopensearchservice Splunk HttpEndpoint AmazonOpenSearchServerless
    Snowflake Iceberg
    """.split()
)
"""The members of CreateDeliveryStream that configure a destination. One of them must be given."""

_delivery_name = Text(1, 64, NAME)
_delivery_stream = {"DeliveryStreamName": Member(_delivery_name, True)}
_delivery_type = Text(choices=("DirectPut", "KinesisStreamAsSource"))
_source_arn = r"arn:.*:kinesis:[a-zA-Z0-9\-]+:\d{12}:stream/[a-zA-Z0-9_.-]+"
_role = Text(1, 512, r"arn:.*:iam::\d{12}:role/[a-zA-Z_0-9+=,.@\-_/]+")
_s3 = Structure(
    {"RoleARN": Member(_role, True), "BucketARN": Member(Text(1, 2048, r"arn:.*:s3:::[\w\.\-]{1,255}"), True)}
)
_other_destination = Structure({})

OPERATIONS: Mapping[str, Mapping[str, Member]] = {
    "CreateStream": {
        "StreamName": Member(_name, True),
        "ShardCount": Member(Whole(1, 100_000)),
        "StreamModeDetails": Member(_mode),
        "MaxRecordSizeInKiB": Member(_max_record),
        "RecordDistributionStrategy": Member(_strategy),
    },
    "DeleteStream": {**_stream, "EnforceConsumerDeletion": Member(_flag)},
    "DescribeStream": {**_stream, "Limit": Member(_page), "ExclusiveStartShardId": Member(_name)},
    "DescribeStreamSummary": _stream,
    "ListStreams": {
        "Limit": Member(_page),
        "ExclusiveStartStreamName": Member(_name),
        "NextToken": Member(_token),
    },
    "ListShards": {
        **_stream,
        "NextToken": Member(_token),
        "ExclusiveStartShardId": Member(_name),
        "MaxResults": Member(_page),
        "StreamCreationTimestamp": Member(_time),
        "ShardFilter": Member(
            Structure(
                {
                    "Type": Member(Text(choices=_filter_types), True),
                    "ShardId": Member(_name),
                    "Timestamp": Member(_time),
                }
            )
        ),
    },
    "PutRecord": {
        **_stream,
        **PUT_ENTRY,
        **_dry,
        "SequenceNumberForOrdering": Member(Text(pattern=SEQUENCE)),
    },
    "PutRecords": {**_stream, **_dry, "Records": Member(Plain((list, tuple), "List"), True)},
    "GetShardIterator": {
        **_stream,
        **_dry,
        "ShardId": Member(_name, True),
        "ShardIteratorType": Member(Text(choices=_iterator_types), True),
        "StartingSequenceNumber": Member(Text(pattern=SEQUENCE)),
        "Timestamp": Member(_time),
    },
    "GetRecords": {
        "ShardIterator": Member(Text(1, 512), True),
        "Limit": Member(_page),
        "StreamARN": Member(_arn),
        **_dry,
    },
    "SubscribeToShard": {
        "ConsumerARN": Member(_consumer_arn, True),
        "ShardId": Member(_name, True),
        "StartingPosition": Member(
            Structure(
                {
                    "Type": Member(Text(choices=_iterator_types), True),
                    "SequenceNumber": Member(Text(pattern=SEQUENCE)),
                    "Timestamp": Member(_time),
                }
            ),
            True,
        ),
        **_dry,
    },
    "RegisterStreamConsumer": {"StreamARN": Member(_arn, True), "ConsumerName": Member(_name, True)},
    "DeregisterStreamConsumer": _consumer,
    "DescribeStreamConsumer": _consumer,
    "ListStreamConsumers": {
        "StreamARN": Member(_arn, True),
        "NextToken": Member(_token),
        "MaxResults": Member(_page),
        "StreamCreationTimestamp": Member(_time),
    },
    "SplitShard": {
        **_stream,
        "ShardToSplit": Member(_name, True),
        "NewStartingHashKey": Member(Text(pattern=HASH), True),
    },
    "MergeShards": {
        **_stream,
        "ShardToMerge": Member(_name, True),
        "AdjacentShardToMerge": Member(_name, True),
    },
    "UpdateShardCount": {
        **_stream,
        "TargetShardCount": Member(Whole(1), True),
        "ScalingType": Member(Text(choices=("UNIFORM_SCALING",)), True),
    },
    "UpdateStreamMode": {"StreamARN": Member(_arn, True), "StreamModeDetails": Member(_mode, True)},
    "UpdateMaxRecordSize": {"StreamARN": Member(_arn), "MaxRecordSizeInKiB": Member(_max_record, True)},
    "UpdateStreamRecordDistributionStrategy": {
        "StreamARN": Member(_arn, True),
        "RecordDistributionStrategy": Member(_strategy, True),
    },
    "Firehose.CreateDeliveryStream": {
        **_delivery_stream,
        "DeliveryStreamType": Member(_delivery_type),
        "DirectPutSourceConfiguration": Member(Structure({"ThroughputHintInMBs": Member(Whole(1, 100), True)})),
        "KinesisStreamSourceConfiguration": Member(
            Structure({"KinesisStreamARN": Member(Text(1, 512, _source_arn), True), "RoleARN": Member(_role, True)})
        ),
        **{name: Member(_s3 if "S3" in name else _other_destination) for name in DELIVERY_DESTINATIONS},
    },
    "Firehose.DeleteDeliveryStream": {**_delivery_stream, "AllowForceDelete": Member(_flag)},
    "Firehose.DescribeDeliveryStream": {
        **_delivery_stream,
        "Limit": Member(_page),
        "ExclusiveStartDestinationId": Member(Text(1, 100, "[a-zA-Z0-9-]+")),
    },
    "Firehose.ListDeliveryStreams": {
        "Limit": Member(_page),
        "DeliveryStreamType": Member(_delivery_type),
        "ExclusiveStartDeliveryStreamName": Member(_delivery_name),
    },
    "Firehose.PutRecord": {**_delivery_stream, "Record": Member(Structure(DELIVERY_ENTRY), True)},
    "Firehose.PutRecordBatch": {**_delivery_stream, "Records": Member(Plain((list, tuple), "List"), True)},
}
"""Every operation of the model with the members that it reads.

Other members are ignored, as in the service. Operations of Firehose have the prefix `Firehose.`.
"""


def requested_stream(params: Mapping[str, Any]) -> str | None:
    """Return the name of the request's stream, None if the request names none."""
    name = params.get("StreamName") or params.get("DeliveryStreamName")
    arn = params.get("StreamARN") or params.get("ConsumerARN")
    if isinstance(arn, str):
        name = arn.rpartition(":stream/")[2].partition("/consumer/")[0]
    return name


def check_record_count(records: Sized, most: int | None) -> None:
    """Raise ValidationException if a request has no records or more than `most`; None: no limit."""
    if most is not None and len(records) > most:
        raise validation(
            "1 validation error detected: Value at 'records' failed to satisfy constraint: "
            f"Member must have length less than or equal to {most}"
        )
    if not records:
        raise validation(
            "1 validation error detected: Value '[]' at 'records' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1"
        )


def check(members: Mapping[str, Member], params: Mapping[str, Any], place: str = "") -> None:
    """Raise ValidationException or SerializationException if members break their rules.

    place: what precedes a member's name in the error
    """
    violations = _violations(members, params, place)
    if violations:
        plural = "s" if len(violations) > 1 else ""
        raise validation(f"{len(violations)} validation error{plural} detected: {'; '.join(violations)}")


def _violations(members: Mapping[str, Member], params: Mapping[str, Any], place: str) -> list[str]:
    found = []
    for name, member in members.items():
        value = params.get(name)
        at = f"{place}{name[0].lower()}{name[1:]}"
        if value is None:
            if member.required:
                found.append(f"Value null at '{at}' failed to satisfy constraint: Member must not be null")
        elif isinstance(member.rule, Structure):
            if not isinstance(value, dict):
                raise ServiceError("SerializationException", "Expected a structure")
            found += _violations(member.rule.members, value, at + ".")
        else:
            violations = member.rule.violations(value)
            found += [f"Value '{value}' at '{at}' failed to satisfy constraint: {each}" for each in violations]
    return found
