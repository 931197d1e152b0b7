"""The members that each operation reads, with their rules.

Those of Kinesis and CloudWatch come from botocore's models (kinesis_shapes.py, cloudwatch_shapes.py), those of Firehose
from its API reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

from kplpy.local.model import cloudwatch_shapes, kinesis_shapes
from kplpy.local.model.errors import validation
from kplpy.local.model.rules import BLOB, FLAG, Member, Plain, Structure, Text, Whole

NAME = "[a-zA-Z0-9_.-]+"
HASH = r"^(0|([1-9]\d{0,38}))$"

# Without the length of Data: the stream's own maximum decides, and it can be switched off.
PUT_ENTRY = {
    "Data": Member(BLOB, True),
    "PartitionKey": Member(Text(1, 256)),
    "ExplicitHashKey": Member(Text(pattern=HASH)),
}

DELIVERY_ENTRY = {"Data": Member(BLOB, True)}

_page = Whole(1, 10_000)
_records = Member(Plain((list, tuple), "List"), True)  # their operations check each record themselves

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

_kinesis = kinesis_shapes.OPERATIONS

OPERATIONS: Mapping[str, Mapping[str, Member]] = {
    **_kinesis,
    "CreateStream": {**_kinesis["CreateStream"], "ShardCount": Member(Whole(1, 100_000))},
    "PutRecord": {**_kinesis["PutRecord"], **PUT_ENTRY},
    "PutRecords": {**_kinesis["PutRecords"], "Records": _records},
    **{f"CloudWatch.{name}": members for name, members in cloudwatch_shapes.OPERATIONS.items()},
    "Firehose.CreateDeliveryStream": {
        **_delivery_stream,
        "DeliveryStreamType": Member(_delivery_type),
        "DirectPutSourceConfiguration": Member(Structure({"ThroughputHintInMBs": Member(Whole(1, 100), True)})),
        "KinesisStreamSourceConfiguration": Member(
            Structure({"KinesisStreamARN": Member(Text(1, 512, _source_arn), True), "RoleARN": Member(_role, True)})
        ),
        **{name: Member(_s3 if "S3" in name else _other_destination) for name in DELIVERY_DESTINATIONS},
    },
    "Firehose.DeleteDeliveryStream": {**_delivery_stream, "AllowForceDelete": Member(FLAG)},
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
    "Firehose.PutRecordBatch": {**_delivery_stream, "Records": _records},
}
"""Every operation of the model with the members that it reads.

Other members are ignored, as in the service. Operations of Firehose have the prefix `Firehose.`,
those of CloudWatch `CloudWatch.`.
"""


def requested_stream(params: Mapping[str, Any]) -> str | None:
    """Return the name of the request's stream, None if the request names none."""
    name = params.get("StreamName") or params.get("DeliveryStreamName")
    arn = params.get("StreamARN") or params.get("ConsumerARN") or params.get("ResourceARN")
    if isinstance(arn, str):
        name = arn.partition(":stream/")[2].partition("/consumer/")[0] or None
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
