"""What counting costs: throughput with metrics_level "detailed" down to the shard beside "none", in turn in each round.

Each is a process of its own that puts the same records; see throughput.py. Nothing is uploaded: that is once a minute.
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
    """As throughput's, with four times as many rounds of a third of the length, because the difference is small.

    Each four have fresh processes: two of the same code differ by 2 % as long as they live.
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
