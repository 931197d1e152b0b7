"""Compares kplpy's choice of a shard for records without a partition key with random keys, in real time over HTTP.

`few`: 200 records of 100 B a second on 64 shards; the figure is the records in one Kinesis record. `busy`: four shards,
of which a boto3 loop uses nine tenths of one, with a load as large as the limit of the other three; the figure is the
goodput over that limit.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from benchmarks.processes import Piped
from benchmarks.throttled import KEYS, MARGIN

SHARD_BYTES = 1 << 20
FEW = {"shards": 64, "rate": 200.0, "size": 100}
BUSY = {"shards": 4, "rate": 3 * SHARD_BYTES / 1_000, "size": 1_000}
FOREIGN = {"kind": "boto3", "rate": 0.9 * SHARD_BYTES / 10_000, "size": 10_000, "hash_key": "1"}  # on the first shard

Counts = dict[str, float]


def measure(seconds: float) -> dict[str, dict[str, Counts]]:
    """Return the counts of offering.py by load and by the choice of the key, without a MARGIN at both ends."""
    seconds = max(2 * MARGIN + 2, seconds)
    found: dict[str, dict[str, Counts]] = {}
    for name, load, foreign in (("few", FEW, None), ("busy", BUSY, FOREIGN)):
        found[name] = {}
        for keyless in (False, True):
            counts = _run({"kind": "kplpy", **load, "keyless": keyless}, foreign, seconds)
            counts["goodput"] = counts["taken_bytes"] / ((seconds - 2 * MARGIN) * 3 * SHARD_BYTES)
            counts["packed"] = counts["delivered"] / max(1, counts["taken"])
            found[name]["kplpy's choice" if keyless else "random keys"] = counts
        print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    return found


def _run(load: Mapping[str, Any], foreign: Mapping[str, Any] | None, seconds: float) -> Counts:
    with ExitStack() as stack:
        given = {"streams": {"bench": load["shards"]}, "latency": [0.005, 0.05]}
        kinesis = stack.enter_context(Piped([sys.executable, "-m", "benchmarks.limited", json.dumps(given)]))
        config = {"max_buffered_bytes": 16 << 20, "close_timeout_ms": 0}
        loads = [{**load, "config": config}, *([foreign] if foreign else [])]
        drivers = [
            stack.enter_context(
                Piped(
                    [sys.executable, "-m", "benchmarks.offering", json.dumps({**each, "url": kinesis.first["url"]})],
                    **KEYS,
                )
            )
            for each in loads
        ]
        line = f"{time.time() + 1} {MARGIN} {seconds - MARGIN} {seconds}"
        with ThreadPoolExecutor(len(drivers)) as threads:
            counts: list[Counts] = list(threads.map(lambda driver: driver.ask(line), drivers))
        return counts[0]


def report(found: Mapping[str, Mapping[str, Counts]]) -> str:
    few, busy = found["few"], found["busy"]
    lines = [
        "| 64 shards, few records, and 4, one of them busy | records in one | goodput | entries throttled |",
        "|---|---|---|---|",
    ]
    for who in few:
        throttled = busy[who]["throttled"] / max(1, busy[who]["sent"])
        lines.append(f"| {who} | {few[who]['packed']:.1f} | {busy[who]['goodput']:.1%} | {throttled:.1%} |")
    return "\n".join(lines)
