"""The protocol between a measurement and a driver. It does not import kplpy, because peers' environments run it too.

argv[1] is JSON: `url`, `stream`, and settings of the driver. A driver prints `{"ready": true}` after it has delivered a
first record. Each line `records size keys window mode` on stdin is one run. The response is
`{"records": …, "seconds": …}`, with the time from the first put to the last confirmation; keys are made before. End of
file ends the driver.
"""

from __future__ import annotations

import json
import random
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DISTINCT = 10_000


@dataclass
class Workload:
    """One run. window: the most records that are put and not yet confirmed. mode: how kplpy puts them."""

    data: bytes
    keys: list[str]
    window: int
    mode: str


def settings() -> dict[str, Any]:
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def read(line: str) -> Workload:
    records, size, kind, window, mode = line.split()
    return Workload(b"x" * int(size), make_keys(kind, int(records)), int(window), mode)


def make_keys(kind: str, count: int) -> list[str]:
    """Make partition keys: `fixed` repeats 10,000 distinct UUIDs, `uuid` makes a new UUID for each record."""
    if kind == "uuid":
        return [str(uuid.uuid4()) for _ in range(count)]
    rng = random.Random(7)
    some = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(DISTINCT)]
    return [some[n % DISTINCT] for n in range(count)]


def serve(run: Callable[[Workload], float]) -> None:
    """Carry out runs until standard input ends. `run` returns seconds."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        workload = read(line)
        seconds = run(workload)
        print(json.dumps({"records": len(workload.keys), "seconds": seconds}), flush=True)
