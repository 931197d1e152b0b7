"""Compares 8 putting threads with one, alternated: `python -m benchmarks.threads [--rounds 7] [--threads 1 2 4]`.

The rate counts from the first put to the outcome of the last record. An imitation of the service in the process
responds at once, so that only the producer is measured, with encoding and without HTTP.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from unittest.mock import patch

from benchmarks.stand_in import TRANSPORT, Delivery, unlimited
from kplpy import Producer

RECORDS = 200_000


def rate(threads: int, keys: list[str]) -> float:
    data = b"x" * 100
    with Producer(unlimited()) as producer:

        def work(own_keys: list[str]) -> None:
            for key in own_keys:
                producer.put_record("test", data, key)

        workers = [threading.Thread(target=work, args=(keys[n::threads],)) for n in range(threads)]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        producer.flush()
        return len(keys) / (time.perf_counter() - started)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", action="store_true", help="print only the rates of each round, as JSON")
    options.add_argument("--threads", type=int, nargs="+", help="print the medians of these numbers of threads instead")
    chosen = options.parse_args()
    rounds = chosen.rounds
    keys = [f"key-{n % 10_000}" for n in range(RECORDS)]
    with patch(TRANSPORT, Delivery):
        rate(1, keys[:10_000])
        if chosen.threads:
            rates = [[rate(threads, keys) for threads in chosen.threads] for _ in range(rounds)]
            medians = zip(chosen.threads, map(statistics.median, zip(*rates, strict=True)), strict=True)
            print(
                f"Python {sys.version.split()[0]}",
                *(f"{count} threads {each:,.0f}" for count, each in medians),
                sep="; ",
            )
            return
        pairs = [(rate(1, keys), rate(8, keys)) for _ in range(rounds)]
    if chosen.json:
        print(json.dumps({"one": [alone for alone, _ in pairs], "eight": [many for _, many in pairs]}))
        return
    one, eight = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(many / alone for alone, many in pairs)
    print(
        f"Python {sys.version.split()[0]}: 1 thread {one:,.0f} records/s, 8 threads {eight:,.0f}; ratio pair by pair: "
        f"median {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
