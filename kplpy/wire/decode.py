"""Reads aggregated records as the KCL does.

"The KCL" is AggregatorUtil.deaggregate of awslabs/amazon-kinesis-client,
amazon-kinesis-client/src/main/java/software/amazon/kinesis/retrieval/AggregatorUtil.java. It takes a record

- as plain when the magic is missing, when nothing lies between magic and MD5, when the MD5 is wrong, and when the
  message does not parse (a missing required field included);
- as dropped, whole, when the hash key of any inner record lies outside the range given (by default all 128 bits);
- up to the first bad inner record, when an index lies outside its table or an explicit hash key is no integer:
  what came before stays, the rest is lost, and the log says so.
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

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger("kplpy")

MAX_HASH_KEY = 2**128 - 1
_INTEGER = re.compile(r"[+-]?\d+")  # of any script, as Java's BigInteger reads it


class InnerRecord(NamedTuple):
    """One user record of an aggregate."""

    data: bytes
    partition_key: str
    explicit_hash_key: str | None


def decode_aggregate(
    data: bytes,
    starting_hash_key: int = 0,
    ending_hash_key: int = MAX_HASH_KEY,
    max_records: int | None = None,
) -> list[InnerRecord] | None:
    """The user records in a Kinesis record's data, or None when it is a plain record.

    An empty list: dropped, because a hash key lies outside [starting_hash_key, ending_hash_key]. Raises
    AggregateTooLargeError, before Python objects are made, when there are more than `max_records` records, or keys in a
    table (None: any number, as the KCL takes). protobuf itself takes up to 16 times the bytes of `data` meanwhile.
    """
    if len(data) <= ENVELOPE or not data.startswith(MAGIC):
        return None
    body = memoryview(data)[len(MAGIC) : -DIGEST_SIZE]
    if hashlib.md5(body, usedforsecurity=False).digest() != data[-DIGEST_SIZE:]:
        return None

    from google.protobuf.message import DecodeError

    message: Any = aggregated_record_class()()
    try:
        message.ParseFromString(bytes(body))
    except DecodeError:
        return None
    if not message.IsInitialized():
        return None

    most = max(map(len, (message.records, message.partition_key_table, message.explicit_hash_key_table)))
    if max_records is not None and most > max_records:
        raise AggregateTooLargeError(
            f"an aggregated record of {len(data):,} bytes holds {most:,} user records or keys, more than max_records, "
            f"{max_records:,}; nothing is taken out of it",
            max_records,
        )
    # As Java does it: bytes that are not UTF-8 become replacement characters.
    keys = [key.decode(errors="replace") for key in message.partition_key_table]
    hash_keys = [key.decode(errors="replace") for key in message.explicit_hash_key_table]
    every_hash = starting_hash_key <= 0 and ending_hash_key >= MAX_HASH_KEY  # then no MD5 of a key lies outside
    found: list[InnerRecord] = []
    try:
        for record in _inner_records(message.records, keys, hash_keys):
            if not (every_hash and record.explicit_hash_key is None) and not (
                starting_hash_key <= _hash_key(record) <= ending_hash_key
            ):
                return []
            found.append(record)
    except (IndexError, ValueError) as error:
        fields = {"user_records": len(message.records), "kept": len(found), "reason": str(error)}
        log(logger, "aggregate_broken", fields)
    return found


def _inner_records(records: Iterable[Any], keys: list[str], hash_keys: list[str]) -> Iterable[InnerRecord]:
    for record in records:
        hash_key = None
        if record.HasField("explicit_hash_key_index"):
            hash_key = hash_keys[record.explicit_hash_key_index]
        yield InnerRecord(record.data, keys[record.partition_key_index], hash_key)


def _hash_key(record: InnerRecord) -> int:
    explicit = record.explicit_hash_key
    if explicit is None:
        # surrogates cannot occur: the key was decoded from bytes
        return int.from_bytes(hashlib.md5(record.partition_key.encode(), usedforsecurity=False).digest(), "big")
    if _INTEGER.fullmatch(explicit) is None:
        raise ValueError(f"explicit hash key {explicit!r} is no integer")
    return int(explicit)
