"""Measures peak resident memory with 50,000 records of 100 B outstanding, summed over a producer's new processes.

sustained: 400,000 records with 50,000 unconfirmed at any time, twice, because a heap grows for a while. held: the sink
accepts the first 50,000 records and responds only after all are put.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks import environments
from benchmarks.processes import Run, Sink

RECORDS = 50_000
SUSTAINED = 400_000
HOLD = 4.0  # seconds: long enough to put all records, and below any request's timeout
WAYS = ("sustained", "held")


def measure(rounds: int) -> dict[str, list[int]]:
    """Return {producer and way: [bytes]}."""
    names = ["kplpy", "kpl"]
    found: dict[str, list[int]] = {}
    with Sink() as sink:
        for _ in range(rounds):
            for name in list(names):
                try:
                    peaks = _peaks(name, sink)
                except environments.UnavailableError as error:
                    print(f"{name} is left out: {error}", file=sys.stderr)
                    names.remove(name)
                    continue
                for way, peak in zip(WAYS, peaks, strict=True):
                    found.setdefault(f"{name}: {way}", []).append(peak)
    return found


def _peaks(name: str, sink: Sink) -> tuple[int, int]:
    with environments.start(name, sink) as driver:
        sustained = max(driver.run(SUSTAINED, 100, window=RECORDS).peak_rss for _ in range(2))
    with environments.start(name, sink) as driver, ThreadPoolExecutor(1) as thread:
        sink.ask("hold")
        run = thread.submit(driver.run, RECORDS, 100, window=RECORDS)
        time.sleep(HOLD)
        sink.ask("release")
        held: Run = run.result()
    if held.seconds < HOLD * 0.9:
        raise RuntimeError("the sink responded while it should have held the responses back")
    return sustained, held.peak_rss


def report(found: Mapping[str, Sequence[int]]) -> str:
    lines = ["| 50,000 × 100 B outstanding | peak MB | range | kplpy's to it |", "|---|---|---|---|"]
    for name, sizes in found.items():
        kplpy = found[f"kplpy: {name.rpartition(': ')[2]}"]
        ratio = statistics.median(one / other for one, other in zip(kplpy, sizes, strict=True))
        low, high = min(sizes) / 1e6, max(sizes) / 1e6
        lines.append(f"| {name} | {statistics.median(sizes) / 1e6:,.0f} | {low:,.0f}–{high:,.0f} | 1/{1 / ratio:.1f} |")
    return "\n".join(lines)
