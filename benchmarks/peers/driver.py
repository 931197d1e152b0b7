"""What a driver is asked and answers. It imports nothing of kplpy: the peers' environments run it too.

argv[1] is JSON: `url`, `stream`, and settings of the driver's own. It prints `{"ready": true}` once it has delivered a
first record; then each line `records size keys window mode` on stdin is one run, answered with
`{"records": …, "seconds": …}`: from the first put to the last confirmation, keys made beforehand. End of file ends it.
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
    data: bytes
    keys: list[str]
    window: int
    """Records put and not yet confirmed, at the most."""
    mode: str


def settings() -> dict[str, Any]:
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def read(line: str) -> Workload:
    records, size, kind, window, mode = line.split()
    return Workload(b"x" * int(size), make_keys(kind, int(records)), int(window), mode)


def make_keys(kind: str, count: int) -> list[str]:
    """`fixed`: 10,000 distinct keys over and over, as text of a UUID's length; `uuid`: a new one for each record."""
    if kind == "uuid":
        return [str(uuid.uuid4()) for _ in range(count)]
    rng = random.Random(7)
    some = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(DISTINCT)]
    return [some[n % DISTINCT] for n in range(count)]


def serve(run: Callable[[Workload], float]) -> None:
    """Carry out runs until there is nobody left to ask; `run` returns seconds."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        workload = read(line)
        seconds = run(workload)
        print(json.dumps({"records": len(workload.keys), "seconds": seconds}), flush=True)
