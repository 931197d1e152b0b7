"""PutRecord and PutRecords: what is checked, where a record goes, what is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from kplpy.local.model.errors import ServiceError, invalid_argument, throttled, validation
from kplpy.local.model.faults import Fault
from kplpy.local.model.limits import KIB, Limits
from kplpy.local.model.sequence import HASH_KEYS, hash_key, in_range, sequence_number
from kplpy.local.model.shard import Record, Shard
from kplpy.local.model.stream import AUTO, Stream
from kplpy.local.model.validation import HASH, PUT_ENTRY, check

THROTTLED = "ProvisionedThroughputExceededException"
_HASH = re.compile(HASH).fullmatch
_FAILURES = {"InternalFailure": "Internal service failure."}


class Entry(NamedTuple):
    """One record of a request, checked and routed. A tuple, because thousands are made a second."""

    shard: Shard
    size: int
    data: bytes
    key: str | None
    explicit: str | None


def entries_of(stream: Stream, records: Sequence[Mapping[str, Any]], limits: Limits, first: int = 1) -> list[Entry]:
    """Check the whole request and route its records. One bad record fails the request: nothing is accepted.

    `first`: how errors number the first record; 0: it is PutRecord's only one.
    """
    if limits.request_records is not None and len(records) > limits.request_records:
        raise validation(
            "1 validation error detected: Value at 'records' failed to satisfy constraint: "
            f"Member must have length less than or equal to {limits.request_records}"
        )
    if not records:
        raise validation(
            "1 validation error detected: Value '[]' at 'records' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1"
        )
    auto = stream.strategy == AUTO
    # Service-managed placement is not published; taking turns spreads records evenly and is repeatable.
    turns = cycle(stream.open[stream.count % len(stream.open) :] + stream.open[: stream.count % len(stream.open)])
    largest = stream.max_record_kib * KIB if limits.record_size else None
    total = 0
    entries = []
    for position, record in enumerate(records, first):
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
            data = _careful(record, position, auto)
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
    """The ids of the shards that the records, not checked yet, are for; what cannot be routed is left out."""
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


def _careful(record: object, position: int, auto: bool) -> bytes:
    """The checks of one record in full; returns its data as bytes."""
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


def judge(
    stream: Stream, entries: Sequence[Entry], now: float, request: int, fault: Fault | None, account: str
) -> tuple[list[dict[str, str]], list[tuple[Shard, Record]]]:
    """Decide what the shards' limits and the fault allow; returns the answer's entries, and what take_in() must get.

    Only the shards' allowances are charged already.
    """
    answers = []
    accepted: list[tuple[Shard, Record]] = []
    count = stream.count
    for position, (shard, size, data, key, explicit) in enumerate(entries):
        if fault is not None and fault.hits(position, shard.id):
            answers.append(_refusal(fault.entry_code or "", shard, stream, account, fault.message))
            continue
        if shard.write_rate is not None and not shard.write_rate.take(size, now):
            answers.append(_refusal(THROTTLED, shard, stream, account, ""))
            continue
        count += 1
        record = Record(sequence_number(shard.base, count, now), now, key, data, explicit, request)
        accepted.append((shard, record))
        answers.append({"SequenceNumber": str(record.number), "ShardId": shard.id})
    return answers, accepted


def take_in(stream: Stream, accepted: list[tuple[Shard, Record]], store: bool) -> None:
    """Add the records that judge() accepted; without `store`, only count them."""
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


def single(answer: Mapping[str, str]) -> dict[str, str]:
    """PutRecord's answer from the only entry of a put; a refused entry is an error of the whole request."""
    code = answer.get("ErrorCode")
    if code == THROTTLED:
        raise throttled(answer["ErrorMessage"])
    if code is not None:
        raise ServiceError(code, answer["ErrorMessage"], 500 if code == "InternalFailure" else 400)
    return {"ShardId": answer["ShardId"], "SequenceNumber": answer["SequenceNumber"]}
