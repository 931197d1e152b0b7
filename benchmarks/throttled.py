"""Goodput where the service limits: twice what the shards take is put on a local Kinesis with limits.

What counts is how much of the shards' limit is confirmed, and how much is sent in vain. `alone`: one producer. `two`:
two that know nothing of each other, each at the default rate_limit, which is the shards' whole limit.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from benchmarks.processes import Piped
from kplpy import Producer
from kplpy.local import LocalKinesisProcess
from kplpy.totals import StreamTotals

SHARDS = 4
SIZE = 1_000
PUSH = 2.0  # times the limit of 1 MiB/s a shard
WARM = 2.0  # seconds that are not counted: the allowance of a first second, and finding the rate


def measure(rounds: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    """{"alone", "two": [{goodput, throttled, failed}]}: shares of the limit, of what was sent, and records."""
    found: dict[str, list[dict[str, float]]] = {"alone": [], "two": []}
    for _ in range(rounds):
        for name, count in (("alone", 1), ("two", 2)):
            found[name].append(_one_run(count, seconds))
    return found


def _one_run(count: int, seconds: float) -> dict[str, float]:
    with ExitStack() as stack:
        kinesis = stack.enter_context(LocalKinesisProcess(stream="bench", shards=SHARDS, https=True, store=False))
        given = {"url": kinesis.endpoint_url, "rate": PUSH * (SHARDS << 20) / SIZE / count, "seconds": seconds}
        command = [sys.executable, "-m", "benchmarks.throttled", json.dumps(given)]
        keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
        drivers = [
            stack.enter_context(Piped(command, AWS_CA_BUNDLE=kinesis.ca_bundle or "", **keys)) for _ in range(count)
        ]
        with ThreadPoolExecutor(count) as threads:
            told: list[dict[str, float]] = list(threads.map(lambda driver: driver.ask("go"), drivers))
    return {
        "goodput": sum(each["bytes"] / each["seconds"] for each in told) / (SHARDS << 20),
        "throttled": sum(each["throttled"] for each in told) / max(1, sum(each["sent"] for each in told)),
        "failed": sum(each["failed"] for each in told),
    }


def report(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    lines = ["| at twice the limit | goodput, of the limit | range | Kinesis records throttled |", "|---|---|---|---|"]
    for name, runs in found.items():
        goodput = [run["goodput"] for run in runs]
        lines.append(
            f"| {name} | {statistics.median(goodput):.0%} | {min(goodput):.0%}–{max(goodput):.0%} "
            f"| {statistics.median(run['throttled'] for run in runs):.1%} |"
        )
    return "\n".join(lines)


# --- a producer's process ---


def push(producer: Producer, rate: float, seconds: float) -> dict[str, float]:
    started, done = time.monotonic(), 0
    before: StreamTotals | None = None
    since = started
    while (now := time.monotonic()) < started + WARM + seconds:
        if before is None and now >= started + WARM:
            before, since = producer.metrics()["bench"], now
        for _ in range(int((now - started) * rate) - done):
            producer.put_record("bench", b"x" * SIZE, f"key-{done}")  # blocks when there is no room
            done += 1
        time.sleep(0.005)
    after = producer.metrics()["bench"]
    assert before is not None
    return {
        "seconds": time.monotonic() - since,
        "bytes": after.kinesis_bytes_put - before.kinesis_bytes_put,
        "sent": after.kinesis_records_sent - before.kinesis_records_sent,
        "throttled": after.entries_throttled - before.entries_throttled,
        "failed": after.user_records_failed,
    }


def main() -> None:
    given: dict[str, Any] = json.loads(sys.argv[1])
    # Room for two seconds of what is put: a backlog for the whole run would only expire.
    with Producer(
        endpoint_url=given["url"], region_name="us-east-1", max_buffered_bytes=8 << 20, close_timeout_ms=0
    ) as producer:
        producer.put_record("bench", b"warm", "up").result()
        print(json.dumps({"ready": True}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(push(producer, given["rate"], given["seconds"])), flush=True)


if __name__ == "__main__":
    main()
