"""kplpy.deaggregate: takes the user records out of a Kinesis record from boto3, Lambda or plain bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

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
        `ApproximateArrivalTimestamp`); or a record of a Lambda event (`{"kinesis": {"data": base64, …}, …}`).
    starting_hash_key, ending_hash_key: 0 … 2**128-1, the first and last hash key of the shard that the record was read
        from. With them the KCL's rule applies: if the hash key of any inner record lies outside this range, the whole
        aggregate is dropped and the list is empty. Plain records are never dropped.
    max_records: 1 or more, how many user records an aggregate may hold. The default is 262,144, more than any aggregate
        of the KPL or kplpy holds. None allows any number, as the KCL does: 10 MiB can hold 1.7 million records, which
        take 400 MB.

    Every user record carries the Kinesis record's sequence number and arrival time, and its own sub_sequence_number,
    counted from 0. Data that only looks aggregated (a wrong MD5, a message that does not parse) is a plain record.

    Raises AggregateTooLargeError, a ValueError, for an aggregate of more than `max_records` records. Raises TypeError
    if `record`, or a part of it, has another type. Raises ValueError for a mapping of another form, data in a Lambda
    record that is not base64, or an impossible hash range.
    """
    low, high = _hash_range(starting_hash_key, ending_hash_key)
    if max_records is not None and (isinstance(max_records, bool) or not isinstance(max_records, int)):
        raise TypeError(f"max_records must be an int or None, not {type(max_records).__name__}")
    if max_records is not None and max_records < 1:
        raise ValueError(f"max_records must be at least 1, or None for any number; got {max_records}")
    data, partition_key, sequence_number, arrival = _read(record)
    inner = _inner_records(data, low, high, max_records, max_uncompressed)
    if inner is None:
        return [UserRecord(data, partition_key, None, sequence_number, 0, arrival)]
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


def _hash_range(low: int | None, high: int | None) -> tuple[int, int]:
    for name, value in (("starting_hash_key", low), ("ending_hash_key", high)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    low = 0 if low is None else low
    high = MAX_HASH_KEY if high is None else high
    if not 0 <= low <= high <= MAX_HASH_KEY:
        raise ValueError(f"the hash range {low} … {high} must be in order and within 0 … 2**128-1")
    return low, high


_Parts = tuple[bytes, "str | None", "str | None", "datetime | None"]


def _read(record: object) -> _Parts:
    if isinstance(record, (bytes, bytearray, memoryview)):
        return bytes(record), None, None, None
    if not isinstance(record, Mapping):
        raise TypeError(
            f"a record must be bytes, a GetRecords record or a Lambda event record, not {type(record).__name__}"
        )
    if "Data" in record:
        return (
            _bytes(record["Data"], "Data"),
            _text(record, "PartitionKey"),
            _text(record, "SequenceNumber"),
            _time(record, "ApproximateArrivalTimestamp"),
        )
    kinesis = record.get("kinesis")
    if isinstance(kinesis, Mapping) and "data" in kinesis:
        return (
            _base64(kinesis["data"]),
            _text(kinesis, "partitionKey"),
            _text(kinesis, "sequenceNumber"),
            _time(kinesis, "approximateArrivalTimestamp"),
        )
    if "Records" in record:
        raise ValueError("the mapping holds many records: call deaggregate() with each of its 'Records'")
    raise ValueError(
        "a record must be a GetRecords record with 'Data' or a Lambda event record with 'data' in 'kinesis'; "
        f"it has {', '.join(map(repr, list(record)[:10])) or 'no fields'}"
    )


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


def _time(record: Mapping[Any, Any], name: str) -> datetime | None:
    # boto3 gives datetimes, Lambda gives seconds since 1970.
    value = record.get(name)
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, timezone.utc)
    raise TypeError(f"{name!r} must be a datetime or seconds since 1970, not {type(value).__name__}")
