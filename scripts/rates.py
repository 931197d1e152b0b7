"""Producers that share shards, on a virtual clock: fairness, start-up, a joiner, a leaver, a small room, as a table.

`scripts/rates.py SEEDS [WORDS]`: 20 seeds a case by default (some 20 minutes); words choose cases by their names.
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
LEAVE = 20  # when a producer leaves, in seconds
ROOM = 8_000  # records


@dataclass(frozen=True)
class Case:
    """A load. early: the second from which little is to be throttled."""

    name: str
    producers: int
    shards: int
    early: int
    load: dict[str, Any] = field(default_factory=dict)
    small_room: bool = False


CASES = [
    Case("two, one shard", 2, 1, 3),
    Case("three, one shard", 3, 1, 3),
    Case("two, one of them late", 2, 1, 3, {"joins": (0.0, 15.3)}),
    Case("three, one of them late", 3, 1, 3, {"joins": (0.0, 0.0, 15.3)}),
    Case("two, one leaves", 2, 1, 3, {"leaves": (float(LEAVE),)}),
    Case("three, one leaves", 3, 1, 3, {"leaves": (float(LEAVE),)}),
    Case("two, room of 8,000 records", 2, 4, 3, small_room=True),
    Case("three, room of 8,000 records", 3, 4, 3, small_room=True),
    Case("eight, four shards", 8, 4, 6),
    Case("eight, one leaves, four shards", 8, 4, 6, {"leaves": (float(LEAVE),)}),
]


@dataclass(frozen=True)
class Found:
    least_share: float
    goodput: float
    throttled: float  # from second 10 on
    early: list[float]  # throttled, second by second
    freed: float  # the part of freed capacity that is used 5 to 8 s after a producer left


def play(case: Case, size: int, seed: int) -> Found:
    backlog = ROOM * size if case.small_room else 64e6
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
