"""Measures how a hot shard or a dead stream delays records of other shards, from the call of put_record to the outcome.

The local Kinesis is a process of its own, with the service's limits of four shards a stream. It responds after 5 to
50 ms. The producer is another process (`main` below). One thread puts 1 KB records to three cold shards, at half of
their limit. A second thread puts five times the fourth shard's limit, or as much to a stream without responses, or
nothing. Times of the first thread begin when a put was due, so that a call that blocks also counts for later calls.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.processes import Piped
from benchmarks.throttled import KEYS
from kplpy import Producer, ProducerClosedError, RecordFuture

SHARDS = 4
SIZE = 1_000
SHARD_RATE = (1 << 20) / SIZE
COLD = 0.5
OTHER = 5.0
CASES = {"control": "", "hot shard": "bench", "dead stream": "dead"}
"""The stream that the second thread puts to, by case."""
PERCENTILES = (50, 99, 99.9, 100)
WARM_UP = 2.0
STEP = 0.005


def measure(seconds: float) -> dict[str, dict[str, Any]]:
    """Return by case the milliseconds of the cold shards' records, by percentile, and the second thread's records."""
    found = {}
    for case, other in CASES.items():
        given = {"streams": {"bench": SHARDS, "dead": SHARDS}, "latency": [0.005, 0.05], "dead": "dead"}
        with (
            Piped([sys.executable, "-m", "benchmarks.limited", json.dumps(given)]) as kinesis,
            Piped([sys.executable, "-m", "benchmarks.isolation", kinesis.first["url"]], **KEYS) as driver,
        ):
            found[case] = driver.ask(json.dumps({"other": other, "seconds": seconds}))
        print(f"{case}: {json.dumps(found[case])}", file=sys.stderr, flush=True)
    return found


def report(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "| cold shards, ms | "
        + " | ".join(f"p{each:g}" for each in PERCENTILES)
        + " | records | delivered of the second thread's |",
        "|---" * (len(PERCENTILES) + 3) + "|",
    ]
    for case, figures in found.items():
        times = " | ".join(f"{each:.0f}" for each in figures["ms"])
        lines.append(f"| {case} | {times} | {figures['records']} | {figures['other']} |")
    return "\n".join(lines)


class Paced(threading.Thread):
    """A thread that puts records to some shards of a stream at a steady rate, and measures the times to delivery."""

    def __init__(self, producer: Producer, stream: str, shards: range, rate: float, seconds: float) -> None:
        super().__init__()
        self.waited: list[float] = []
        self._producer, self._stream, self._shards = producer, stream, shards
        self._rate, self._seconds = rate, seconds

    def run(self) -> None:
        data, width = b"x" * SIZE, (1 << 128) // SHARDS
        number = 0
        start = time.monotonic()
        while (now := time.monotonic() - start) < self._seconds:
            for _ in range(int(now * self._rate) - number):
                shard = self._shards[number % len(self._shards)]
                due = start + number / self._rate
                explicit = str(shard * width + number)
                try:
                    future = self._producer.put_record(self._stream, data, "key", explicit_hash_key=explicit)
                except ProducerClosedError:  # while the call waited for buffer space
                    return
                future.add_done_callback(self._timer(due, count=due - start > WARM_UP))
                number += 1
                if time.monotonic() - start > self._seconds:
                    break
            time.sleep(STEP)

    def _timer(self, due: float, count: bool) -> Any:
        def done(future: RecordFuture) -> None:
            if count and future.exception() is None:
                self.waited.append(time.monotonic() - due)

        return done


def _one_case(url: str, other: str, seconds: float) -> dict[str, Any]:
    producer = Producer(endpoint_url=url, region_name="us-east-1", close_timeout_ms=0, on_failure=lambda _: None)
    cold = Paced(producer, "bench", range(1, SHARDS), COLD * SHARD_RATE * (SHARDS - 1), seconds)
    threads = [cold]
    if other:
        shards = range(1) if other == "bench" else range(SHARDS)
        threads.append(Paced(producer, other, shards, OTHER * SHARD_RATE, seconds))
    for each in threads:
        each.start()
    cold.join()
    producer.flush("bench", timeout=60)
    times = sorted(cold.waited)
    answered = sum(len(each.waited) for each in threads[1:])
    producer.close()
    for each in threads[1:]:
        each.join()
    milliseconds = [times[min(len(times) - 1, int(len(times) * each / 100))] * 1e3 for each in PERCENTILES]
    return {"ms": milliseconds, "records": len(times), "other": answered}


def main() -> None:
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        given = json.loads(line)
        print(json.dumps(_one_case(sys.argv[1], given["other"], given["seconds"])), flush=True)


if __name__ == "__main__":
    main()
