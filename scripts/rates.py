"""Simulates producers that share shards, and prints fairness, start-up, joining and leaving as a table.

`scripts/rates.py SEEDS [WORDS]` uses 20 seeds a case by default, on a virtual clock; that takes about 20 minutes. WORDS
choose cases by parts of their names.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.core_helpers import policy
from tests.simulation.rates import Rates

SIZES = (1_000, 5_000, 10_180)
SECONDS = 45
LEAVE = 20  # the second in which a producer leaves
SMALL_BUFFER = 8_000  # records


@dataclass(frozen=True)
class Case:
    """A load. early: second of the start-up whose throttling the last but one column shows."""

    name: str
    producers: int
    shards: int
    early: int
    load: dict[str, Any] = field(default_factory=dict)
    small_buffer: bool = False


CASES = [
    Case("two, one shard", 2, 1, 3),
    Case("three, one shard", 3, 1, 3),
    Case("two, one of them late", 2, 1, 3, {"joins": (0.0, 15.3)}),
    Case("three, one of them late", 3, 1, 3, {"joins": (0.0, 0.0, 15.3)}),
    Case("two, one leaves", 2, 1, 3, {"leaves": (float(LEAVE),)}),
    Case("three, one leaves", 3, 1, 3, {"leaves": (float(LEAVE),)}),
    Case("two, buffer of 8,000 records", 2, 4, 3, small_buffer=True),
    Case("three, buffer of 8,000 records", 3, 4, 3, small_buffer=True),
    Case("eight, four shards", 8, 4, 6),
    Case("eight, one leaves, four shards", 8, 4, 6, {"leaves": (float(LEAVE),)}),
]


@dataclass(frozen=True)
class Found:
    """The result of one run.

    least_share: the smallest share of a producer in 10 s, over its fair share.
    goodput: delivered bytes over the shards' limit, from second 10 on.
    throttled: throttled part of the sent records from second 10 on.
    early: throttled part in each of the first ten seconds.
    freed: used part of the freed capacity 5 to 8 s after a producer left.
    """

    least_share: float
    goodput: float
    throttled: float
    early: list[float]
    freed: float


def play(case: Case, size: int, seed: int) -> Found:
    backlog = SMALL_BUFFER * size if case.small_buffer else 64e6
    rates = Rates(
        policy(),
        producers=case.producers,
        shards=case.shards,
        offered=1.0,
        record_size=size,
        backlog=backlog,
        seconds=SECONDS,
        seed=seed,
        **case.load,
    ).run()
    kept = 1 - 1 / case.producers
    return Found(
        rates.least_share(),
        rates.goodput,
        rates.throttled(10, SECONDS),
        [rates.throttled(second, second + 1) for second in range(10)],
        (rates.taken(LEAVE + 5, LEAVE + 8) - kept) / (1 - kept) if "leaves" in case.load else float("nan"),
    )


def row(case: Case, size: int, found: list[Found]) -> str:
    shares = [each.least_share for each in found]
    early = [sum(each.early[second] for each in found) / len(found) for second in range(10)]
    below = next((str(second) for second in range(10) if early[second] < 0.05), "later")
    freed = f"{sum(each.freed for each in found) / len(found):.0%}" if "leaves" in case.load else ""
    return (
        f"| {case.name} | {size:,} | {min(shares):.2f} | {sum(share < 0.5 for share in shares)} of {len(shares)} "
        f"| {min(each.goodput for each in found):.1%} | {sum(each.throttled for each in found) / len(found):.1%} "
        f"| {below} | {early[case.early]:.1%} | {freed} |"
    )


def main(arguments: list[str]) -> int:
    seeds = int(arguments[0]) if arguments else 20
    words = arguments[1:]
    print(
        "| producers | record, B | least share in 10 s | runs below half | least goodput | throttled from 10 s on ",
        end="",
    )
    print("| below 5 % from second | throttled in second 3 (eight: 6) | freed capacity used after 5 s |")
    print("|---|---|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor() as pool:
        for case in CASES:
            if words and not any(word in case.name for word in words):
                continue
            for size in SIZES:
                found = list(pool.map(partial(play, case, size), range(1, seeds + 1)))
                print(row(case, size, found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
