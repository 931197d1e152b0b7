"""Reads aggregated records as the KCL does.

"The KCL" is AggregatorUtil.deaggregate of awslabs/amazon-kinesis-client,
amazon-kinesis-client/src/main/java/software/amazon/kinesis/retrieval/AggregatorUtil.java. Its rules:

- A record is plain if the magic is missing, if nothing lies between magic and MD5, or if the MD5 is wrong. It is also
  plain if the message does not parse, or if a required field is missing.
- An aggregate is dropped whole if the hash key of any inner record lies outside the given range (by default all 128
  bits).
- An inner record is bad if an index lies outside its table, or if its explicit hash key is not an integer. The records
  before it are kept, the rest is lost, and the log says so.
"""

from __future__ import annotations

import hashlib
import logging
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from kplpy.errors import AggregateTooLargeError
from kplpy.logs import log
from kplpy.wire.envelope import DIGEST_SIZE, ENVELOPE, MAGIC
from kplpy.wire.schema import aggregated_record_class
from kplpy.wire.varint import read_varint

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger("kplpy")

MAX_HASH_KEY = 2**128 - 1
_SMALLEST_RECORD = 6  # bytes of a record without data in a message
_SMALLEST_TAG = 4
_TAGS = 4  # headers for each of max_records
_INTEGER = re.compile(r"[+-]?\d+")  # digits of any script, as Java's BigInteger reads them


class InnerRecord(NamedTuple):
    """One user record of an aggregate."""

    data: bytes
    partition_key: str
    explicit_hash_key: str | None
    headers: dict[str, str | None] | None = None


def decode_aggregate(
    data: bytes,
    starting_hash_key: int = 0,
    ending_hash_key: int = MAX_HASH_KEY,
    max_records: int | None = None,
) -> list[InnerRecord] | None:
    """Return the user records in a Kinesis record's data, or None for a plain record.

    The list is empty if the aggregate is dropped: a hash key lies outside [starting_hash_key, ending_hash_key].
    Raises AggregateTooLargeError if the aggregate has more than `max_records` records, or more keys in one table, or
    more than four times as many headers. That is before Python objects are made for them. None allows any number, as
    the KCL does. While protobuf parses, it takes up to 16 times the bytes of `data`.
    """
    if len(data) <= ENVELOPE or not data.startswith(MAGIC):
        return None
    body = memoryview(data)[len(MAGIC) : -DIGEST_SIZE]
    if hashlib.md5(body, usedforsecurity=False).digest() != data[-DIGEST_SIZE:]:
        return None
    return decode_message(bytes(body), starting_hash_key, ending_hash_key, max_records)


def decode_message(
    body: bytes,
    starting_hash_key: int = 0,
    ending_hash_key: int = MAX_HASH_KEY,
    max_records: int | None = None,
) -> list[InnerRecord] | None:
    """Do as decode_aggregate for the protobuf message within an aggregate or a compressed batch."""
    from google.protobuf.message import DecodeError

    # protobuf takes 80 bytes for a record of six, so what can exceed max_records is counted before protobuf reads it.
    if max_records is not None and len(body) > _SMALLEST_RECORD * max_records:
        _check_count(_count_fields(body, max_records), len(body), max_records)
    message: Any = aggregated_record_class()()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return None
    if not message.IsInitialized():
        return None

    largest = max(map(len, (message.records, message.partition_key_table, message.explicit_hash_key_table)))
    if max_records is not None:
        _check_count(largest, len(body), max_records)
        _check_headers(message.records, len(body), max_records)
    # Bytes that are not UTF-8 become replacement characters, as in Java.
    keys = [key.decode(errors="replace") for key in message.partition_key_table]
    hash_keys = [key.decode(errors="replace") for key in message.explicit_hash_key_table]
    # With the full range no key's MD5 can lie outside, so the MD5s need not be computed.
    is_full_range = starting_hash_key <= 0 and ending_hash_key >= MAX_HASH_KEY
    found: list[InnerRecord] = []
    try:
        for record in _inner_records(message.records, keys, hash_keys):
            if not (is_full_range and record.explicit_hash_key is None) and not (
                starting_hash_key <= _hash_key(record) <= ending_hash_key
            ):
                return []
            found.append(record)
    except (IndexError, ValueError) as error:
        fields = {"user_records": len(message.records), "kept": len(found), "reason": str(error)}
        log(logger, "aggregate_broken", fields)
    return found


def _check_count(count: int, size: int, max_records: int) -> None:
    if count > max_records:
        raise AggregateTooLargeError(
            f"an aggregated message of {size:,} bytes holds more user records or keys than max_records, "
            f"{max_records:,}; none of its records is returned",
            max_records,
        )


def _check_headers(records: Iterable[Any], size: int, max_records: int) -> None:
    if size <= _SMALLEST_TAG * _TAGS * max_records:
        return
    count = sum(len(each.tags) for each in records)
    if count > _TAGS * max_records:
        raise AggregateTooLargeError(
            f"an aggregated message of {size:,} bytes holds {count:,} headers, more than {_TAGS} for each of "
            f"max_records, {max_records:,}, user records; none of its records is returned",
            max_records,
        )


def _count_fields(body: bytes, limit: int) -> int:
    """Return how often the message's most frequent field occurs, at most `limit` + 1. 0: protobuf cannot parse it."""
    counts: dict[int, int] = {}
    place = 0
    try:
        while place < len(body):
            tag, place = read_varint(body, place)
            counts[tag] = count = counts.get(tag, 0) + 1
            if tag < 8:
                return 0
            if count > limit:
                return count
            kind = tag & 7
            if kind == 0:
                _, place = read_varint(body, place)
            elif kind == 2:
                size, place = read_varint(body, place)
                place += size
            elif kind in (1, 5):
                place += 8 if kind == 1 else 4
    except IndexError:
        return 0
    return max(counts.values(), default=0)


def _inner_records(records: Iterable[Any], keys: list[str], hash_keys: list[str]) -> Iterable[InnerRecord]:
    for record in records:
        hash_key = None
        if record.HasField("explicit_hash_key_index"):
            hash_key = hash_keys[record.explicit_hash_key_index]
        headers = _headers(record.tags) if record.tags else None
        yield InnerRecord(record.data, keys[record.partition_key_index], hash_key, headers)


def _headers(tags: Iterable[Any]) -> dict[str, str | None]:
    """Return the tags as headers. The last of several tags with the same key counts."""
    return {
        tag.key.decode(errors="replace"): tag.value.decode(errors="replace") if tag.HasField("value") else None
        for tag in tags
    }


def _hash_key(record: InnerRecord) -> int:
    explicit = record.explicit_hash_key
    if explicit is None:
        # The key was decoded from bytes, so it has no surrogates and encode() cannot fail.
        return int.from_bytes(hashlib.md5(record.partition_key.encode(), usedforsecurity=False).digest(), "big")
    if _INTEGER.fullmatch(explicit) is None:
        raise ValueError(f"explicit hash key {explicit!r} is not an integer")
    return int(explicit)
