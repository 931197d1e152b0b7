"""Measures confirmed records a second and CPU time a record, of kplpy and the peers in turn within each round.

Every future's result is read. async-kinesis, boto3 and aws-kinesis-agg have no futures; there, sent records count as
confirmed. Ratios are taken within a round, so that other load on the machine affects both sides alike.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import environments
from benchmarks.processes import Driver, Run, Sink

FUTURELESS = {"async_kinesis", "boto3", "kinesis_agg"}
KPLPY = "kplpy, metrics none"  # metrics are off because the KPL's are off here too
IN_PYTHON = "kplpy in pure Python"  # without the compiled code
_PURE = " in pure Python"  # ends the name of a job that is the same in pure Python
BEST, BEST_LARGE = "kplpy, at its best", "kplpy, at its best for large records"
_IN_CBOR = {"metrics_level": "none", "request_format": "cbor"}


@dataclass(frozen=True)
class Job:
    """The run of one producer in a round. producer: a name in PRODUCERS. window: the most unconfirmed records."""

    producer: str
    records: int
    mode: str = "put_record"
    window: int = 50_000


@dataclass(frozen=True)
class Case:
    """Jobs to compare, all with records of this size and these keys."""

    size: int
    keys: str
    jobs: Mapping[str, Job]


# For each producer, the name of its driver and the driver's options.
PRODUCERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{name: (name, {}) for name in environments.NAMES},
    **{
        f"kplpy, metrics {level}{', singles' if singles else ''}": (
            "kplpy",
            {"config": {"metrics_level": level, "metrics_granularity": "shard", "aggregation_enabled": not singles}},
        )
        for level in ("none", "detailed")
        for singles in (False, True)
    },
    IN_PYTHON: ("kplpy", {"config": {"metrics_level": "none"}, "accelerator": "no"}),
    f"{IN_PYTHON}, singles": (
        "kplpy",
        {"config": {"metrics_level": "none", "aggregation_enabled": False}, "accelerator": "no"},
    ),
    BEST: (
        "kplpy",
        {
            "config": {
                **_IN_CBOR,
                "aggregation_max_size": 600_000,
                "max_buffered_records": 400_000,
                "max_buffered_bytes": 1 << 30,
            }
        },
    ),
    BEST_LARGE: ("kplpy", {"config": _IN_CBOR}),
    "kpl, singles": ("kpl", {"unaggregated": True}),
}

CASES: Mapping[str, Case] = {
    "100 B, 10,000 keys": Case(
        100,
        "fixed",
        {
            "kpl": Job("kpl", 150_000),
            "put_record": Job(KPLPY, 500_000),
            "put_record, metrics detailed": Job("kplpy, metrics detailed", 500_000),
            "put_record, the buffer full": Job(KPLPY, 500_000, "flushed"),
            "put_record, at its best": Job(BEST, 500_000, window=100_000),
            "put_records": Job(KPLPY, 600_000, "put_records"),
            "put_record in pure Python": Job(IN_PYTHON, 300_000),
            "put_records in pure Python": Job(IN_PYTHON, 400_000, "put_records"),
            "put_records, at its best": Job(BEST, 600_000, "put_records", window=100_000),
            "asyncio, lists of 1,000": Job(KPLPY, 400_000, "lists"),
            "asyncio, a Task a record": Job(KPLPY, 80_000, "tasks"),
            "aiokpl": Job("aiokpl", 12_000),
            "async_kinesis": Job("async_kinesis", 100_000),
            "boto3": Job("boto3", 60_000),
            "kinesis_agg": Job("kinesis_agg", 150_000),
        },
    ),
    "100 B, UUID keys": Case(
        100,
        "uuid",
        {
            "kpl": Job("kpl", 150_000),
            "put_record": Job(KPLPY, 400_000),
            "put_record in pure Python": Job(IN_PYTHON, 250_000),
        },
    ),
    "1 KB, 10,000 keys": Case(
        1_000,
        "fixed",
        {
            "kpl": Job("kpl", 75_000, window=20_000),
            "put_record": Job(KPLPY, 250_000, window=20_000),
            "put_record in pure Python": Job(IN_PYTHON, 150_000, window=20_000),
            "put_record, at its best": Job(BEST, 250_000, window=20_000),
            "aiokpl": Job("aiokpl", 8_000),
            "async_kinesis": Job("async_kinesis", 50_000),
            "boto3": Job("boto3", 30_000),
            "kinesis_agg": Job("kinesis_agg", 60_000),
        },
    ),
    "50 KB, 10,000 keys": Case(
        50_000,
        "fixed",
        {
            "kpl": Job("kpl", 4_000, window=600),
            "put_record": Job(KPLPY, 10_000, window=600),
            "put_record in pure Python": Job(IN_PYTHON, 8_000, window=600),
            "put_record, at its best": Job(BEST_LARGE, 10_000, window=600),
            "aiokpl": Job("aiokpl", 1_500, window=600),
            "boto3": Job("boto3", 3_000),
        },
    ),
    "100 B, 500-record requests": Case(
        100,
        "fixed",
        {
            "kpl": Job("kpl, singles", 80_000),
            "put_record": Job("kplpy, metrics none, singles", 150_000),
            "put_record in pure Python": Job(f"{IN_PYTHON}, singles", 100_000),
        },
    ),
}


def driver_of(job: Job) -> str:
    return PRODUCERS[job.producer][0]


class Field:
    """The producers that take part. Each is started at its first run. A peer that fails is left out from then on."""

    def __init__(self, sink: Sink, stack: ExitStack, scale: float) -> None:
        self._sink, self._stack, self._scale = sink, stack, scale
        self._started: dict[str, Driver] = {}
        self.out: set[str] = set()

    def run(self, job: Job, case: Case, warming: bool) -> Run | None:
        """Return the figures of a run, or None if this producer is left out."""
        name = driver_of(job)
        if name in self.out:
            return None
        count = max(1_000, int(job.records * self._scale))
        try:
            driver = self._driver(job.producer)
            if warming and name == "kpl":  # for Java's compiler: 21 µs a record instead of 33
                driver.run(count, case.size, case.keys, job.window, job.mode)
            return driver.run(count, case.size, case.keys, job.window, job.mode)
        except (environments.UnavailableError, RuntimeError, OSError) as error:
            if name == "kplpy":
                raise
            print(f"{name} is left out: {error}", file=sys.stderr)
            self.out.add(name)
            return None

    def _driver(self, producer: str) -> Driver:
        if producer not in self._started:
            name, options = PRODUCERS[producer]
            self._started[producer] = self._stack.enter_context(environments.start(name, self._sink, **options))
        return self._started[producer]


def measure(cases: Mapping[str, Case], rounds: int, scale: float, producers: Iterable[str] = environments.NAMES) -> Any:
    """Return {case: {job: [one run a round]}}. A first round warms up and is not counted.

    scale: factor for the number of records. Jobs of peers that are unavailable or failed are left out.
    """
    wanted = set(producers)
    runs: dict[str, dict[str, list[Any]]] = {
        name: {title: [] for title, job in case.jobs.items() if driver_of(job) in wanted}
        for name, case in cases.items()
    }
    with ExitStack() as stack:
        field = Field(stack.enter_context(Sink()), stack, scale)
        for number in range(-1, rounds):
            for name, row in runs.items():
                case = cases[name]
                jobs = [(title, case.jobs[title]) for title in row]
                for title, job in jobs if number % 2 else reversed(jobs):
                    run = field.run(job, case, warming=number < 0)
                    if run is not None and number >= 0:
                        row[title].append(asdict(run))
    return {
        name: {title: row for title, row in jobs.items() if driver_of(cases[name].jobs[title]) not in field.out}
        for name, jobs in runs.items()
    }


def rates(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    return [Run(**run).rate for run in runs]


def cpus(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    return [Run(**run).cpu_per_record for run in runs]


def ratios(figures: Sequence[float], base: Sequence[float]) -> list[float]:
    """Divide two figures round by round."""
    return [one / other for one, other in zip(figures, base, strict=True)]


def report(runs: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> str:
    """Return the figures as a table of medians with their range. kplpy without its compiled code has own columns."""
    head = (
        "| | records/s | range | MB/s | CPU µs/record | × the KPL | range | sink's share of a core "
        "| in pure Python: records/s | CPU µs/record | × the KPL |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|---|---|---|"]
    for name, jobs in runs.items():
        kpl = rates(jobs["kpl"]) if "kpl" in jobs else []
        for title, row in jobs.items():
            if title.endswith(_PURE):
                continue
            rate, pure = rates(row), jobs.get(title + _PURE, ())
            median = statistics.median(rate)
            cells = [
                f"{name}: {title}{' (no futures)' if title in FUTURELESS else ''}",
                f"{median:,.0f}",
                f"{min(rate):,.0f}–{max(rate):,.0f}",
                f"{median * CASES[name].size / 1e6:.1f}",
                f"{statistics.median(cpus(row)):.2f}",
                *_times(rate, kpl),
                f"{statistics.median(run['sink_share'] for run in row):.2f}",
                f"{statistics.median(rates(pure)):,.0f}" if pure else "",
                f"{statistics.median(cpus(pure)):.2f}" if pure else "",
                _times(rates(pure), kpl)[0] if pure else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _times(rate: Sequence[float], kpl: Sequence[float]) -> tuple[str, str]:
    """Return how many times the KPL's rate this is, as median and range. Empty texts without the KPL."""
    if not kpl:
        return "", ""
    against = ratios(rate, kpl)
    return f"{statistics.median(against):.2f}", f"{min(against):.2f}–{max(against):.2f}"
