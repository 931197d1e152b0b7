"""What ordered mode costs: records a second with it and without, in turn, over a stand-in that answers after a while.

As much is put as there is room for. `limited`: within the shards' limits, as with the service; else the rate limit is
out of the way, and what remains are the round trips. The rate counts what was answered after the first 1.5 s, when
what the limits let through in one burst is gone.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from benchmarks.stand_in import TRANSPORT, Delivery, unlimited
from kplpy import Producer
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange

WARM_UP = 1.5
SHARDS = (1, 4, 16)
SIZES = (100, 1000)
LATENCIES = (0.005, 0.020, 0.050)


class Late(Delivery):
    """Answers `latency` seconds late, and counts."""

    latency = 0.0
    answered = 0
    lock = threading.Lock()

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        exchange = super().put_records(name, arn, request)
        time.sleep(self.latency)
        with self.lock:
            Late.answered += sum(len(batch.items) for batch in request.batches)
        return exchange


def rate(ordered: bool, limited: bool, shards: int, size: int, latency: float, seconds: float) -> float:
    """Records a second."""
    Late.shards, Late.latency, Late.answered = shards, latency, 0
    keys = [f"customer-{number}" for number in range(1000)]
    items = [(bytes(size), keys[number % 1000]) for number in range(500)]
    ended = threading.Event()

    def put() -> None:
        while not ended.is_set():
            producer.put_records("bench", items)

    config = unlimited(
        ordered=ordered,
        rate_limit=100 if limited else 1_000_000,
        close_timeout_ms=0,
        max_buffered_records=20_000,
        on_failure=lambda _: None,
    )
    with patch(TRANSPORT, Late), Producer(config) as producer:
        putting = threading.Thread(target=put)
        putting.start()
        time.sleep(WARM_UP)
        before, began = Late.answered, time.perf_counter()
        time.sleep(seconds)
        found = (Late.answered - before) / (time.perf_counter() - began)
        ended.set()
        putting.join()
    return found


def measure(rounds: int, seconds: float) -> list[dict[str, Any]]:
    logging.getLogger("kplpy").setLevel(logging.ERROR)  # what is left undelivered is meant to be
    found = []
    for limited in (True, False):
        for size in SIZES:
            for shards in SHARDS:
                for latency in LATENCIES:
                    case = (limited, shards, size, latency, seconds)
                    pairs = [(rate(False, *case), rate(True, *case)) for _ in range(rounds)]
                    free, ordered = (statistics.median(column) for column in zip(*pairs, strict=True))
                    ratio = statistics.median(kept / loose for loose, kept in pairs)
                    found.append(
                        {"limited": limited, "shards": shards, "size": size, "latency": latency}
                        | {"unordered": free, "ordered": ordered, "ratio": ratio}
                    )
    return found


def report(found: Sequence[dict[str, Any]]) -> str:
    lines = ["limit   record  shards  latency   unordered     ordered   ratio"]
    for each in found:
        lines.append(
            f"{'shard' if each['limited'] else 'none':7}{each['size']:6} B{each['shards']:7}"
            f"{each['latency'] * 1000:7.0f} ms{each['unordered']:12,.0f}{each['ordered']:12,.0f}{each['ratio']:8.2f}"
        )
    return "\n".join(lines)
