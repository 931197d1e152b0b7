"""Reading a PutRecords body for next to nothing: how many entries, and which shard each one lands on.

Base64 and hash keys hold no quotation marks, so splitting the body at them (memchr, in C) gives the entries' parts in a
fixed rhythm. Partition keys with an escaped quotation mark would break it; the benchmarks use none. tests/unit checks
this against a real JSON parser.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import md5

import cbor2

SEQUENCE_NUMBER = "49600000000000000000000000000000000000000000000000000000"
_DATA, _KEY, _HASH_KEY = b"Data", b"PartitionKey", b"ExplicitHashKey"


def shards_of(stream: str) -> int:
    """The number of shards is the end of the stream's name, as in `bench-16`: nothing has to be created."""
    return int(stream.rpartition("-")[2])


def first_hash_key(shard: int, shards: int) -> int:
    """Where a shard's range begins: shard = hash_key × shards >> 128, rounded up."""
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
    """The stream's name stands at one of the two ends."""
    for part in (body[:300], body[-300:]):
        _, found, after = part.partition(b'"StreamName"')
        if found:
            return after.split(b'"', 2)[1].decode()
    raise ValueError("no StreamName at either end of the body")


def put_records(body: bytes) -> tuple[int, bytes]:
    """The number of entries, and the answer to them: all accepted, on the shards of their hash keys."""
    shards = shards_of(stream_of(body))
    parts = body.split(b'"')
    count = parts.count(_DATA)
    hash_keys = [int(key) for key in _values(parts, _HASH_KEY, count)]
    if not hash_keys:  # left to the service; a body with both kinds would need more, and nobody sends one
        hash_keys = [int.from_bytes(md5(key).digest(), "big") for key in _values(parts, _KEY, count)]
    entries = [_entry(key * shards >> 128) for key in hash_keys]
    return count, b'{"FailedRecordCount":0,"Records":[' + b",".join(entries) + b"]}"


def put_records_in_cbor(body: bytes) -> tuple[int, bytes]:
    """As put_records; nothing has to be decoded there, so cbor2 costs less than a scan."""
    request = cbor2.loads(body)
    shards = shards_of(request["StreamName"])
    keys = [int(entry["ExplicitHashKey"]) for entry in request["Records"]]
    entries = [_accepted(key * shards >> 128) for key in keys]
    return len(keys), cbor2.dumps({"FailedRecordCount": 0, "Records": entries})


def _values(parts: list[bytes], name: bytes, count: int) -> list[bytes]:
    """Each entry's value of this name; nothing when not every entry has one."""
    if name not in parts:
        return []
    first = parts.index(name)
    step = parts.index(name, first + 1) - first if count > 1 and parts.count(name) > 1 else len(parts)
    if parts[first::step].count(name) == count:
        return parts[first + 2 :: step][:count]
    found = [parts[at + 2] for at, part in enumerate(parts) if part == name]  # an uneven rhythm
    return found if len(found) == count else []


def list_shards(params: dict[str, object]) -> dict[str, object]:
    """A page of a stream's shards; the token carries what the next page has to know."""
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
