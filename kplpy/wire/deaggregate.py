"""kplpy.deaggregate: takes the user records out of a Kinesis record from boto3, Lambda, Firehose or plain bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from kplpy.escaping import brief_repr
from kplpy.records import UserRecord
from kplpy.wire.compressed import MAX_UNCOMPRESSED, unpack_batch
from kplpy.wire.decode import MAX_HASH_KEY, InnerRecord, decode_aggregate, decode_message
from kplpy.wire.envelope import MAX_RECORDS


def deaggregate(
    record: bytes | bytearray | memoryview | Mapping[str, Any],
    *,
    starting_hash_key: int | None = None,
    ending_hash_key: int | None = None,
    max_records: int | None = MAX_RECORDS,
    max_uncompressed: int | None = MAX_UNCOMPRESSED,
) -> list[UserRecord]:
    """Return the user records in one Kinesis record; a plain record gives a list of one.

    record: the data itself; or a record of boto3's GetRecords (`Data`, `PartitionKey`, `SequenceNumber`,
        `ApproximateArrivalTimestamp`); or a record of a Lambda event (`{"kinesis": {"data": base64, …}, …}`); or a
        record of a Firehose transformation (`{"recordId": …, "data": base64, "kinesisRecordMetadata": …}`).
    starting_hash_key, ending_hash_key: 0 … 2**128-1, the first and last hash key of the shard that the record was read
        from. With them the KCL's rule applies: if the hash key of any inner record lies outside this range, the whole
        aggregate is dropped and the list is empty. Plain records are never dropped.
    max_records: 1 or more, how many user records an aggregate may hold. The default is 262,144, more than any aggregate
        of the KPL or kplpy holds. None allows any number, as the KCL does: 10 MiB can hold 1.7 million records, which
        take 400 MB.
    max_uncompressed: 1 or more, the most bytes that a compressed batch may have uncompressed. The default is 16 MiB.
        None allows any number.

    Every user record carries the Kinesis record's sequence number and arrival time, and its own sub_sequence_number,
    counted from 0. Firehose takes the KPL's aggregates apart itself, and says each record's sub-sequence number. Data
    that only looks aggregated (a wrong MD5, a message that does not parse) is a plain record.

    Raises AggregateTooLargeError for an aggregate of more than `max_records` records or four times as many headers,
    BatchTooLargeError for a compressed batch above `max_uncompressed`, and UnreadableBatchError for one of an unknown
    version or codec, or of zstd without a zstd library. All are ValueErrors. Raises TypeError if `record`, or a part
    of it, has another type. Raises ValueError for a mapping of another form, data in an event's record that is not
    base64, or an impossible hash range.
    """
    low, high = check_options(starting_hash_key, ending_hash_key, max_records, max_uncompressed)
    data, partition_key, sequence_number, arrival, sub_sequence_number = _read(record)
    inner = _inner_records(data, low, high, max_records, max_uncompressed)
    if inner is None:
        return [UserRecord(data, partition_key, None, sequence_number, sub_sequence_number, arrival)]
    return [
        UserRecord(data, key, hash_key, sequence_number, position, arrival, headers)
        for position, (data, key, hash_key, headers) in enumerate(inner)
    ]


def _inner_records(
    data: bytes, low: int, high: int, max_records: int | None, max_uncompressed: int | None
) -> list[InnerRecord] | None:
    message = unpack_batch(data, max_uncompressed)
    if message is None:
        return decode_aggregate(data, low, high, max_records)
    return decode_message(message, max_records=max_records) or None  # the KCL's rule is for aggregates only


def check_options(
    starting_hash_key: int | None, ending_hash_key: int | None, max_records: int | None, max_uncompressed: int | None
) -> tuple[int, int]:
    """Return the hash range. Raises TypeError or ValueError for an option that is not valid."""
    for name, value in (("starting_hash_key", starting_hash_key), ("ending_hash_key", ending_hash_key)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    for name, value in (("max_records", max_records), ("max_uncompressed", max_uncompressed)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{name} must be an int or None, not {type(value).__name__}")
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, or None for any number; got {value}")
    low = 0 if starting_hash_key is None else starting_hash_key
    high = MAX_HASH_KEY if ending_hash_key is None else ending_hash_key
    if not 0 <= low <= high <= MAX_HASH_KEY:
        raise ValueError(f"the hash range {low} … {high} must be in order and within 0 … 2**128-1")
    return low, high


def check_on_error(on_error: object) -> None:
    """Raise TypeError for an on_error that cannot be called."""
    if on_error is not None and not callable(on_error):
        raise TypeError(f"on_error must be a function of (error, record), or None; got {brief_repr(on_error)}")


_Parts = tuple[bytes, "str | None", "str | None", "datetime | None", int]


def _read(record: object) -> _Parts:
    if isinstance(record, (bytes, bytearray, memoryview)):
        return bytes(record), None, None, None, 0
    if not isinstance(record, Mapping):
        raise TypeError(
            "a record must be bytes, a GetRecords record, or a record of a Lambda or Firehose event, not "
            f"{type(record).__name__}"
        )
    if "Data" in record:
        return (
            _bytes(record["Data"], "Data"),
            _text(record, "PartitionKey"),
            _text(record, "SequenceNumber"),
            _time(record, "ApproximateArrivalTimestamp"),
            0,
        )
    kinesis = record.get("kinesis")
    if isinstance(kinesis, Mapping) and "data" in kinesis:
        return (
            _base64(kinesis["data"]),
            _text(kinesis, "partitionKey"),
            _text(kinesis, "sequenceNumber"),
            _time(kinesis, "approximateArrivalTimestamp"),
            0,
        )
    if "recordId" in record and "data" in record:
        return _read_firehose(record)
    if "Records" in record or "records" in record:
        raise ValueError("the mapping holds many records: call deaggregate_all() with it")
    raise ValueError(
        "a record must be a GetRecords record with 'Data', a Lambda event record with 'data' in 'kinesis', or a "
        f"Firehose record with 'recordId' and 'data'; it has {', '.join(map(repr, list(record)[:10])) or 'no fields'}"
    )


def _read_firehose(record: Mapping[Any, Any]) -> _Parts:
    metadata = record.get("kinesisRecordMetadata") or {}  # missing if no stream is Firehose's source
    if not isinstance(metadata, Mapping):
        raise TypeError(f"'kinesisRecordMetadata' must be a mapping, not {type(metadata).__name__}")
    given = metadata.get("subsequenceNumber")  # a number, or its text; "" for none
    try:
        sub_sequence_number = int(given or 0)
    except (TypeError, ValueError):
        raise ValueError(f"'subsequenceNumber' must be a number, got {brief_repr(given)}") from None
    arrival = _time(
        metadata if "approximateArrivalTimestamp" in metadata else record, "approximateArrivalTimestamp", 1000
    )
    data = _base64(record["data"])
    return data, _text(metadata, "partitionKey"), _text(metadata, "sequenceNumber"), arrival, sub_sequence_number


def _bytes(value: object, name: str) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{name!r} must be bytes, not {type(value).__name__}")


def _base64(value: object) -> bytes:
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"'data' must be base64 text, not {type(value).__name__}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"'data' is not base64: {error}") from None


def _text(record: Mapping[Any, Any], name: str) -> str | None:
    value = record.get(name)
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{name!r} must be a str, not {type(value).__name__}")


def _time(record: Mapping[Any, Any], name: str, units: int = 1) -> datetime | None:
    """Return a time that is a datetime (boto3), or a number since 1970: in seconds (Lambda), or `units` a second."""
    value = record.get(name)
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / units, timezone.utc)
    raise TypeError(f"{name!r} must be a datetime or seconds since 1970, not {type(value).__name__}")
