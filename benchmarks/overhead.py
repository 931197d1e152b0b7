"""What an outstanding record of 100 B costs in memory beside its data and key, its future included.

How far resident memory grows from 50,000 outstanding records to 250,000, each way in a process of its own. The payloads
are there before; so are the keys, but not what kplpy remembers of them. `aggregated`: the shards are known, no answer
comes. `alone`: the endpoint is dead, so records travel alone. No sink and no server is needed for that.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from unittest.mock import patch

from benchmarks.stand_in import TRANSPORT, Delivery, unlimited
from kplpy import Producer, RecordFuture
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange

FIRST, ALL = 50_000, 250_000
SETTLE = 4.0  # seconds: beyond the patience with the shard map
WAYS = {f"{way}, {keys:,} keys": {"way": way, "keys": keys} for way in ("aggregated", "alone") for keys in (1000, ALL)}


def measure(rounds: int) -> dict[str, list[float]]:
    """{way: bytes a record, round by round}."""
    found: dict[str, list[float]] = {}
    environment = os.environ | {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    for _ in range(rounds):
        for name, given in WAYS.items():
            command = [sys.executable, "-m", "benchmarks.overhead", json.dumps(given)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found.setdefault(name, []).append(float(done.stdout))
    return found


def report(found: Mapping[str, Sequence[float]]) -> str:
    lines = ["| an outstanding record of 100 B | bytes beside data and key | range |", "|---|---|---|"]
    for name, sizes in found.items():
        lines.append(f"| {name} | {statistics.median(sizes):.0f} | {min(sizes):.0f}–{max(sizes):.0f} |")
    return "\n".join(lines)


# --- the producer's process ---


class Silent(Delivery):
    """Never answers a request."""

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        threading.Event().wait()
        raise AssertionError


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def main() -> None:
    logging.disable(logging.CRITICAL)  # that the endpoint is dead is known
    given = json.loads(sys.argv[1])
    payloads = [os.urandom(100) for _ in range(ALL)]
    keys = [f"customer-{number}" for number in range(given["keys"])]
    futures: list[RecordFuture | None] = [None] * ALL
    aggregated = given["way"] == "aggregated"
    config = unlimited(
        endpoint_url="http://127.0.0.1:9", region_name="us-east-1", request_timeout_ms=600_000, close_timeout_ms=0
    )
    with ExitStack() as stack:
        if aggregated:
            stack.enter_context(patch(TRANSPORT, Silent))
        producer = Producer(config)

        def grow(first: int, end: int) -> int:
            for number in range(first, end):
                futures[number] = producer.put_record("bench", payloads[number], keys[number % len(keys)])
            time.sleep(SETTLE)
            gc.collect()
            return resident()

        before = grow(0, FIRST)
        grown = grow(FIRST, ALL) - before
        if producer.outstanding_records != ALL:
            raise RuntimeError(f"{producer.outstanding_records} are outstanding")
    print(grown / (ALL - FIRST), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
