"""Runs `kplpy tail` as a process against a local Kinesis: shards, their children, and failures."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kplpy import Producer
from kplpy.local import Fault, LocalKinesis
from kplpy.wire.envelope import MAGIC
from tests.integration.cli_process import COMMAND, Running, environment, on_terminal, run
from tests.integration.reading import wait_until

MIDDLE = 1 << 127


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=1) as running:
        yield running


@pytest.fixture
def at(kinesis: LocalKinesis) -> list[str]:
    return ["test", "--endpoint-url", kinesis.endpoint_url, "--interval", "0.2"]


def put(kinesis: LocalKinesis, *data: bytes, hash_key: int | None = None) -> None:
    """Put records, which kplpy aggregates if there are several."""
    with Producer(endpoint_url=kinesis.endpoint_url, region_name=kinesis.region_name) as producer:
        for each in data:
            producer.put_record("test", each, "key", explicit_hash_key=hash_key)


def split(kinesis: LocalKinesis, shard: str, boundary: int) -> None:
    kinesis.handle("SplitShard", {"StreamName": "test", "ShardToSplit": shard, "NewStartingHashKey": str(boundary)})


def merge(kinesis: LocalKinesis, left: str, right: str) -> None:
    kinesis.handle("MergeShards", {"StreamName": "test", "ShardToMerge": left, "AdjacentShardToMerge": right})


def shard(number: int) -> str:
    return f"shardId-{number:012}"


def test_new_records_are_read_through_a_split_and_a_merge(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    put(kinesis, b"before")
    with Running(tmp_path, "tail", *at, "--json", "--limit", "9") as command:
        command.wait_for(b"reading 1 shard of test from now on")
        put(kinesis, b"a1", b"a2", b"a3")
        split(kinesis, shard(0), MIDDLE)
        # Records go to both children, before and after the reader knows the children.
        put(kinesis, b"b1", b"b2", hash_key=0)
        command.wait_for(b'"b2"')
        put(kinesis, b"b3", hash_key=MIDDLE)
        merge(kinesis, shard(1), shard(2))
        put(kinesis, b"c1", b"c2", b"c3")
        assert command.end() == 0
    found = [json.loads(line) for line in command.out.splitlines()]
    assert sorted(each["data"] for each in found) == "a1 a2 a3 b1 b2 b3 c1 c2 c3".split()
    assert {each["data"]: each["shard"] for each in found} == {
        **dict.fromkeys(("a1", "a2", "a3"), shard(0)),
        **dict.fromkeys(("b1", "b2"), shard(1)),
        "b3": shard(2),
        **dict.fromkeys(("c1", "c2", "c3"), shard(3)),
    }
    # Parents come first.
    order = [each["data"] for each in found]
    assert order[:3] == ["a1", "a2", "a3"]
    assert order[-3:] == ["c1", "c2", "c3"]


def test_from_the_start_children_come_after_their_parents(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    put(kinesis, b"1", b"2", hash_key=5)
    split(kinesis, shard(0), MIDDLE)
    put(kinesis, b"3", b"4", hash_key=5)
    merge(kinesis, shard(1), shard(2))
    put(kinesis, b"5", b"6", hash_key=5)
    done = run(tmp_path, "tail", *at, "--from-start", "--no-follow")
    assert (done.returncode, done.stdout) == (0, b"1\n2\n3\n4\n5\n6\n")
    assert b"reading 1 shard of test from the oldest record on" in done.stderr


def test_json_shows_all_parts_of_a_record(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    before = time.time()
    put(kinesis, "zwölf".encode(), b"\xff", hash_key=7)
    done = run(tmp_path, "tail", *at, "--from-start", "--until-idle", "0.1", "--json", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    (entry,) = kinesis.ledger("test")
    arrival = first.pop("arrival")
    assert arrival.endswith("+00:00")
    assert before - 1 <= entry.time <= time.time()
    assert first == {
        "stream": "test",
        "data": "zwölf",
        "partition_key": "key",
        "explicit_hash_key": "7",
        "shard": entry.shard_id,
        "sequence_number": entry.sequence_number,
        "sub_sequence_number": 0,
    }
    assert (second["data_base64"], second["sub_sequence_number"]) == ("/w==", 1)


def test_one_streams_records_put_on_another(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    kinesis.handle("CreateStream", {"StreamName": "copy", "ShardCount": 1})
    put(kinesis, b"a", b"\xff", hash_key=7)
    output = run(tmp_path, "tail", *at, "--from-start", "--no-follow", "--json").stdout
    there = ["--endpoint-url", kinesis.endpoint_url]
    assert run(tmp_path, "put", "copy", *there, "--from-failed", "-", given=output).returncode == 0
    copied = run(tmp_path, "tail", "copy", *there, "--from-start", "--no-follow", "--json").stdout
    parts = ("data", "data_base64", "partition_key", "explicit_hash_key", "sub_sequence_number")

    def comparable(output: bytes) -> list[list[Any]]:
        return [[json.loads(line).get(part) for part in parts] for line in output.splitlines()]

    assert comparable(copied) == comparable(output)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_records_cannot_control_the_terminal(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    evil = [b"\x1b]0;title\x07\x1b[31mred", b"a\rb\nc\td", "zw\u00f6lf \u202e".encode(), b"\xff\x9b2J"]
    put(kinesis, *evil, hash_key=0)
    from_start = ("--from-start", "--no-follow", "-q")
    piped = run(tmp_path, "tail", *at, *from_start)
    assert piped.stdout == b"".join(each + b"\n" for each in evil)
    code, shown = on_terminal(tmp_path, "tail", *at, *from_start)
    assert (code, shown.decode().splitlines()) == (
        0,
        ["\\x1b]0;title\\x07\\x1b[31mred", "a\\rb\\nc\\td", "zw\u00f6lf \\u202e", "\\xff\\x9b2J"],
    )
    code, shown = on_terminal(tmp_path, "tail", *at, *from_start, "--json")
    assert code == 0
    assert b"\x1b" not in shown
    assert [json.loads(line).get("data") for line in shown.splitlines()][:2] == [each.decode() for each in evil[:2]]


def test_the_services_messages_cannot_control_the_terminal(
    kinesis: LocalKinesis, at: list[str], tmp_path: Path
) -> None:
    kinesis.faults.fail("AccessDeniedException", "one\x1b[2J\ntwo", operation="ListShards", times=1000)
    done = run(tmp_path, "tail", *at)
    assert done.returncode == 1
    assert b"\x1b" not in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert b"one\\x1b[2J\\ntwo" in done.stderr


def test_an_aggregate_of_too_many_records_is_skipped_and_reported(
    kinesis: LocalKinesis, at: list[str], tmp_path: Path
) -> None:
    message = b"\x0a\x01k" + b"\x1a\x04\x08\x00\x1a\x00" * 50_000
    crowd = MAGIC + message + hashlib.md5(message).digest()
    message = b"\x0a\x00" * 262_145  # keys without records
    keys = MAGIC + message + hashlib.md5(message).digest()
    put(kinesis, b"before")
    for data in (crowd, keys):
        kinesis.handle("PutRecord", {"StreamName": "test", "Data": data, "PartitionKey": "k"})
    put(kinesis, b"after")
    done = run(tmp_path, "tail", *at, "--from-start", "--no-follow")
    assert done.returncode == 0
    assert done.stdout == b"before\n" + b"\n" * 50_000 + b"after\n"
    assert b"skipped: an aggregated message of 524,290 bytes holds more user records or keys" in done.stderr


def test_from_a_time_on(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    put(kinesis, b"old")
    # Older versions of botocore send whole seconds only.
    moment = math.floor(kinesis.ledger("test")[-1].time) + 1
    wait_until(lambda: time.time() > moment)
    put(kinesis, b"new")
    for text, expected in ((str(moment), b"new\n"), ("1h", b"old\nnew\n"), ("2020-01-01T00:00:00Z", b"old\nnew\n")):
        done = run(tmp_path, "tail", *at, "--at-timestamp", text, "--no-follow")
        assert (done.returncode, done.stdout) == (0, expected)


def test_temporary_failures_are_retried(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    put(kinesis, b"1")
    kinesis.faults.fail("ProvisionedThroughputExceededException", times=2, operation="GetRecords")
    kinesis.faults.fail("ExpiredIteratorException", operation="GetRecords")
    kinesis.faults.fail("InternalFailure", status=500, operation="GetRecords")
    kinesis.faults.cut(accepted=True, operation="GetRecords")
    with Running(tmp_path, "tail", *at, "--from-start", "--limit", "2") as command:
        command.wait_for(b"1\n", seconds=60)
        # After a later expiry, reading continues after the last record read.
        kinesis.faults.fail("ExpiredIteratorException", operation="GetRecords")
        put(kinesis, b"2")
        assert command.end() == 0
    assert command.out == b"1\n2\n"


def test_reads_stay_below_the_shards_limit(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    """The reader keeps the shard's limit by itself, without a refusal, whether or not it is behind."""
    reads: list[float] = []

    def count(operation: str, params: object, now: float) -> Fault | None:
        if operation == "GetRecords":
            reads.append(now)
        return None

    kinesis.faults.plan = count
    with Running(tmp_path, "tail", *at) as command:
        wait_until(lambda: len(reads) >= 8)
        command.process.send_signal(signal.SIGINT)
        assert command.end() == 130
    assert reads[7] - reads[0] >= 7 * 0.2 * 0.9


def test_ctrl_c_ends_it(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130)):
        with Running(tmp_path, "tail", *at) as command:
            command.wait_for(b"reading 1 shard")
            command.process.send_signal(number)
            assert command.end(15) == code
        assert b"Traceback" not in command.err


def test_it_ends_when_its_output_is_closed(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    put(kinesis, b"1", b"2", b"3")
    process = subprocess.Popen(
        [*COMMAND, "tail", *at, "--from-start"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert os.read(process.stdout.fileno(), 2) == b"1\n"
    process.stdout.close()  # as `| head -1` does, and no further record comes
    assert process.wait(30) == 0
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_a_deleted_stream_is_reported(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    with Running(tmp_path, "tail", *at) as command:
        command.wait_for(b"reading 1 shard")
        kinesis.handle("DeleteStream", {"StreamName": "test"})
        assert command.end(30) == 1
    assert b"Error: ResourceNotFoundException: " in command.err
