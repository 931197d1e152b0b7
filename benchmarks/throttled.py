"""Goodput and waste where the service limits: issue 4's table, a minute a row, over HTTP to a process of its own.

The local Kinesis holds the limits of four shards and answers 5 to 50 ms late. Goodput is the bytes it accepted (data
and outer key) between second 5 and 55, over what the shards' limit allows; what it refused counts in Kinesis records
and in bytes. The boto3 loop's own refusals are left out.
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
    """A load and its bounds: goodput at least, refused at most."""

    name: str
    goodput: float
    throttled: float
    producers: int = 1
    offered: float = 2.0  # by each producer, over the limit of all shards
    size: int = 1_000
    boto3: float = 0.0  # offered by a loop around boto3
    reshards: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts_records(self) -> bool:
        """Small ones meet the limit of records first."""
        return self.size < 1_000

    @property
    def full(self) -> float:
        """What the shards take a second, in what the goodput of this row counts."""
        return SHARDS * 1_000 if self.counts_records else LIMIT


ROWS = [
    Row("one producer offering 2 ×", 0.99, 0.01),
    Row("two producers offering 2 × together", 0.98, 0.05, producers=2, offered=1.0),
    Row("three producers and a boto3 loop at a quarter", 0.97, 0.10, producers=3, offered=1.0, boto3=0.25),
    Row("100 B records, aggregation off", 0.99, 0.01, size=100, config={"aggregation_enabled": False}),
    Row("split and merge in turn, half the limit", 0.0, 1.0, offered=0.5, reshards=True),
]


def measure(seconds: float, case: str = "") -> dict[str, dict[str, Any]]:
    """The figures of each row with `case` in its name; told as they come."""
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
            told: list[Counts] = [each.result() for each in asked]
        counted = {name: after[name] - before[name] for name in after}
        figures = _figures(row, counted, told, seconds - 2 * MARGIN)
        return figures | (kinesis.ask("judge") if row.reshards else {})


def _driver(row: Row, url: str, kind: str = "kplpy") -> Piped:
    rate = (row.offered if kind == "kplpy" else row.boto3) * row.full / (1 if row.counts_records else row.size)
    # Room for two seconds of what is put: a backlog for the whole run would only expire.
    config = {"max_buffered_bytes": 16 << 20, "close_timeout_ms": 0, **row.config}
    given = {"kind": kind, "url": url, "rate": rate, "size": row.size, "config": config, "flush": row.reshards}
    return Piped([sys.executable, "-m", "benchmarks.offering", json.dumps(given)], **KEYS)


def _watch(kinesis: Piped, row: Row, start: float, seconds: float) -> tuple[Counts, Counts]:
    """What the shards had taken and refused, MARGIN after the start and before the end; reshards meanwhile."""
    changes = [(RESHARD * (n + 1), ("split", "merge")[n % 2]) for n in range(int(seconds / RESHARD) - 1)]
    moments = [(MARGIN, "counts"), (seconds - MARGIN, "counts"), *(changes if row.reshards else [])]
    seen: list[Counts] = []
    for at, what in sorted(moments):
        time.sleep(max(0.0, start + at - time.time()))
        told = kinesis.ask(what)
        if what == "counts":
            seen.append(told)
    return seen[0], seen[1]


def _figures(row: Row, counted: Counts, told: list[Counts], seconds: float) -> dict[str, Any]:
    other = told.pop() if row.boto3 else {}
    accepted = counted["accepted"] if row.counts_records else counted["accepted_bytes"]
    refused_bytes = counted["refused_bytes"] - other.get("throttled_bytes", 0)
    taken_bytes = counted["accepted_bytes"] - other.get("taken_bytes", 0)
    fair = (row.full * seconds - other.get("taken_bytes", 0)) / len(told)
    return {
        "goodput": accepted / (row.full * seconds),
        # The producers' own counts: beside the loop's many small records ours would be lost in the difference.
        "throttled": sum(each["throttled"] for each in told) / max(1, sum(each["sent"] for each in told)),
        "throttled_bytes": refused_bytes / max(1, refused_bytes + taken_bytes),
        "shares": [each["taken_bytes"] / fair for each in told] if row.boto3 else [],
        "put": sum(each["put"] for each in told),
        "delivered": sum(each.get("delivered", 0) for each in told),
        "failed": sum(each.get("failed", 0) for each in told),
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
        also = f"each one's share of the fair one: {also}" if also else ""
        goodput, throttled = f"≥ {row.goodput:.0%}", f"≤ {row.throttled:.0%}"
        if row.reshards:
            goodput = throttled = ""
            also = (
                f"{figures['splits']} splits, {figures['merges']} merges; {figures['put'] - figures['read']:.0f} lost, "
                f"{figures['read_twice']} read twice; rewritten: {figures['rewritten_a_split']} aggregates a split "
                f"at the most, {figures['rewritten_a_merge']} a merge"
            )
        lines.append(
            f"| {row.name} | {figures['goodput']:.1%} | {goodput} | {figures['throttled']:.2%} | {throttled} "
            f"| {figures['throttled_bytes']:.2%} | {also} | {'yes' if met(row, figures) else 'NO'} |"
        )
    return "\n".join(lines)
