"""Firehose: the account's delivery streams, and the operations on them.

Operations have the prefix `Firehose.` in the model, because Kinesis has a PutRecord too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kplpy.local.model.account import Account, Params, Response
from kplpy.local.model.delivery_stream import DeliveryStream
from kplpy.local.model.errors import ServiceError, in_use, invalid_argument, not_found, over_limit, validation
from kplpy.local.model.limits import KIB, Limits
from kplpy.local.model.rules import check
from kplpy.local.model.validation import DELIVERY_DESTINATIONS, DELIVERY_ENTRY, check_record_count

DIRECT_PUT = "DirectPut"
LARGEST_RECORD = 1000 * KIB


class Firehose:
    """All delivery streams of one account in one region, and the operations on them except puts."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.streams: dict[str, DeliveryStream] = {}
        self.deleted: list[DeliveryStream] = []
        self._incarnations = 0

    def call(self, operation: str, params: Params, now: float) -> Response:
        """Carry out one of OPERATIONS. The caller has checked the members of `params`."""
        return OPERATIONS[operation](self, params, now)

    def find(self, name: str, now: float) -> DeliveryStream:
        """Return the delivery stream as it is at `now`; raise ResourceNotFoundException if it does not exist."""
        stream = self.streams.get(name)
        if stream is not None:
            stream.apply_changes(now)
            stream = self.streams.get(name)  # the changes may have completed the stream's deletion
        if stream is None:
            raise self._not_found(name)
        stream.trim(now)
        return stream

    def writable(self, params: Params, now: float) -> DeliveryStream:
        """Return the delivery stream for a put.

        Raises ResourceNotFoundException unless the stream is ACTIVE, InvalidArgumentException if it reads a Kinesis
        stream.
        """
        stream = self.find(params["DeliveryStreamName"], now)
        if stream.status != "ACTIVE":
            raise self._not_found(stream.name)
        if stream.kind != DIRECT_PUT:
            raise invalid_argument(f"This operation is not permitted on {stream.kind} delivery stream type.")
        return stream

    def arn(self, name: str) -> str:
        """Return the ARN of a delivery stream with this name."""
        return f"arn:aws:firehose:{self.account.region}:{self.account.number}:deliverystream/{name}"

    def _not_found(self, name: str) -> ServiceError:
        return not_found(f"Firehose {name} under account {self.account.number} not found.")

    def _create(self, params: Params, now: float) -> Response:
        name, account = params["DeliveryStreamName"], self.account
        if sum(params.get(each) is not None for each in DELIVERY_DESTINATIONS) != 1:
            raise invalid_argument("Exactly one destination configuration is supported for a Firehose")
        is_reader = params.get("DeliveryStreamType") == "KinesisStreamAsSource"
        if is_reader != (params.get("KinesisStreamSourceConfiguration") is not None):
            raise invalid_argument(
                "KinesisStreamSourceConfiguration is required for KinesisStreamAsSource, and for no other type."
            )
        for each in list(self.streams.values()):
            each.apply_changes(now)
        if name in self.streams:
            raise in_use(f"Firehose {name} under accountId {account.number} already exists")
        most = account.limits.firehose_streams
        if most is not None and len(self.streams) >= most:
            raise over_limit(f"You have already consumed your firehose quota of {most} hoses.")
        self._incarnations += 1
        stream = DeliveryStream(name, self.arn(name), now, self._incarnations, account.limits, dict(params))
        self.streams[name] = stream
        stream.schedule(now + account.phases.creating, lambda _: stream.set_status("ACTIVE"))
        stream.apply_changes(now)
        return {"DeliveryStreamARN": stream.arn}

    def _delete(self, params: Params, now: float) -> Response:
        stream = self.find(params["DeliveryStreamName"], now)
        if stream.status == "CREATING":
            raise in_use(f"Firehose {stream.name} under account {self.account.number} is in state CREATING.")
        if stream.status == "DELETING":
            return {}

        def remove(_: float) -> None:
            del self.streams[stream.name]
            if self.account.keep_deleted:
                self.deleted.append(stream)

        stream.delete(now, self.account.phases.deleting, remove)
        return {}

    def _describe(self, params: Params, now: float) -> Response:
        stream = self.find(params["DeliveryStreamName"], now)
        described: dict[str, Any] = {
            "DeliveryStreamName": stream.name,
            "DeliveryStreamARN": stream.arn,
            "DeliveryStreamStatus": stream.status,
            "DeliveryStreamType": stream.kind,
            "VersionId": "1",
            "CreateTimestamp": round(stream.created, 3),
            "Destinations": [] if params.get("ExclusiveStartDestinationId") else [_destination(stream.settings)],
            "HasMoreDestinations": False,
        }
        if stream.settings.get("DirectPutSourceConfiguration"):
            described["Source"] = {"DirectPutSourceDescription": stream.settings["DirectPutSourceConfiguration"]}
        elif stream.kind != DIRECT_PUT:
            source = stream.settings["KinesisStreamSourceConfiguration"]
            started = {"DeliveryStartTimestamp": round(stream.created, 3)}
            described["Source"] = {"KinesisStreamSourceDescription": {**source, **started}}
        return {"DeliveryStreamDescription": described}

    def _list(self, params: Params, now: float) -> Response:
        for each in list(self.streams.values()):
            each.apply_changes(now)
        start, kind = params.get("ExclusiveStartDeliveryStreamName") or "", params.get("DeliveryStreamType")
        names = [
            name for name, each in sorted(self.streams.items()) if name > start and (kind is None or each.kind == kind)
        ]
        limit = params.get("Limit") or 10
        return {"DeliveryStreamNames": names[:limit], "HasMoreDeliveryStreams": len(names) > limit}


OPERATIONS: Mapping[str, Callable[[Firehose, Params, float], Response]] = {
    "Firehose.CreateDeliveryStream": Firehose._create,
    "Firehose.DeleteDeliveryStream": Firehose._delete,
    "Firehose.DescribeDeliveryStream": Firehose._describe,
    "Firehose.ListDeliveryStreams": Firehose._list,
}

READ_ONLY_OPERATIONS = frozenset({"Firehose.DescribeDeliveryStream", "Firehose.ListDeliveryStreams"})
"""The OPERATIONS that change nothing, so the journal does not keep them."""


def _destination(settings: Params) -> Response:
    """Return the Destination structure: the members that the destination was created with."""
    name = next(each for each in DELIVERY_DESTINATIONS if settings.get(each) is not None)
    described: dict[str, Any] = {"DestinationId": "destinationId-000000000001"}
    kind = name.removesuffix("Configuration")
    described[f"{kind}Description"] = settings[name]
    if kind in ("S3Destination", "ExtendedS3Destination"):
        defaults = {
            "BufferingHints": {"SizeInMBs": 5, "IntervalInSeconds": 300},
            "CompressionFormat": "UNCOMPRESSED",
            "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
        }
        # As in the service, both structures describe an S3 destination, whichever it was created with.
        for each in ("S3DestinationDescription", "ExtendedS3DestinationDescription"):
            described[each] = {**defaults, **settings[name]}
    return described


def check_records(records: Sequence[object], limits: Limits, single: bool = False) -> list[bytes]:
    """Return the data of a put's records; one bad record fails the request.

    single: the only record of a PutRecord
    """
    if not single:
        check_record_count(records, limits.firehose_request_records)
    largest = LARGEST_RECORD if limits.firehose_record_size else None
    found: list[bytes] = []
    too_large: list[str] = []
    total = 0
    for position, record in enumerate(records, 1):
        place = "record." if single else f"records.{position}.member."
        data = record.get("Data") if isinstance(record, Mapping) else None
        if type(data) is not bytes:
            if not isinstance(record, Mapping):
                raise ServiceError("SerializationException", "Expected a structure")
            check(DELIVERY_ENTRY, record, place)
            data = bytes(record["Data"])
        size = len(data)
        if largest is not None and size > largest:
            too_large.append(
                f"Value 'java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]' at '{place}data' failed to satisfy "
                f"constraint: Member must have length less than or equal to {largest}"
            )
        total += size
        found.append(data)
    if too_large:
        plural = "s" if len(too_large) > 1 else ""
        raise validation(f"{len(too_large)} validation error{plural} detected: {'; '.join(too_large)}")
    if limits.firehose_request_bytes is not None and total > limits.firehose_request_bytes:
        raise invalid_argument(f"Records size exceeds {limits.firehose_request_bytes >> 20} MB limit")
    return found
