"""Peak resident memory with 50,000 records of 100 B outstanding, summed over a producer's fresh processes, in two ways.

held: the sink takes all 50,000 and answers none before they are all put. sustained: 400,000 records with 50,000
unconfirmed at any time, which lets garbage grow to what it grows to in use.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import environments
from benchmarks.processes import Driver, Run, Sink

RECORDS = 50_000
SUSTAINED = 400_000
HOLD = 4.0  # seconds: long enough to put them all, and below any request's timeout
KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "kplpy": ("kplpy", {}),
    "kpl": ("kpl", {}),
    "kpl, heap of 256 MB": ("kpl", {"heap": "-Xmx256m"}),
}


def measure(rounds: int) -> dict[str, list[int]]:
    """{producer and way: [bytes]}."""
    found: dict[str, list[int]] = {f"{name}: {way}": [] for name in KINDS for way in ("held", "sustained")}
    with Sink() as sink, ThreadPoolExecutor(1) as thread:
        for _ in range(rounds):
            for name, (producer, options) in KINDS.items():
                with environments.start(producer, sink, **options) as driver:
                    sink.ask("hold")
                    run = thread.submit(_held_run, driver, sink)
                    time.sleep(HOLD)
                    sink.ask("release")
                    result: Run = run.result()
                    if result.seconds < HOLD * 0.9:
                        raise RuntimeError("they were answered while they should have been held")
                    found[f"{name}: held"].append(result.peak_rss)
                with environments.start(producer, sink, **options) as driver:
                    result = driver.run(SUSTAINED, 100, window=RECORDS)
                    found[f"{name}: sustained"].append(result.peak_rss)
    return found


def _held_run(driver: Driver, sink: Sink) -> Run:
    return driver.run(RECORDS, 100, window=RECORDS)


def report(found: Mapping[str, Sequence[int]]) -> str:
    lines = ["| 50,000 × 100 B outstanding | peak MB | range | ours to it |", "|---|---|---|---|"]
    for name, sizes in found.items():
        ours = found[f"kplpy: {name.rpartition(': ')[2]}"]
        ratio = statistics.median(one / other for one, other in zip(ours, sizes, strict=True))
        low, high = min(sizes) / 1e6, max(sizes) / 1e6
        lines.append(f"| {name} | {statistics.median(sizes) / 1e6:,.0f} | {low:,.0f}–{high:,.0f} | 1/{1 / ratio:.1f} |")
    return "\n".join(lines)
