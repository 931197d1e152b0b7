"""Measures how long records wait: in the buffer at half load, and from a put on an idle producer to the wire.

The producer runs in a process of its own (`main` below), with 16 shards over HTTPS.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.driver import make_keys
from benchmarks.processes import Driver, Sink
from kplpy import Producer, RecordFuture

LINGER_MS = 100
BURST = 0.002  # seconds between two bursts of puts of a paced load
PERCENTILES = (*range(1, 100), 99.9, 100)


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Return milliseconds: percentiles of buffering and of put to response at half load, and idle puts to the wire."""
    buffering: list[list[float]] = []
    whole: list[list[float]] = []
    idle: list[float] = []
    loads: list[float] = []
    with Sink() as sink:
        command = [sys.executable, "-m", "benchmarks.latency", json.dumps({"url": sink.url})]
        with Driver(command, sink) as driver:
            driver.ask(json.dumps({"full": 0.5}))
            for _ in range(rounds):
                full = driver.ask(json.dumps({"full": 1.0}))["rate"]
                result = driver.ask(json.dumps({"rate": full / 2, "seconds": seconds}))
                loads.append(result["rate"])
                buffering.append(result["buffering"])
                whole.append(result["whole"])
                idle += _to_the_wire(driver.ask(json.dumps({"idle": 10}))["puts"], sink.ask("arrivals"))
    return {
        "linger_ms": LINGER_MS,
        "records/s": loads,
        "percentiles": PERCENTILES,
        "buffering": buffering,
        "whole": whole,
        "idle": idle,
    }


def _to_the_wire(puts: Sequence[float], arrivals: Sequence[tuple[float, int]]) -> list[float]:
    """Return the milliseconds from each put to the first request after it."""
    return [min(at for at, _ in arrivals if at > put) * 1e3 - put * 1e3 for put in puts]


def at(found: Mapping[str, Any], what: str, percentile: float) -> float:
    """Return a percentile as the median of the rounds."""
    place = list(found["percentiles"]).index(percentile)
    return float(statistics.median(row[place] for row in found[what]))


def report(found: Mapping[str, Any]) -> str:
    lines = ["| ms | p50 | p90 | p99 | p99.9 | most |", "|---|---|---|---|---|---|"]
    names = {"buffering": "put to sent", "whole": "put to answered"}
    for what, name in names.items():
        figures = " | ".join(f"{at(found, what, each):.1f}" for each in (50, 90, 99, 99.9, 100))
        lines.append(f"| {name}, {statistics.median(found['records/s']):,.0f} records/s | {figures} |")
    idle = sorted(found["idle"])
    row = [idle[min(len(idle) - 1, int(len(idle) * each))] for each in (0.5, 0.9, 0.99, 0.999, 1)]
    lines.append(f"| one put on an idle producer to the wire | {' | '.join(f'{each:.1f}' for each in row)} |")
    return "\n".join(lines)


# --- the producer's process ---


def paced(producer: Producer, rate: float, seconds: float) -> dict[str, Any]:
    keys = make_keys("fixed", 10_000)
    pending: deque[RecordFuture] = deque()
    buffering: list[float] = []
    whole: list[float] = []

    def look(future: RecordFuture) -> None:
        attempts = future.result().attempts
        buffering.append(attempts[0].delay * 1e3)
        whole.append(sum(each.delay + each.duration for each in attempts) * 1e3)

    started, done = time.monotonic(), 0
    while (now := time.monotonic() - started) < seconds:
        for _ in range(int(now * rate) - done):
            future = producer.put_record("bench-16", b"x" * 100, keys[done % 10_000])
            if done % 20 == 0:  # a sample of one in 20
                pending.append(future)
            done += 1
        while pending and pending[0].done():
            look(pending.popleft())
        time.sleep(BURST)
    took = time.monotonic() - started
    for future in pending:
        look(future)
    return {"rate": done / took, "buffering": _percentiles(buffering), "whole": _percentiles(whole)}


def _percentiles(values: list[float]) -> list[float]:
    values.sort()
    return [values[min(len(values) - 1, int(len(values) * each / 100))] for each in PERCENTILES]


def full(producer: Producer, seconds: float) -> dict[str, Any]:
    keys = make_keys("fixed", 10_000)
    pending: deque[RecordFuture] = deque()
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        for key in keys[:1000]:
            pending.append(producer.put_record("bench-16", b"x" * 100, key))
        done += 1000
        while len(pending) > 20_000:
            pending.popleft().result()
    for future in pending:
        future.result()
    return {"rate": done / (time.monotonic() - started)}


def idle(producer: Producer, count: int) -> dict[str, Any]:
    puts: list[float] = []
    for number in range(count):
        time.sleep(0.03)
        puts.append(time.monotonic())
        producer.put_record("bench-16", b"x", f"key-{number}").result()
    return {"puts": puts}


def main() -> None:
    given = json.loads(sys.argv[1])
    with Producer(
        endpoint_url=given["url"], region_name="us-east-1", rate_limit=1_000_000, record_max_buffered_time_ms=LINGER_MS
    ) as producer:
        producer.put_record("bench-16", b"warm", "up").result()
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            if "full" in asked:
                result = full(producer, asked["full"])
            elif "rate" in asked:
                result = paced(producer, asked["rate"], asked["seconds"])
            else:
                result = idle(producer, asked["idle"])
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
