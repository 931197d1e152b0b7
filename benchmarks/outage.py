"""Measures an outage of minutes in real time over HTTP: memory, requests a second during it, and the recovery.

The buffer is kept full of 1 KB records for four shards, without a time to live. Ten seconds after the start every
request gets status 503 for the length of the outage. `recovered` is the seconds from its end until all records put by
then have an outcome. The shards' limits alone take `at least` so many seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.processes import Piped, peak_rss
from benchmarks.throttled import KEYS
from kplpy import Producer

SHARDS = 4
SIZE = 1_000
BEFORE = 10.0
SAMPLE = 10.0


def measure(seconds: float) -> dict[str, Any]:
    given = {"streams": {"bench": SHARDS}, "latency": [0.005, 0.05]}
    with (
        Piped([sys.executable, "-m", "benchmarks.limited", json.dumps(given)]) as kinesis,
        Piped([sys.executable, "-m", "benchmarks.outage", kinesis.first["url"]], **KEYS) as driver,
    ):
        driver.ask("start")
        time.sleep(BEFORE)
        kinesis.ask("outage")
        began, memory = time.monotonic(), []
        while time.monotonic() < began + seconds:
            time.sleep(SAMPLE)
            memory.append(peak_rss([driver.pid]))
        requests = kinesis.ask("over")["requests"]
        lasted = time.monotonic() - began
        result = driver.ask("recover")
    return {"shards": SHARDS, "seconds": lasted, "requests": requests, "peak_rss": memory, **result}


def report(found: Mapping[str, Any]) -> str:
    half, end = found["peak_rss"][len(found["peak_rss"]) // 2], found["peak_rss"][-1]
    rate = found["requests"] / found["seconds"]
    cells = [
        found["seconds"],
        rate,
        rate / found["shards"],
        half / 1e6,
        end / 1e6,
        found["recovered"],
        found["at_least"],
    ]
    return "\n".join(
        [
            "| outage, s | requests/s | a shard | peak MB midway | at its end | recovered, s | at least, s | failed |",
            "|---|---|---|---|---|---|---|---|",
            "| " + " | ".join(f"{each:.2f}" for each in cells) + f" | {found['failed']} |",
        ]
    )


def main() -> None:
    producer = Producer(
        endpoint_url=sys.argv[1],
        region_name="us-east-1",
        record_ttl_ms=None,
        max_block_ms=3_600_000,
        close_timeout_ms=0,
    )
    stop = threading.Event()

    def put() -> None:
        number = 0
        while not stop.is_set():
            producer.put_record("bench", b"x" * SIZE, f"key-{number}")
            number += 1

    thread = threading.Thread(target=put)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() == "start":
            thread.start()
            print("{}", flush=True)
            continue
        stop.set()
        held, began = producer.outstanding_records, time.monotonic()
        producer.flush(timeout=600)
        result = {
            "recovered": time.monotonic() - began,
            "at_least": held * SIZE / (SHARDS << 20),
            "failed": producer.metrics()["bench"].user_records_failed,
        }
        thread.join()
        print(json.dumps(result), flush=True)
    producer.close()


if __name__ == "__main__":
    main()
