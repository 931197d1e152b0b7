"""Channel: what it delivers of a stream's records to S3, as objects with keys."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kplpy.local.model.errors import validation
from kplpy.local.model.resources import Resource
from kplpy.local.model.sequence import sequence_count
from kplpy.local.model.shard import Record
from kplpy.local.model.stream import ScheduledChanges, Stream

FRESHNESS = 300
"""Seconds after which undelivered data is delivered, by default."""
TEMPLATE = (
    "kinesis-channel/!{channel-name}/!{channel-id}/!{yyyy}/!{MM}/!{dd}/!{HH}/"
    "!{channel-name}-!{channel-id}-!{yyyy}-!{MM}-!{dd}-!{HH}-!{mm}!{extension}"
)
"""The service's own template of keys (docs.aws.amazon.com/streams/latest/dev/data-delivery-s3-key-template.html)."""
ERROR_PREFIX = "error/"
_LARGEST_OBJECT = 64 << 20
_TIMES = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M"}


@dataclass(frozen=True)
class StoredObject:
    """An object of S3. bucket: the bucket's name."""

    bucket: str
    key: str
    body: bytes


class Channel(ScheduledChanges, Resource):
    """A channel from a stream to S3.

    settings: the members of CreateChannel
    freshness: seconds after which data is delivered
    logging: the LoggingConfiguration structure
    delivered: the stream's count of records up to which they are delivered
    failure: why the channel cannot deliver; None if it can
    """

    def __init__(self, stream: Stream, arn: str, now: float, settings: Mapping[str, Any]) -> None:
        ScheduledChanges.__init__(self)
        Resource.__init__(self, arn)
        self.name: str = settings["ChannelName"]
        self.stream = stream
        self.created = now
        self.settings = settings
        self.freshness = self.destination.get("DataFreshnessInSeconds") or FRESHNESS
        self.logging = settings.get("LoggingConfiguration") or {"CloudWatchLogs": {"Enabled": False}}
        self.delivered = stream.count
        self.failure: str | None = None

    @property
    def id(self) -> str:
        return self.arn.rpartition("/")[2]

    @property
    def is_to_tables(self) -> bool:
        """True if the destination is S3 Tables."""
        return self.settings.get("S3TablesDestinationConfiguration") is not None

    @property
    def destination(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.settings[
            "S3TablesDestinationConfiguration" if self.is_to_tables else "S3DestinationConfiguration"
        ]
        return found

    @property
    def record_format(self) -> str:
        found: str = self.settings["StreamConfigurationList"][0]["RecordConfiguration"]["RecordFormatType"]
        return found

    def activate(self, now: float) -> None:
        """Deliver the records that come from now on."""
        self.delivered = self.stream.count
        self.set_status("ACTIVE")

    # --- what is delivered ---

    def due(self, now: float, seconds: float | None) -> tuple[list[StoredObject], int] | None:
        """Return the objects that are due and the value of `delivered` after them, None if none is due.

        seconds: the freshness that counts instead of the channel's own; None: its own
        """
        if self.status not in ("ACTIVE", "UPDATING") or self.delivered >= self.stream.count:
            return None
        taken: list[Record] = []
        size = 0
        for record in self.stream.since(self.delivered):
            if not taken and now - record.arrived < (self.freshness if seconds is None else seconds):
                return None
            taken.append(record)
            size += record.size
            if size >= _LARGEST_OBJECT:
                break
        if not taken:  # the stream has dropped them
            return [], self.stream.count
        return self._objects(taken, now), sequence_count(taken[-1].number)

    def _objects(self, records: list[Record], now: float) -> list[StoredObject]:
        storage = self.destination["StorageConfiguration"]
        sound: list[bytes] = []
        letters: list[bytes] = []
        for each in records:
            problem = _problem(self.record_format, each.data)
            if problem is None:
                sound.append(each.data)
            else:
                letters.append(_letter(each, problem))
        number = f"{sequence_count(records[0].number):012d}"
        objects = []
        if sound:
            separator = b"" if self.record_format == "BYTE_ARRAY" else b"\n"
            body = b"".join(each + separator for each in sound)
            if storage["CompressionType"] == "GZIP":
                body = gzip.compress(body, mtime=0)
            objects.append(StoredObject(_bucket(storage), self.key(now, f"{number}-{self.id[:8]}"), body))
        if letters:
            place = self.destination.get("DeadLetterQueueS3Configuration") or storage
            key = f"{place.get('ErrorOutputPrefix') or ERROR_PREFIX}{self.name}-{self.id}-{number}"
            objects.append(StoredObject(_bucket(place), key, b"".join(letters)))
        return objects

    def key(self, now: float, suffix: str) -> str:
        """Return the key of an object; the suffix is before the extension, else at the end.

        The suffix makes the key unique: by the first record, and by the channel, because two channels may have one
        template, and the records of a stream that was deleted and created again have the same numbers.

        Raises ValidationException for a template that the service refuses, or that leads out of the bucket.
        """
        template = self.destination["StorageConfiguration"].get("OutputKeyTemplate") or TEMPLATE
        extension = ".gz" if self.destination["StorageConfiguration"]["CompressionType"] == "GZIP" else ""
        moment = time.gmtime(now)
        values = {name: time.strftime(form, moment) for name, form in _TIMES.items()}
        values |= {"channel-name": self.name, "channel-id": self.id, "stream-name": self.stream.name}
        stem = template.removesuffix("!{extension}")
        values["extension"] = extension

        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise validation(f"OutputKeyTemplate has an unknown variable: {match[0]}")
            return values[match[1]]

        key = re.sub(r"!\{([^}]*)\}", value, stem) + f"-{suffix}" + (extension if stem != template else "")
        if any(each in ("", ".", "..") for each in key.split("/")) or stem.endswith("/"):
            raise validation(f"OutputKeyTemplate makes the key {key!r}, which has an empty part, or the part . or ..")
        return key

    # --- descriptions ---

    def describe(self) -> dict[str, Any]:
        """Return the ChannelDescription structure."""
        (stream,) = self.settings["StreamConfigurationList"]
        identity = {"StreamARN": self.stream.arn, "StreamCreationTimestamp": round(self.stream.created, 3)}
        destination = {**self.destination, "DataFreshnessInSeconds": self.freshness}
        if not self.is_to_tables and destination.get("DeadLetterQueueS3Configuration") is None:
            storage = destination["StorageConfiguration"]
            owner = {name: storage[name] for name in ("BucketARN", "ExpectedBucketOwner")}
            destination["DeadLetterQueueS3Configuration"] = {**owner, "ErrorOutputPrefix": ERROR_PREFIX}
        described = {
            **self._named(),
            "ServiceExecutionRoleARN": self.settings["ServiceExecutionRoleARN"],
            "StreamConfigurationList": [{**identity, "RecordConfiguration": stream["RecordConfiguration"]}],
            "LoggingConfiguration": self.logging,
        }
        described["S3TablesDestinationConfiguration" if self.is_to_tables else "S3DestinationConfiguration"] = (
            destination
        )
        if self.settings.get("EncryptionConfiguration") is not None:
            described["EncryptionConfiguration"] = self.settings["EncryptionConfiguration"]
        return described

    def summary(self) -> dict[str, Any]:
        """Return the ChannelSummary structure."""
        stream = {"StreamARN": self.stream.arn, "StreamCreationTimestamp": round(self.stream.created, 3)}
        kind = "S3_TABLES" if self.is_to_tables else "S3"
        return {**self._named(), "ChannelDestinationType": kind, "Streams": [stream]}

    def _named(self) -> dict[str, Any]:
        named: dict[str, Any] = {
            "ChannelName": self.name,
            "ChannelARN": self.arn,
            "ChannelId": self.id,
            "ChannelStatus": self.status,
            "ChannelCreationTimestamp": round(self.created, 3),
        }
        if self.failure is not None and self.status in ("ACTIVE", "UPDATING"):
            named |= {"ChannelStatus": "FAILED", "ChannelStatusReason": self.failure[:2048]}
        return named


def _bucket(configuration: Mapping[str, Any]) -> str:
    name: str = configuration["BucketARN"]
    return name.rpartition(":")[2]


def _letter(record: Record, problem: str) -> bytes:
    """Return the line of a dead letter. The service's own form is not published."""
    letter = {
        "errorMessage": problem,
        "sequenceNumber": str(record.number),
        "approximateArrivalTimestamp": record.arrived,
        "rawData": base64.b64encode(record.data).decode(),
    }
    return json.dumps(letter).encode() + b"\n"


def _problem(record_format: str, data: bytes) -> str | None:
    """Return why a record cannot be delivered, None if it can."""
    try:
        if record_format != "BYTE_ARRAY":
            text = data.decode()
            if record_format == "JSON":
                json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"The record is not {'JSON' if record_format == 'JSON' else 'UTF-8'}: {error}"
    return None
