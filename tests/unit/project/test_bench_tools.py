"""The sink's scan, the reference producer, and the guard's arithmetic are right."""

from __future__ import annotations

import base64
import itertools
import json
from hashlib import md5

import cbor2
import pytest

from benchmarks import guard, scan
from benchmarks.reference import Record, ReferenceProducer, encode, varint
from kplpy import deaggregate


def body(entries: list[dict[str, str]], shards: int, separators: tuple[str, str]) -> bytes:
    return json.dumps({"StreamName": f"bench-{shards}", "Records": entries}, separators=separators).encode()


def hash_of(key: str) -> int:
    return int.from_bytes(md5(key.encode()).digest(), "big")


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("shards", [1, 3, 16, 4096])
@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("count", [1, 2, 500])
def test_scan_finds_entries_and_their_shards(
    separators: tuple[str, str], shards: int, explicit: bool, count: int
) -> None:
    keys = [f"key-{n}" for n in range(count)]
    entries = [
        {"Data": base64.b64encode(b"x" * n).decode(), "PartitionKey": key}
        | ({"ExplicitHashKey": str(hash_of(key))} if explicit else {})
        for n, key in enumerate(keys)
    ]
    found, answer = scan.put_records(body(entries, shards, separators))
    assert found == count
    response = json.loads(answer)
    assert response["FailedRecordCount"] == 0
    for key, entry in zip(keys, response["Records"], strict=True):
        shard = int(entry["ShardId"].rpartition("-")[2])
        assert scan.first_hash_key(shard, shards) <= hash_of(key) < scan.first_hash_key(shard + 1, shards)


def test_cbor_gets_the_same_response() -> None:
    keys = [f"key-{n}" for n in range(500)]
    entries = [{"Data": b"x", "ExplicitHashKey": str(hash_of(key)), "PartitionKey": "a"} for key in keys]
    request = {"Records": entries, "StreamName": "bench-3"}
    found, answer = scan.put_records_in_cbor(cbor2.dumps(request, indefinite_containers=True))
    texts = [{"Data": "eA==", "ExplicitHashKey": str(hash_of(key)), "PartitionKey": "a"} for key in keys]
    assert (found, cbor2.loads(answer)) == (500, json.loads(scan.put_records(body(texts, 3, (",", ":")))[1]))
    by_key = {"Records": [{"Data": b"x", "PartitionKey": key} for key in keys], "StreamName": "bench-3"}
    assert scan.put_records_in_cbor(cbor2.dumps(by_key)) == (500, answer)


def test_scan_reads_entries_with_members_in_different_order() -> None:
    entries = [
        {"PartitionKey": "a", "ExplicitHashKey": str((1 << 128) - 1), "Data": "eA=="},
        {"Data": "eA==", "ExplicitHashKey": "0", "PartitionKey": "a"},
    ]
    _, answer = scan.put_records(body(entries, 2, (",", ":")))
    assert [each["ShardId"][-1] for each in json.loads(answer)["Records"]] == ["1", "0"]


def test_scan_finds_the_stream_at_the_end() -> None:
    text = json.dumps({"Records": [{"Data": "eA==" * 1000, "PartitionKey": "a"}], "StreamName": "bench-1"})
    assert scan.put_records(text.encode())[0] == 1


def test_listed_shards_cover_all_hash_keys_once() -> None:
    pages, params = [], {"StreamName": "bench-4096", "MaxResults": 1000}
    while True:
        page = json.loads(json.dumps(scan.list_shards(dict(params))))
        pages += page["Shards"]
        if "NextToken" not in page:
            break
        params = {"NextToken": page["NextToken"], "MaxResults": 1000}
    ranges = [(int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"])) for s in pages]
    assert len(ranges) == 4096
    assert ranges[0][0] == 0
    assert ranges[-1][1] == (1 << 128) - 1
    assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(ranges))


@pytest.mark.parametrize("number", [0, 127, 128, 300, 51_200])
def test_reference_varints_are_read_back(number: int) -> None:
    value = 0
    for place, byte in enumerate(varint(number)):
        value |= (byte & 0x7F) << 7 * place
    assert value == number


def test_reference_aggregates_are_read_back() -> None:
    records = [Record(b"x" * n, f"key-{n % 3}", 0) for n in range(300)]
    found = deaggregate(encode(records))
    assert [(each.data, each.partition_key) for each in found] == [(each.data, each.key) for each in records]


def test_reference_sends_every_record_to_its_shard() -> None:
    sent: list[tuple[int, list[bytes]]] = []
    starts = [scan.first_hash_key(shard, 4) for shard in range(4)]

    def send(request: bytes) -> list[str]:
        entries = json.loads(request)["Records"]
        for entry in entries:
            shard = int(entry["ExplicitHashKey"]) * 4 >> 128
            records = deaggregate(base64.b64decode(entry["Data"]))
            assert {hash_of(each.partition_key or "") * 4 >> 128 for each in records} == {shard}
            sent.append((shard, [each.data for each in records]))
        return [f"shard-{int(entry['ExplicitHashKey']) * 4 >> 128}" for entry in entries]

    producer = ReferenceProducer(starts, send)
    futures = [producer.put_record("s", f"{n}".encode(), f"key-{n}") for n in range(20_000)]
    producer.flush("s")
    assert sorted(data for _, each in sent for data in each) == sorted(f"{n}".encode() for n in range(20_000))
    assert all(f.result(0) == f"shard-{hash_of(f'key-{n}') * 4 >> 128}" for n, f in enumerate(futures))


def test_guard_fails_beyond_a_quarter_only() -> None:
    recorded = {"a": 4.0, "b": 2.0}
    assert guard.fallen({"a": 3.01, "b": 1.51}, recorded) == []
    assert guard.fallen({"a": 2.99, "b": 1.51}, recorded) == ["a"]
