"""Runs a KCL application on what kplpy writes, while the stream is split and merged: every record must arrive once.

The application is decoders/java's KclApplication, with KCL 3 and kplpy's Java classes. It reads from a local Kinesis
and keeps its leases in moto's DynamoDB. The script needs Java 17, mvn and the packages of decoders/java. It takes half
a minute, and longer when Maven must fetch the packages.

`scripts/kcl_application.py [--record]` ends with 0 if every record arrived once, as it was put. --record keeps the
Kinesis records, and what the application printed, in tests/parity/kcl_application.jsonl.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import queue
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from moto.server import ThreadedMotoServer

from kplpy import Producer
from kplpy.local import LocalKinesis
from kplpy.wire.compressed import pack_batch
from scripts.vectors import message_of, user_record

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/decoders"
ANSWERS = ROOT / "tests/parity/kcl_application.jsonl"
STREAM = "orders"
PATIENCE = 150  # seconds for the whole run, building not counted
"""The KCL itself takes some 20 s to become the leader and to lease the shards."""


def main() -> int:
    if shutil.which("mvn") is None or shutil.which("javac") is None:
        print("left out: the KCL application needs Java 17 and mvn")
        return 0
    classpath = build()
    deadline = time.monotonic() + PATIENCE
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    dynamo = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    dynamo.start()
    host, port = dynamo.get_host_and_port()
    try:
        with LocalKinesis(streams={STREAM: 2}, limits=False) as kinesis:
            command = ["java", "-cp", classpath, "kplpy.KclApplication", STREAM, kinesis.endpoint_url]
            with Application([*command, f"http://{host}:{port}"]) as application:
                sent = put_while_resharding(kinesis, application)
                found = application.read(sum(map(len, sent.values())), deadline)
            records = list(kinesis.ledger(STREAM))
    finally:
        dynamo.stop()
    return report(sent, found, records, record="--record" in sys.argv[1:])


def build() -> str:
    """Compile decoders/java in build/ and return the class path."""
    work = BUILD / "kcl"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(ROOT / "decoders/java", work)
    command = ["mvn", "-q", "-B", "-ntp", "test-compile", "dependency:build-classpath", "-Dmdep.outputFile=target/path"]
    subprocess.run(command, cwd=work, check=True, timeout=170)
    entries = [str(work / "target/classes"), str(work / "target/test-classes")]
    return os.pathsep.join([*entries, (work / "target/path").read_text(encoding="utf-8").strip()])


class Application:
    """The running KCL application. It ends with the block."""

    def __init__(self, command: list[str]) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        log = (BUILD / "kcl_application.log").open("w")
        with log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, encoding="utf-8"
            )
        self.has_records = threading.Event()
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
            self.has_records.set()
        self._lines.put(None)

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def read(self, count: int, deadline: float) -> list[dict[str, Any]]:
        """Return what was printed, once it is `count` lines, and 3 s later, in which nothing more should come."""
        found: list[dict[str, Any]] = []
        while True:
            is_complete = len(found) >= count
            try:
                line = self._lines.get(timeout=3 if is_complete else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return found
            if line is None:
                return found
            found.append(json.loads(line))


def put_while_resharding(kinesis: LocalKinesis, application: Application) -> dict[str, list[Any]]:
    """Put aggregates, compressed batches and plain records in waves; the shards change during and between them.

    Returns the user records by the way that they were put.
    """
    sent: dict[str, list[Any]] = {"aggregates": [], "batches": [], "plain": []}
    client = kinesis.client()
    chance = random.Random(7)
    numbers = iter(range(10_000))
    with kinesis.producer(record_max_buffered_time_ms=50) as producer:
        for wave, change in enumerate(reshardings(client)):
            if wave == 1 and not application.has_records.wait(PATIENCE):
                break
            futures = []
            for step in range(6):
                mine = [records_of(next(numbers), chance, "aggregate") for _ in range(8)]
                futures += [put(producer, each) for each in mine]
                sent["aggregates"] += mine
                batch = [records_of(next(numbers), chance, "batch") for _ in range(8)]
                put_batch(client, batch, ("none", "gzip", "zstd")[step % 3])
                sent["batches"] += batch
                plain = user_record(b"plain %d" % next(numbers), "plain")
                client.put_record(StreamName=STREAM, Data=plain.data, PartitionKey=plain.partition_key)
                sent["plain"].append(plain)
                if step == 3:
                    change()
            for future in futures:
                future.result(timeout=30)
    return sent


def records_of(number: int, chance: random.Random, word: str) -> Any:
    hash_key = str(chance.getrandbits(128)) if number % 5 == 0 else None
    headers = {"number": str(number), "none": None} if word == "batch" and number % 2 else None
    return user_record(b"%s %d" % (word.encode(), number), f"key-{number % 40}", hash_key, headers)


def put(producer: Producer, record: Any) -> Any:
    return producer.put_record(STREAM, record.data, record.partition_key, explicit_hash_key=record.explicit_hash_key)


def put_batch(client: Any, batch: list[Any], codec: Any) -> None:
    """Put a compressed batch, to any shard: the KCL's rule for aggregates does not apply."""
    data = pack_batch(message_of(batch), codec, 3)
    client.put_record(StreamName=STREAM, Data=data, PartitionKey=batch[0].partition_key)


def reshardings(client: Any) -> Iterator[Any]:
    """Yield what to do in each wave: split a shard, split another, merge two, nothing."""

    def open_shards() -> list[Any]:
        shards = client.list_shards(StreamName=STREAM)["Shards"]
        live = [each for each in shards if "EndingSequenceNumber" not in each["SequenceNumberRange"]]
        return sorted(live, key=lambda each: int(each["HashKeyRange"]["StartingHashKey"]))

    def split(place: int) -> None:
        shard = open_shards()[place]
        low, high = (int(shard["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey"))
        middle = str((low + high) // 2)
        client.split_shard(StreamName=STREAM, ShardToSplit=shard["ShardId"], NewStartingHashKey=middle)

    def merge(place: int) -> None:
        first, second = open_shards()[place : place + 2]
        client.merge_shards(StreamName=STREAM, ShardToMerge=first["ShardId"], AdjacentShardToMerge=second["ShardId"])

    yield lambda: split(0)
    yield lambda: split(2)
    yield lambda: merge(1)
    yield lambda: merge(0)
    yield lambda: None


def as_put(record: Any, keeps_headers: bool) -> tuple[Any, ...]:
    headers = json.dumps(record.headers, sort_keys=True) if keeps_headers else "null"
    return record.data, record.partition_key, record.explicit_hash_key, headers


def as_found(record: dict[str, Any]) -> tuple[Any, ...]:
    headers = json.dumps(record["headers"], sort_keys=True)
    return base64.b64decode(record["data"]), record["partition_key"], record["explicit_hash_key"], headers


def report(sent: dict[str, list[Any]], found: list[dict[str, Any]], records: list[Any], *, record: bool) -> int:
    expected = Counter(as_put(each, kind == "batches") for kind, each_kind in sent.items() for each in each_kind)
    got = Counter(map(as_found, found))
    missing, more = expected - got, got - expected
    shards = {each["shard"] for each in found}
    counts = ", ".join(f"{len(each)} in {kind}" for kind, each in sent.items())
    dropped = sum(each.dropped for each in records)
    print(f"put: {counts}; Kinesis records: {len(records)}, of which the KCL drops {dropped}; shards: {len(shards)}")
    print(f"the application printed {len(found)}: missing {missing.total()}, not put or more than once {more.total()}")
    if missing or more or len(shards) < 6:
        print("missing:", list(missing)[:5], "more:", list(more)[:5], f"; log: {BUILD / 'kcl_application.log'}")
        return 1
    if record:
        ANSWERS.write_text("".join(lines(records, found)), encoding="utf-8")
    return 0


def lines(records: list[Any], found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield each Kinesis record with what the application printed for it."""
    printed: dict[str, list[Any]] = {}
    for each in sorted(found, key=lambda each: each["sub_sequence_number"]):
        printed.setdefault(each["sequence_number"], []).append(
            [base64.b64decode(each["data"]).decode(), each["partition_key"], each["explicit_hash_key"], each["headers"]]
        )
    for record in records:
        line = {
            "shard": record.shard_id,
            "range": list(map(str, record.shard_range)),
            "key": record.partition_key,
            "data": base64.b64encode(record.data).decode(),
            "records": printed.get(record.sequence_number, []),
        }
        yield json.dumps(line, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    sys.exit(main())
