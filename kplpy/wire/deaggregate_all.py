"""kplpy.deaggregate_all: the user records of many Kinesis records, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kplpy.records import UserRecord
from kplpy.wire.compressed import MAX_UNCOMPRESSED
from kplpy.wire.deaggregate import check_on_error, check_options, deaggregate
from kplpy.wire.envelope import MAX_RECORDS

KinesisRecord = bytes | bytearray | memoryview | Mapping[str, Any]
"""A Kinesis record in one of the forms that deaggregate() takes."""


def deaggregate_all(
    records: Iterable[KinesisRecord] | Mapping[str, Any],
    *,
    starting_hash_key: int | None = None,
    ending_hash_key: int | None = None,
    max_records: int | None = MAX_RECORDS,
    max_uncompressed: int | None = MAX_UNCOMPRESSED,
    on_error: Callable[[ValueError, KinesisRecord], object] | None = None,
) -> UserRecords:
    """Return an iterator over the user records of many Kinesis records, in order.

    records: an event of Lambda for a Kinesis stream, an event of a Firehose transformation, a response of boto3's
        GetRecords, or an iterable of records that deaggregate() takes.
    on_error: called with the error and the Kinesis record if deaggregate() cannot read the record. The iterator then
        goes on with the next Kinesis record. None: the iterator raises the error when it reaches the record. A further
        next() goes on with the next Kinesis record.
    starting_hash_key, ending_hash_key, max_records, max_uncompressed: as in deaggregate().

    Each Kinesis record is read when the iterator reaches it. So one record's user records are in memory at a time.

    Raises TypeError or ValueError at once for another type, a mapping of another form, and options that deaggregate()
    refuses. The iterator raises what deaggregate() raises.
    """
    options: dict[str, Any] = {
        "starting_hash_key": starting_hash_key,
        "ending_hash_key": ending_hash_key,
        "max_records": max_records,
        "max_uncompressed": max_uncompressed,
    }
    check_options(**options)
    check_on_error(on_error)
    return UserRecords(iter(_records_of(records)), options, on_error)


class UserRecords(Iterator[UserRecord]):
    """The iterator that deaggregate_all() returns. For one thread at a time.

    record: the Kinesis record that was reached last, as it was given. None before the first.
    """

    def __init__(
        self,
        records: Iterator[KinesisRecord],
        options: dict[str, Any],
        on_error: Callable[[ValueError, KinesisRecord], object] | None,
    ) -> None:
        self.record: KinesisRecord | None = None
        self._records = records
        self._options = options
        self._on_error = on_error
        self._inner: Iterator[UserRecord] = iter(())

    def __next__(self) -> UserRecord:
        while True:
            for record in self._inner:
                return record
            self.record = next(self._records)
            try:
                self._inner = iter(deaggregate(self.record, **self._options))
            except ValueError as error:
                if self._on_error is None:
                    raise
                self._on_error(error, self.record)

    @property
    def sequence_number(self) -> str | None:
        """The sequence number of `record`, also if the record cannot be read: Lambda's itemIdentifier."""
        for place, name in ((None, "SequenceNumber"), ("kinesis", "sequenceNumber"), (_METADATA, "sequenceNumber")):
            part = self._part() if place is None else self._part().get(place)
            if isinstance(part, Mapping) and isinstance(part.get(name), str):
                return str(part[name])
        return None

    @property
    def record_id(self) -> str | None:
        """The recordId of `record` in an event of Firehose; None in other forms."""
        record_id = self._part().get("recordId")
        return record_id if isinstance(record_id, str) else None

    def _part(self) -> Mapping[str, Any]:
        return self.record if isinstance(self.record, Mapping) else {}


_METADATA = "kinesisRecordMetadata"


def _records_of(given: Iterable[KinesisRecord] | Mapping[str, Any]) -> Iterable[KinesisRecord]:
    if isinstance(given, (str, bytes, bytearray, memoryview)) or not isinstance(given, Iterable):
        raise TypeError(f"records must be an event, a GetRecords response or an iterable, not {type(given).__name__}")
    if not isinstance(given, Mapping):
        return given
    name = "Records" if "Records" in given else "records"  # Firehose's
    if name not in given:
        raise ValueError(
            "an event or response must have 'Records' or 'records'; a single record is for deaggregate(); it has "
            f"{', '.join(map(repr, list(given)[:10])) or 'no fields'}"
        )
    if not isinstance(given[name], (list, tuple)):
        raise TypeError(f"{name!r} must be a list of Kinesis records, not {type(given[name]).__name__}")
    found: Iterable[KinesisRecord] = given[name]
    return found
