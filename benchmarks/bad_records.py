"""Measures how long good records wait beside records that the service refuses.

80 good records of 300 B a second go to two shards, with 0, 3 or 10 bad records a second. Bad records are either too
large for the stream (a little more than 1 MiB), with the limit known from DescribeStreamSummary or that call denied, or
small and invalid for a reason that cannot be known before. The local Kinesis responds within 5 to 20 ms. Then 400 good
and 200 bad records are put at once, and the time until all have an outcome is measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.processes import Piped
from benchmarks.throttled import KEYS
from kplpy import Producer, RecordFuture

GOOD, SIZE = 80, 300
LARGE = 1 << 20
POISON = "POISON"
RATES = (0, 3, 10)
TIMEOUT_S = 120.0

KINDS: dict[str, dict[str, Any]] = {
    "too large, limit known": {},
    "too large, limit not known": {"denied": ["DescribeStreamSummary"]},
    "small and invalid": {"poison": POISON},
}


def measure(seconds: float) -> dict[str, Any]:
    rows = []
    for kind, options in KINDS.items():
        given = {"streams": {"bench": 2}, "latency": [0.005, 0.02], **options}
        for rate in RATES:
            with Piped([sys.executable, "-m", "benchmarks.limited", json.dumps(given)]) as kinesis:
                arguments = [kinesis.first["url"], kind, str(rate), str(seconds)]
                with Piped([sys.executable, "-m", "benchmarks.bad_records", *arguments], **KEYS) as driver:
                    rows.append({"kind": kind, "rate": rate, **driver.first})
    return {"rows": rows}


def report(found: Mapping[str, Any]) -> str:
    lines = [
        "| bad records | a second | good: p50, ms | p99, ms | longest, ms | failed | 400 good and 200 bad, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        times = " | ".join(f"{row[name] * 1000:.0f}" for name in ("p50", "p99", "longest"))
        burst = f"{row['burst']:.1f}" if row["rate"] else ""
        lines.append(f"| {row['kind']} | {row['rate']} | {times} | {row['failed']} | {burst} |")
    return "\n".join(lines)


def main() -> None:
    url, kind, rate, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    bad = POISON.encode() if "poison" in KINDS[kind] else bytes(LARGE)
    with Producer(endpoint_url=url, region_name="us-east-1", max_user_record_size=2 * LARGE) as producer:
        producer.put_record("bench", b"first", "k").result(TIMEOUT_S)
        figures = _beside(producer, bad, rate, seconds)
        figures["burst"] = _burst(producer, bad) if rate else 0.0
    print(json.dumps(figures), flush=True)


def _beside(producer: Producer, bad: bytes, rate: float, seconds: float) -> dict[str, float]:
    """Put at a steady rate. Return percentiles of the seconds from a good record's put to its outcome."""
    waits: list[float] = []
    good: list[RecordFuture] = []
    began, count = time.monotonic(), 0
    for number in range(int(GOOD * seconds)):
        time.sleep(max(0.0, began + number / GOOD - time.monotonic()))
        if count < rate * number / GOOD:
            _put_bad(producer, bad, number)
            count += 1
        put = time.monotonic()
        good.append(producer.put_record("bench", bytes(SIZE), f"key-{number}"))
        good[-1].add_done_callback(partial(_note_time, put, waits))
    producer.flush(timeout=TIMEOUT_S)
    waits.sort()
    failed = sum(future.exception(0) is not None for future in good)
    return {"p50": waits[len(waits) // 2], "p99": waits[len(waits) * 99 // 100], "longest": waits[-1], "failed": failed}


def _note_time(put: float, waits: list[float], _: object) -> None:
    waits.append(time.monotonic() - put)


def _burst(producer: Producer, bad: bytes) -> float:
    began = time.monotonic()
    for number in range(600):
        if number % 3:
            producer.put_record("bench", bytes(SIZE), f"key-{number}")
        else:
            _put_bad(producer, bad, number)
    producer.flush(timeout=TIMEOUT_S)
    return time.monotonic() - began


def _put_bad(producer: Producer, bad: bytes, number: int) -> None:
    producer.put_record("bench", bad, f"bad-{number}").add_done_callback(_must_fail)


def _must_fail(future: RecordFuture) -> None:
    if future.exception(0) is None:
        raise AssertionError("a bad record was delivered")


if __name__ == "__main__":
    main()
