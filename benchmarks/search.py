"""Searches for the KPL's best settings: one setting at a time, alternated with the others in each round.

An older version is one of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from benchmarks import environments
from benchmarks.processes import Sink

TRIES: list[Mapping[str, Any]] = [
    {},
    {"threadingModel": "POOLED", "threadPoolSize": 2},
    {"threadingModel": "POOLED", "threadPoolSize": 8},
    {"threadingModel": "POOLED", "threadPoolSize": 32},
    {"aggregationMaxSize": 25_600},
    {"aggregationMaxSize": 102_400},
    {"aggregationMaxSize": 512_000},
    {"collectionMaxSize": 1 << 20},
    {"maxConnections": 4},
    {"recordMaxBufferedTime": 20},
    {"recordMaxBufferedTime": 500},
    {"heap": "-Xmx256m"},
    {"heap": "-Xmx512m"},
    {"heap": "-XX:+UseParallelGC"},
    {"tracker": True},
    {"version": "1.0.7"},
]
WINDOWS = (5_000, 20_000, 50_000)


def measure(rounds: int, scale: float) -> dict[str, dict[str, float]]:
    """Return {settings: {"records/s", "CPU µs", "MB"}} for 100 B and 10,000 keys, medians of alternated runs."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    count = int(100_000 * scale)
    with Sink() as sink, ExitStack() as stack:
        drivers = {repr(dict(each)): stack.enter_context(environments.start("kpl", sink, **each)) for each in TRIES}
        for number in range(-1, rounds):
            for name, driver in drivers.items():
                for window in WINDOWS if name == "{}" else WINDOWS[1:2]:
                    run = driver.run(count, 100, window=window)
                    if number >= 0:
                        row = (run.rate, run.cpu_per_record, run.peak_rss / 1e6)
                        found.setdefault(f"{name}, {window:,} unconfirmed", []).append(row)
    names = ("records/s", "CPU µs", "MB")
    return {
        name: dict(zip(names, (statistics.median(column) for column in zip(*rows, strict=True)), strict=True))
        for name, rows in found.items()
    }


def report(found: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["| KPL settings | records/s | CPU µs/record | MB |", "|---|---|---|---|"]
    for name, row in sorted(found.items(), key=lambda each: -each[1]["records/s"]):
        lines.append(f"| {name} | {row['records/s']:,.0f} | {row['CPU µs']:.1f} | {row['MB']:,.0f} |")
    return "\n".join(lines)
