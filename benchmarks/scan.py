"""Reads a PutRecords body with little CPU time: the number of entries, and the shard of each.

Base64 and hash keys contain no quotation marks. Splitting the body at quotation marks (memchr, in C) therefore gives
the entries' parts at a fixed distance. A partition key with an escaped quotation mark would break that; the benchmarks
use none. tests/unit compares this with a JSON parser.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import md5

import cbor2

SEQUENCE_NUMBER = "49600000000000000000000000000000000000000000000000000000"
_DATA, _KEY, _HASH_KEY = b"Data", b"PartitionKey", b"ExplicitHashKey"


def shards_of(stream: str) -> int:
    """Return the number of shards, which ends the stream's name, as in `bench-16`. Streams need no creation."""
    return int(stream.rpartition("-")[2])


def first_hash_key(shard: int, shards: int) -> int:
    """Return the first hash key of a shard. The shard of a hash key is hash_key × shards >> 128."""
    return -(-(shard << 128) // shards)


def shard_id(shard: int) -> str:
    return f"shardId-{shard:012}"


@cache
def _accepted(shard: int) -> dict[str, str]:
    return {"SequenceNumber": SEQUENCE_NUMBER, "ShardId": shard_id(shard)}


@cache
def _entry(shard: int) -> bytes:
    return json.dumps(_accepted(shard), separators=(",", ":")).encode()


def stream_of(body: bytes) -> str:
    """Return the stream's name, which is at one of the body's two ends."""
    for part in (body[:300], body[-300:]):
        _, found, after = part.partition(b'"StreamName"')
        if found:
            return after.split(b'"', 2)[1].decode()
    raise ValueError("no StreamName at either end of the body")


def put_records(body: bytes) -> tuple[int, bytes]:
    """Return the number of entries and the response: all accepted, on the shards of their hash keys."""
    shards = shards_of(stream_of(body))
    parts = body.split(b'"')
    count = parts.count(_DATA)
    hash_keys = [int(key) for key in _values(parts, _HASH_KEY, count)]
    if not hash_keys:  # entries without hash keys; no producer sends a body with both kinds
        hash_keys = [int.from_bytes(md5(key).digest(), "big") for key in _values(parts, _KEY, count)]
    entries = [_entry(key * shards >> 128) for key in hash_keys]
    return count, b'{"FailedRecordCount":0,"Records":[' + b",".join(entries) + b"]}"


def put_records_in_cbor(body: bytes) -> tuple[int, bytes]:
    """Do the same for CBOR. cbor2 is faster than a scan, because data needs no decoding."""
    request = cbor2.loads(body)
    shards = shards_of(request["StreamName"])
    keys = [
        int(entry["ExplicitHashKey"])
        if "ExplicitHashKey" in entry
        else int.from_bytes(md5(entry["PartitionKey"].encode()).digest(), "big")
        for entry in request["Records"]
    ]
    entries = [_accepted(key * shards >> 128) for key in keys]
    return len(keys), cbor2.dumps({"FailedRecordCount": 0, "Records": entries})


def _values(parts: list[bytes], name: bytes, count: int) -> list[bytes]:
    """Return each entry's value of this name, or nothing if an entry has none."""
    if name not in parts:
        return []
    first = parts.index(name)
    step = parts.index(name, first + 1) - first if count > 1 and parts.count(name) > 1 else len(parts)
    if parts[first::step].count(name) == count:
        return parts[first + 2 :: step][:count]
    found = [parts[at + 2] for at, part in enumerate(parts) if part == name]  # members in different orders
    return found if len(found) == count else []


def list_shards(params: dict[str, object]) -> dict[str, object]:
    """Return a page of a stream's shards. The token has the stream and the first shard of the next page."""
    token = params.get("NextToken")
    stream, _, start = str(token).partition("/") if token else (str(params["StreamName"]), "", "0")
    shards, begin = shards_of(stream), int(start)
    end = min(shards, begin + int(str(params.get("MaxResults", 1000))))
    page: dict[str, object] = {
        "Shards": [
            {
                "ShardId": shard_id(shard),
                "HashKeyRange": {
                    "StartingHashKey": str(first_hash_key(shard, shards)),
                    "EndingHashKey": str(first_hash_key(shard + 1, shards) - 1),
                },
                "SequenceNumberRange": {"StartingSequenceNumber": SEQUENCE_NUMBER},
            }
            for shard in range(begin, end)
        ]
    }
    return page | {"NextToken": f"{stream}/{end}"} if end < shards else page
