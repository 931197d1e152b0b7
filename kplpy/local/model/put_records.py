"""The operations PutRecord and PutRecords: they check, route, throttle and store records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from kplpy.local.model.errors import ServiceError, invalid_argument, throttled, validation
from kplpy.local.model.faults import Fault
from kplpy.local.model.limits import KIB, Limits
from kplpy.local.model.rules import check
from kplpy.local.model.sequence import HASH_KEYS, hash_key, in_range, sequence_number
from kplpy.local.model.shard import Record, Shard
from kplpy.local.model.stream import AUTO, Stream
from kplpy.local.model.validation import HASH, PUT_ENTRY, check_record_count

THROTTLED = "ProvisionedThroughputExceededException"
_HASH = re.compile(HASH).fullmatch
_FAILURES = {"InternalFailure": "Internal service failure."}


class Entry(NamedTuple):
    """One record of a request, checked and routed.

    A tuple, because thousands are made per second.
    """

    shard: Shard
    size: int
    data: bytes
    key: str | None
    explicit: str | None


def route_records(
    stream: Stream, records: Sequence[Mapping[str, Any]], limits: Limits, first_position: int = 1
) -> list[Entry]:
    """Check the whole request and route its records.

    One bad record fails the request: nothing is accepted.

    first_position: the position of the first record in error messages; 0 for PutRecord's only record
    """
    check_record_count(records, limits.request_records)
    auto = stream.strategy == AUTO
    # How the service places the records of AUTO streams is not published. Round robin is even and repeatable.
    turns = cycle(stream.open[stream.count % len(stream.open) :] + stream.open[: stream.count % len(stream.open)])
    largest = stream.max_record_kib * KIB if limits.record_size else None
    total = 0
    entries = []
    for position, record in enumerate(records, first_position):
        try:
            data, key, explicit = record["Data"], record.get("PartitionKey"), record.get("ExplicitHashKey")
        except (KeyError, TypeError, AttributeError):
            data, key, explicit = None, None, None
        if (
            type(data) is not bytes
            or type(key) is not str
            or not 0 < len(key) <= 256
            or (explicit is not None and (type(explicit) is not str or not _HASH(explicit)))
        ):
            data = _check_record(record, position, auto)
        size = len(data) + (0 if key is None else len(key) if key.isascii() else len(key.encode()))
        if largest is not None and size > largest:
            raise _too_large(stream, size, position)
        total += size
        if auto:
            shard = next(turns)
        else:
            shard = stream.route(hash_key(key) if explicit is None else in_range(explicit))
        entries.append(Entry(shard, size, data, key, explicit))
    if limits.request_bytes is not None and total > limits.request_bytes:
        raise invalid_argument(f"Records size exceeds {limits.request_bytes >> 20} MB limit")
    return entries


def shards_by_key(stream: Stream, records: object) -> set[str]:
    """Return the ids of the shards to which the records' keys route them.

    The records are not checked yet; records that cannot be routed are left out.
    """
    found: set[str] = set()
    if not isinstance(records, list) or not stream.open or stream.strategy == AUTO:
        return found
    for record in records:
        if not isinstance(record, Mapping):
            continue
        key, explicit = record.get("PartitionKey"), record.get("ExplicitHashKey")
        if isinstance(explicit, str) and _HASH(explicit) and int(explicit) < HASH_KEYS:
            found.add(stream.route(int(explicit)).id)
        elif isinstance(key, str):
            found.add(stream.route(hash_key(key)).id)
    return found


def _check_record(record: object, position: int, auto: bool) -> bytes:
    """Check all members of one record and return its data as bytes.

    route_records() calls it for a record that fails its quick check.
    """
    if not isinstance(record, Mapping):
        raise ServiceError("SerializationException", "Expected a structure")
    place = f"records.{position}.member." if position else ""
    check(PUT_ENTRY, record, place)
    if record.get("PartitionKey") is None and not auto:
        raise validation(
            f"1 validation error detected: Value null at '{place}partitionKey' failed to satisfy constraint: "
            "Member must not be null"
        )
    return bytes(record["Data"])


def _too_large(stream: Stream, size: int, position: int) -> ServiceError:
    which = f"Record {position}" if position else "A record"
    return invalid_argument(
        f"{which} of {size} bytes (data and partition key) is larger than the maximum record size of "
        f"{stream.max_record_kib} KiB of stream {stream.name}."
    )


def apply_limits(
    stream: Stream, entries: Sequence[Entry], now: float, request: int, fault: Fault | None, account: str
) -> tuple[list[dict[str, str]], list[tuple[Shard, Record]]]:
    """Accept or refuse each entry by the shards' limits and the fault.

    Returns the response's entries, and the accepted records for store_records(). Charges the shards' limits and changes
    nothing else.
    """
    response_entries = []
    accepted: list[tuple[Shard, Record]] = []
    count = stream.count
    for position, (shard, size, data, key, explicit) in enumerate(entries):
        if fault is not None and fault.fails_entry(position, shard.id):
            response_entries.append(_refusal(fault.entry_code or "", shard, stream, account, fault.message))
            continue
        if shard.write_rate is not None and not shard.write_rate.take(size, now):
            response_entries.append(_refusal(THROTTLED, shard, stream, account, ""))
            continue
        count += 1
        record = Record(sequence_number(shard.base, count, now), now, key, data, explicit, request)
        accepted.append((shard, record))
        response_entries.append({"SequenceNumber": str(record.number), "ShardId": shard.id})
    return response_entries, accepted


def store_records(stream: Stream, accepted: list[tuple[Shard, Record]], store: bool) -> None:
    """Add the records that apply_limits() accepted; without `store`, only count them."""
    stream.count += len(accepted)
    for shard, record in accepted:
        size = record.size
        shard.add(record, size, store)
        if store:
            stream.held_bytes += size


def _refusal(code: str, shard: Shard, stream: Stream, account: str, message: str) -> dict[str, str]:
    if not message:
        message = _FAILURES.get(code) or rate_exceeded(shard, stream, account)
    return {"ErrorCode": code, "ErrorMessage": message}


def rate_exceeded(shard: Shard, stream: Stream, account: str) -> str:
    return f"Rate exceeded for shard {shard.id} in stream {stream.name} under account {account}."


def put_record_response(entry: Mapping[str, str]) -> dict[str, str]:
    """Return PutRecord's response for its entry; raise ServiceError if the entry was refused."""
    code = entry.get("ErrorCode")
    if code == THROTTLED:
        raise throttled(entry["ErrorMessage"])
    if code is not None:
        raise ServiceError(code, entry["ErrorMessage"], 500 if code == "InternalFailure" else 400)
    return {"ShardId": entry["ShardId"], "SequenceNumber": entry["SequenceNumber"]}
