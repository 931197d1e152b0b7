"""Runs a KCL application on what kplpy writes, while the stream is split and merged: every record must arrive once.

The application is decoders/java's KclApplication, with KCL 3 and kplpy's Java classes. It reads from a local Kinesis
and keeps its leases in moto's DynamoDB. The script needs Java 17, mvn and the packages of decoders/java. It takes half
a minute, and longer when Maven must fetch the packages.

`scripts/kcl_application.py [--fan-out] [--record]` ends with 0 if every record arrived once, as it was put. By default
the application polls; with --fan-out it is a registered consumer with SubscribeToShard. --record keeps the Kinesis
records, and what the application printed, in tests/parity/kcl_application.jsonl.
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from moto.server import ThreadedMotoServer

from kplpy import Producer, RecordFuture, UserRecord, deaggregate
from kplpy.local import LedgerRecord, LocalKinesis
from kplpy.wire.compressed import MAGIC

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
    retrieval = "fan-out" if "--fan-out" in sys.argv[1:] else "polling"
    operations: Counter[str] = Counter()  # what the server was asked for
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    dynamo = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    dynamo.start()
    host, port = dynamo.get_host_and_port()
    try:
        with LocalKinesis(streams={STREAM: 2}, limits=False) as kinesis:
            command = ["java", "-cp", classpath, "kplpy.KclApplication", STREAM, kinesis.endpoint_url]
            kinesis.faults.plan = lambda operation, params, now: operations.update([operation])
            with Application([*command, f"http://{host}:{port}", retrieval]) as application:
                sent = put_while_resharding(kinesis, application)
                found = application.read(len(sent), deadline)
            records = list(kinesis.ledger(STREAM))
    finally:
        dynamo.stop()
    subscribed, polled = operations["SubscribeToShard"], operations["GetRecords"]
    print(f"{retrieval}: {subscribed} SubscribeToShard, {polled} GetRecords")
    if (subscribed == 0, polled == 0) != (retrieval == "polling", retrieval == "fan-out"):
        print("the application did not read in this way")
        return 1
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


def put_while_resharding(kinesis: LocalKinesis, application: Application) -> list[UserRecord]:
    """Put records in waves, with and without compression; the shards change during and between the waves.

    Returns the user records.
    """
    sent: list[UserRecord] = []
    chance = random.Random(7)
    with ExitStack() as stack:
        producers = [
            stack.enter_context(
                kinesis.producer(compression=codec, compression_min_size=1, record_max_buffered_time_ms=50)
            )
            for codec in ("none", "gzip", "zstd")
        ]
        for wave, change in enumerate(reshardings(kinesis.client())):
            if wave == 1 and not application.has_records.wait(PATIENCE):
                break
            futures = []
            for step in range(6):
                for producer in producers:
                    for _ in range(4):
                        record = make_record(len(sent), chance)
                        sent.append(record)
                        futures.append(put(producer, record))
                    if step % 3 == 2:
                        producer.flush(timeout=30)
                if step == 3:
                    change()
            for future in futures:
                future.result(timeout=30)
    return sent


def make_record(number: int, chance: random.Random) -> UserRecord:
    data = b"order %d was created" % number
    hash_key = str(chance.getrandbits(128)) if number % 5 == 0 else None
    headers = {"number": str(number), "none": None} if number % 3 == 0 else None
    return UserRecord(data, f"key-{number % 40}", hash_key, headers=headers)


def put(producer: Producer, record: UserRecord) -> RecordFuture:
    return producer.put_record(
        STREAM,
        record.data,
        record.partition_key,
        explicit_hash_key=record.explicit_hash_key,
        headers=record.headers,
    )


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


def report(sent: list[UserRecord], found: list[dict[str, Any]], records: list[LedgerRecord], *, record: bool) -> int:
    # A plain record does not carry its explicit hash key, and the KCL keeps no headers of records in aggregates.
    plain = {one.data for one in records}
    in_batches = {each.data for one in records if one.data.startswith(MAGIC) for each in deaggregate(one.data)}
    expected = Counter(
        _shown(
            each.data,
            each.partition_key,
            None if each.data in plain else each.explicit_hash_key,
            each.headers if each.data in in_batches else None,
        )
        for each in sent
    )
    got = Counter(
        _shown(base64.b64decode(each["data"]), each["partition_key"], each["explicit_hash_key"], each["headers"])
        for each in found
    )
    missing, more = expected - got, got - expected
    shards = {each["shard"] for each in found}
    batches = sum(each.data.startswith(MAGIC) for each in records)
    dropped = sum(each.dropped for each in records)
    print(
        f"put {len(sent)} user records; Kinesis records: {len(records)}, of which {batches} are compressed and the KCL "
        f"drops {dropped}; shards: {len(shards)}"
    )
    print(f"the application printed {len(found)}: missing {missing.total()}, not put or more than once {more.total()}")
    if missing or more or len(shards) < 6 or len(in_batches) < len(sent) / 3:
        print("missing:", list(missing)[:5], "more:", list(more)[:5], f"; log: {BUILD / 'kcl_application.log'}")
        return 1
    if record:
        ANSWERS.write_text("".join(lines(records, found)), encoding="utf-8")
    return 0


def _shown(data: bytes, key: str | None, hash_key: str | None, headers: Any) -> tuple[Any, ...]:
    return data, key, hash_key, json.dumps(headers, sort_keys=True)


def lines(records: list[LedgerRecord], found: list[dict[str, Any]]) -> Iterator[str]:
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
