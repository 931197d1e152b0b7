"""Measures goodput and throttling of producers that offer more than the shards' limit, a minute a row.

The local Kinesis is a process of its own. It applies the limits of four shards and responds after 5 to 50 ms. Goodput
is the accepted bytes (data and outer key) between second 5 and 55, over the shards' limit. Throttling is counted in
Kinesis records and in bytes, without that of the boto3 loop. Each row has a bound for goodput and for throttling.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.processes import Piped

SHARDS = 4
LIMIT = SHARDS << 20
MARGIN = 5.0  # seconds at the beginning and the end that are not counted
RESHARD = 5.0  # seconds between a split and a merge
KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true"}

Counts = dict[str, float]


@dataclass(frozen=True)
class Row:
    """A load and its bounds.

    goodput: the least, as part of the limit.
    throttled: the most, as part of the entries.
    offered: bytes (or records) a second of each producer, over the limit of all shards.
    boto3: the same of a loop around boto3, 0 without one.
    """

    name: str
    goodput: float
    throttled: float
    producers: int = 1
    offered: float = 2.0
    size: int = 1_000
    boto3: float = 0.0
    reshards: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts_records(self) -> bool:
        """Return True if the shards' limit of records binds before that of bytes."""
        return self.size < 1_000

    @property
    def full(self) -> float:
        """Return the limit of all shards a second, in records or bytes as this row counts."""
        return SHARDS * 1_000 if self.counts_records else LIMIT


ROWS = [
    Row("one producer offering 2 ×", 0.99, 0.01),
    Row("two producers offering 2 × together", 0.98, 0.05, producers=2, offered=1.0),
    Row("four producers offering 2 × together", 0.98, 0.10, producers=4, offered=0.5),
    Row("three producers and a boto3 loop at a quarter", 0.97, 0.10, producers=3, offered=1.0, boto3=0.25),
    Row("100 B records, aggregation off", 0.99, 0.01, size=100, config={"aggregation_enabled": False}),
    Row("split and merge in turn, half the limit", 0.0, 1.0, offered=0.5, reshards=True),
]


def measure(seconds: float, case: str = "") -> dict[str, dict[str, Any]]:
    """Measure each row with `case` in its name, and print its figures at once."""
    found = {}
    for row in [each for each in ROWS if case in each.name]:
        found[row.name] = _one_row(row, max(2 * MARGIN + 2, seconds))
        print(f"{row.name}: {json.dumps(found[row.name])}", file=sys.stderr, flush=True)
    return found


def _one_row(row: Row, seconds: float) -> dict[str, Any]:
    with ExitStack() as stack:
        given = {"streams": {"bench": SHARDS}, "latency": [0.005, 0.05], "store": row.reshards, "updating": 1.0}
        kinesis = stack.enter_context(Piped([sys.executable, "-m", "benchmarks.limited", json.dumps(given)]))
        drivers = [stack.enter_context(_driver(row, kinesis.first["url"])) for _ in range(row.producers)]
        if row.boto3:
            drivers.append(stack.enter_context(_driver(row, kinesis.first["url"], "boto3")))
        start = time.time() + 1
        line = f"{start} {MARGIN} {seconds - MARGIN} {seconds}"
        with ThreadPoolExecutor(len(drivers)) as threads:
            asked = [threads.submit(driver.ask, line) for driver in drivers]
            before, after = _watch(kinesis, row, start, seconds)
            by_driver: list[Counts] = [each.result() for each in asked]
        counted = {name: after[name] - before[name] for name in after}
        figures = _figures(row, counted, by_driver, seconds - 2 * MARGIN)
        return figures | (kinesis.ask("judge") if row.reshards else {})


def _driver(row: Row, url: str, kind: str = "kplpy") -> Piped:
    rate = (row.offered if kind == "kplpy" else row.boto3) * row.full / (1 if row.counts_records else row.size)
    # The buffer holds two seconds of the load. Records of a larger backlog would only expire.
    config = {"max_buffered_bytes": 16 << 20, "close_timeout_ms": 0, **row.config}
    given = {"kind": kind, "url": url, "rate": rate, "size": row.size, "config": config, "flush": row.reshards}
    return Piped([sys.executable, "-m", "benchmarks.offering", json.dumps(given)], **KEYS)


def _watch(kinesis: Piped, row: Row, start: float, seconds: float) -> tuple[Counts, Counts]:
    """Return the shards' counts MARGIN after the start and before the end, and reshard in between if asked."""
    changes = [(RESHARD * (n + 1), ("split", "merge")[n % 2]) for n in range(int(seconds / RESHARD) - 1)]
    moments = [(MARGIN, "counts"), (seconds - MARGIN, "counts"), *(changes if row.reshards else [])]
    seen: list[Counts] = []
    for at, what in sorted(moments):
        time.sleep(max(0.0, start + at - time.time()))
        counted = kinesis.ask(what)
        if what == "counts":
            seen.append(counted)
    return seen[0], seen[1]


def _figures(row: Row, counted: Counts, by_driver: list[Counts], seconds: float) -> dict[str, Any]:
    other = by_driver.pop() if row.boto3 else {}
    accepted = counted["accepted"] if row.counts_records else counted["accepted_bytes"]
    refused_bytes = counted["refused_bytes"] - other.get("throttled_bytes", 0)
    taken_bytes = counted["accepted_bytes"] - other.get("taken_bytes", 0)
    fair = (row.full * seconds - other.get("taken_bytes", 0)) / len(by_driver)
    return {
        "goodput": accepted / (row.full * seconds),
        # From the producers' counts. The difference to the boto3 loop's many small records would be too inexact.
        "throttled": sum(each["throttled"] for each in by_driver) / max(1, sum(each["sent"] for each in by_driver)),
        "throttled_bytes": refused_bytes / max(1, refused_bytes + taken_bytes),
        "shares": [each["taken_bytes"] / fair for each in by_driver] if row.boto3 else [],
        "put": sum(each["put"] for each in by_driver),
        "delivered": sum(each.get("delivered", 0) for each in by_driver),
        "failed": sum(each.get("failed", 0) for each in by_driver),
    }


def met(row: Row, found: Mapping[str, Any]) -> bool:
    if row.reshards:
        whole = found["read"] == found["put"] == found["delivered"] and found["read_twice"] == 0
        return bool(whole and found["rewritten_a_split"] <= 2 and found["rewritten_a_merge"] == 0)
    shares = all(abs(each - 1) <= 0.25 for each in found["shares"])
    return bool(shares and found["goodput"] >= row.goodput and found["throttled"] <= row.throttled)


def report(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        f"| {SHARDS} shards, 1 KB records | goodput | must | entries throttled | must | bytes throttled | also | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        if row.name not in found:
            continue
        figures = found[row.name]
        also = ", ".join(f"{each:.0%}" for each in figures["shares"])
        also = f"each producer's bytes over its fair share: {also}" if also else ""
        goodput, throttled = f"≥ {row.goodput:.0%}", f"≤ {row.throttled:.0%}"
        if row.reshards:
            goodput = throttled = ""
            also = (
                f"{figures['splits']} splits, {figures['merges']} merges; {figures['put'] - figures['read']:.0f} lost, "
                f"{figures['read_twice']} read twice; rewritten: at most {figures['rewritten_a_split']} aggregates "
                f"a split, {figures['rewritten_a_merge']} a merge"
            )
        lines.append(
            f"| {row.name} | {figures['goodput']:.1%} | {goodput} | {figures['throttled']:.2%} | {throttled} "
            f"| {figures['throttled_bytes']:.2%} | {also} | {'yes' if met(row, figures) else 'NO'} |"
        )
    return "\n".join(lines)
