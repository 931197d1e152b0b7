"""What counting costs: `python -m benchmarks.metrics`, metrics_level "none" beside "detailed" down to the shard.

Two producers in one process put the same records in turn, into a stand-in for the service with 16 shards; CPU time and
rate of each round are compared within it. Aggregated, and one user record a Kinesis record.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from contextlib import ExitStack
from unittest.mock import patch

from benchmarks.peers.driver import make_keys
from benchmarks.stand_in import TRANSPORT, Answering, unlimited
from kplpy import Config, Producer

CASES = {"100 B": (100, True, 40_000), "1 KB": (1_000, True, 40_000), "100 B, singles": (100, False, 20_000)}


def config(level: str, aggregated: bool) -> Config:
    return unlimited(aggregation_enabled=aggregated, metrics_level=level, metrics_granularity="shard")


def run(producer: Producer, keys: list[str], data: bytes) -> tuple[float, float]:
    """CPU and wall seconds from the first put to the last answer."""
    gc.collect()
    started, cpu = time.perf_counter(), time.process_time()
    put = producer.put_record
    futures = [put("bench", data, key) for key in keys]
    producer.flush()
    for future in futures:
        future.result()
    return time.process_time() - cpu, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print("| | CPU µs a record, none | detailed, shard | ratio | range | rate, ratio |\n|---|---|---|---|---|---|")
    for name, (size, aggregated, count) in CASES.items():
        keys, data = make_keys("fixed", count), b"x" * size
        found: dict[str, list[tuple[float, float]]] = {"none": [], "detailed": []}
        with patch(TRANSPORT, Answering), ExitStack() as stack:
            producers = {level: stack.enter_context(Producer(config(level, aggregated))) for level in found}
            for number in range(-1, options.rounds):
                for level in found if number % 2 else reversed(found):
                    figures = run(producers[level], keys, data)
                    if number >= 0:
                        found[level].append(figures)
        cpu = [ours[0] / none[0] for ours, none in zip(found["detailed"], found["none"], strict=True)]
        rate = [none[1] / ours[1] for ours, none in zip(found["detailed"], found["none"], strict=True)]
        none, ours = (statistics.median(row[0] for row in found[level]) / count * 1e6 for level in found)
        ratio = f"{statistics.median(cpu):.3f} | {min(cpu):.2f}–{max(cpu):.2f} | {statistics.median(rate):.3f}"
        print(f"| {name} | {none:.2f} | {ours:.2f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
