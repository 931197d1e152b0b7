"""Compares throughput with metrics_level "detailed", by shard, and "none", in turn in each round.

Each is a process of its own that puts the same records (see throughput.py). Nothing is uploaded, because uploads happen
once a minute.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.throughput import Case, Job, cpus, rates, ratios
from benchmarks.throughput import measure as measure_cases

NONE, DETAILED = "none", "detailed"


def _case(size: int, records: int, window: int = 50_000, singles: bool = False) -> Case:
    kind = ", singles" if singles else ""
    return Case(
        size,
        "fixed",
        {level: Job(f"kplpy, metrics {level}{kind}", records, window=window) for level in (NONE, DETAILED)},
    )


CASES: Mapping[str, Case] = {
    "100 B": _case(100, 200_000),
    "1 KB": _case(1_000, 100_000, window=20_000),
    "100 B, 500-record requests": _case(100, 60_000, singles=True),
}


def measure(rounds: int, scale: float) -> Any:
    """Measure as throughput.measure, with four times as many rounds, each a third as long.

    The difference is small, so it needs many rounds. Every four rounds have fresh processes, because two processes with
    the same code differ by 2 % as long as they live.
    """
    runs: dict[str, dict[str, list[Any]]] = {name: {job: [] for job in case.jobs} for name, case in CASES.items()}
    for _ in range(rounds):
        for name, jobs in measure_cases(CASES, 4, scale).items():
            for job, row in jobs.items():
                runs[name][job] += row
    return runs


def report(runs: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> str:
    lines = [
        "| | records/s, none | detailed | ratio | quartiles | CPU µs/record, none | detailed | ratio | quartiles |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, jobs in runs.items():
        cells = [name]
        for figures, form in ((rates, ",.0f"), (cpus, ".2f")):
            none, detailed = figures(jobs[NONE]), figures(jobs[DETAILED])
            against = ratios(detailed, none)
            low, _, high = statistics.quantiles(against, n=4)
            cells += [format(statistics.median(none), form), format(statistics.median(detailed), form)]
            cells += [f"{statistics.median(against):.3f}", f"{low:.2f}–{high:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
