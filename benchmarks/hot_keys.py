"""Measures the CPU time and memory of counting partition keys: `python -m benchmarks.hot_keys`.

Runs with and without counting alternate, over an imitation of the service in the process. Keys are skewed (Zipf,
exponent 1.1, over a million), 10,000 in turn, or new for each record. New keys cost most, because every record takes
over a counter.
"""

from __future__ import annotations

import random
import statistics
import sys
import tracemalloc
from itertools import accumulate
from unittest.mock import patch

from benchmarks.guard import cpu_of, put_record
from benchmarks.peers.driver import make_keys
from benchmarks.stand_in import TRANSPORT, Delivery, unlimited
from kplpy import Producer
from kplpy.core.hot_keys import SPAN, KeyCounts
from kplpy.core.record import PendingRecord

RECORDS = 20_000
ROUNDS = 15
COUNTERS = 1000


def zipf(count: int) -> list[str]:
    chances = list(accumulate(1 / rank**1.1 for rank in range(1, 1_000_001)))
    return [f"customer-{rank}" for rank in random.Random(7).choices(range(1_000_000), cum_weights=chances, k=count)]


def producer(counters: int) -> Producer:
    return Producer(unlimited(hot_partition_keys=counters, record_max_buffered_time_ms=600_000))


def measure() -> None:
    cases = {
        "Zipf": zipf(RECORDS),
        "10,000 in turn": make_keys("fixed", RECORDS),
        "all new": make_keys("uuid", RECORDS),
    }
    with patch(TRANSPORT, Delivery), producer(0) as off, producer(COUNTERS) as on:
        for name, keys in cases.items():
            times: dict[Producer, list[float]] = {off: [], on: []}
            for turn in range(ROUNDS + 1):
                if name == "all new":
                    keys = make_keys("uuid", RECORDS)
                for each in (off, on) if turn % 2 else (on, off):
                    spent = cpu_of(put_record(each, 0), keys, b"x" * 100)
                    if turn:  # the first warms up
                        times[each].append(spent)
            without, counted = (statistics.median(times[each]) / RECORDS * 1e6 for each in (off, on))
            print(f"{name:15} {without:.2f} µs a record; counted {counted:.2f}: ×{counted / without:.2f}")


def size() -> None:
    items = []
    for key in zipf(20 * COUNTERS):
        item = PendingRecord()
        item.partition_key, item.data, item.hash_key = key, b"x" * 100, 7
        items.append(item)
    tracemalloc.start()
    counts = KeyCounts(COUNTERS, 0.0)
    counts.add(items, 0.0)
    counts.add(items, SPAN)
    counts.report(1, SPAN)
    taken = tracemalloc.get_traced_memory()[0]
    print(f"{COUNTERS:,} counters, all taken: {taken / 1e6:.2f} MB a stream, without the keys")


def main() -> int:
    measure()
    size()
    return 0


if __name__ == "__main__":
    sys.exit(main())
