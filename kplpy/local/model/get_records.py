"""The operations GetShardIterator and GetRecords."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from kplpy.local.model.errors import ServiceError, invalid_argument, not_found, throttled
from kplpy.local.model.limits import MIB
from kplpy.local.model.put_records import rate_exceeded
from kplpy.local.model.sequence import (
    TOKEN_SECONDS,
    pack_token,
    sequence_count,
    sequence_shard,
    sequence_valid,
    shard_index,
    unpack_token,
)
from kplpy.local.model.shard import Record, Shard
from kplpy.local.model.stream import Stream

MAX_RECORDS = 10_000
MAX_BYTES = 10 * MIB


def find_shard(stream: Stream, name: str, account: str) -> Shard:
    """Return the shard with this id; ResourceNotFoundException if it does not exist."""
    index = shard_index(name)
    shard = stream.shards.get(index) if index is not None else None
    if shard is None:
        raise not_found(f"Shard {name} in stream {stream.name} under account {account} does not exist")
    return shard


def get_shard_iterator(stream: Stream, params: Mapping[str, Any], now: float, account: str) -> dict[str, Any]:
    shard = find_shard(stream, params["ShardId"], account)
    number = starting_number(stream, shard, params, now, account)
    return {"ShardIterator": _iterator(stream, shard, number, now)}


def starting_number(stream: Stream, shard: Shard, params: Mapping[str, Any], now: float, account: str) -> int:
    kind: str = params["ShardIteratorType"]
    given: str | None = params.get("StartingSequenceNumber")
    by_number = kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")
    if by_number == (given is None):
        raise invalid_argument(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "
            f"(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {kind} and "
            f"{'no' if given is None else 'also a'} StartingSequenceNumber."
        )
    if given is not None:
        number = int(given)
        if not sequence_valid(number) or sequence_shard(number) != shard.index:
            raise invalid_argument(
                f"StartingSequenceNumber {given} used in GetShardIterator on shard {shard.id} in stream "
                f"{stream.name} under account {account} is invalid."
            )
        return number + 1 if kind == "AFTER_SEQUENCE_NUMBER" else number
    if kind == "TRIM_HORIZON":
        return shard.base
    if kind == "LATEST":
        return shard.floor(stream.count + 1)
    moment = params.get("Timestamp")
    if moment is None:
        raise invalid_argument(
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. "
            "Current request has no timestamp parameter."
        )
    if moment > now:
        raise invalid_argument(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
            f"timestampInMillis: {int(moment * 1000)}, currentTimestampInMillis: {int(now * 1000)}"
        )
    position = shard.position_at(moment)
    return shard.records[position].number if position < len(shard.records) else shard.floor(stream.count + 1)


def _iterator(stream: Stream, shard: Shard, number: int, now: float) -> str:
    return pack_token("iterator", f"{now:.6f}", stream.incarnation, shard.index, number, stream.name)


class Iterator:
    """A shard iterator token, parsed and checked.

    Raises InvalidArgumentException for an invalid token, ExpiredIteratorException after TOKEN_SECONDS.
    """

    def __init__(self, token: str, now: float) -> None:
        parts = unpack_token("iterator", token, 5)
        if parts is None:
            raise invalid_argument("Invalid ShardIterator.")
        created_at = float(parts[0])
        if now - created_at > TOKEN_SECONDS:
            raise ServiceError(
                "ExpiredIteratorException",
                f"Iterator expired. The iterator was created at time {_date(created_at)} while right now it is "
                f"{_date(now)} which is further in the future than the tolerated delay of 300000 milliseconds.",
            )
        self.incarnation, self.index, self.number = map(int, parts[1:4])
        self.stream = parts[4]


def _date(moment: float) -> str:
    return time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(moment))


def get_records(
    stream: Stream, iterator: Iterator, params: Mapping[str, Any], now: float, account: str
) -> dict[str, Any]:
    shard = stream.shards.get(iterator.index)
    if shard is None or iterator.incarnation != stream.incarnation:
        raise not_found(f"Shard {iterator.index} in stream {stream.name} under account {account} does not exist")
    if shard.read_rate is not None and not shard.read_rate.take(now):
        raise throttled(rate_exceeded(shard, stream, account))
    found, size, position = _read(shard, iterator.number, params.get("Limit") or MAX_RECORDS)
    if shard.read_rate is not None:
        shard.read_rate.charge(size)
    has_more = position < len(shard.records)
    response: dict[str, Any] = {
        "Records": describe_records(stream, found),
        "MillisBehindLatest": int(1000 * (now - found[-1].arrived)) if has_more else 0,
    }
    if has_more or shard.closed is None:
        next_number = found[-1].number + 1 if found else iterator.number
        response["NextShardIterator"] = _iterator(stream, shard, next_number, now)
    else:
        response["ChildShards"] = shard.describe_children()
    return response


def _read(shard: Shard, number: int, limit: int) -> tuple[list[Record], int, int]:
    """Return the records from `number` on, their size in bytes, and the position after the last.

    They are at most `limit` records and 10 MiB, except that a single record may be larger.
    """
    position = shard.position(number)
    found: list[Record] = []
    size = 0
    while position < len(shard.records) and len(found) < limit:
        record = shard.records[position]
        if found and size + record.size > MAX_BYTES:
            break
        found.append(record)
        size += record.size
        position += 1
    return found, size, position


def describe_records(stream: Stream, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the Record structures of GetRecords and SubscribeToShard."""
    described = [_describe(each) for each in records]
    if stream.was_encrypted:
        for each, record in zip(described, records, strict=True):
            each["EncryptionType"] = "KMS" if stream.is_encrypted(sequence_count(record.number)) else "NONE"
    return described


def _describe(record: Record) -> dict[str, Any]:
    described: dict[str, Any] = {
        "SequenceNumber": str(record.number),
        "ApproximateArrivalTimestamp": round(record.arrived, 3),
        "Data": record.data,
    }
    if record.key is not None:
        described["PartitionKey"] = record.key
    return described
