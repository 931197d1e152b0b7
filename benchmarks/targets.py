"""The project's speed targets, most of them as ratios to the KPL, and their comparison with measured figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import agent, arrow, latency, scaling, throughput

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """One figure and its bounds.

    section: the measurement that has the figure.
    must, aim: the bound to meet, and a better one to aim at. None without a bound.
    measure: returns the figure of each round from the section's results.
    at_least: False if the bounds are upper bounds.
    """

    what: str
    section: str
    must: float | None
    aim: float | None
    measure: Callable[[Any], Sequence[float]]
    at_least: bool = True
    unit: str = ""

    def row(self, found: Any) -> str:
        figures = list(self.measure(found))
        median = statistics.median(figures)
        sign = "≥" if self.at_least else "≤"
        must, aim = ("" if bound is None else f"{sign} {bound:g}{self.unit}" for bound in (self.must, self.aim))
        spread = f"{min(figures):.3g}–{max(figures):.3g}"
        met = "" if self.must is None else "yes" if self._met(median, self.must) else "NO"
        if self.aim is not None and self._met(median, self.aim):
            met = "yes, and the aim"
        return f"| {self.what} | {must} | {aim} | {median:.3g}{self.unit} | {spread} | {met} |"

    def _met(self, figure: float, bound: float) -> bool:
        return figure >= bound if self.at_least else figure <= bound


def _rate(case: str, job: str) -> Callable[[Any], Sequence[float]]:
    return lambda found: throughput.ratios(throughput.rates(found[case][job]), throughput.rates(found[case]["kpl"]))


def _tasks(found: Any) -> Sequence[float]:
    return throughput.cpus(found["100 B, 10,000 keys"]["asyncio, a Task a record"])


def _cpu(found: Any, job: str = "put_record") -> Sequence[float]:
    case = found["100 B, 10,000 keys"]
    return throughput.ratios(throughput.cpus(case[job]), throughput.cpus(case["kpl"]))


def _cpu_of_lists(found: Any) -> Sequence[float]:
    return _cpu(found, "put_records")


def _memory(way: str) -> Callable[[Any], Sequence[float]]:
    return lambda found: throughput.ratios(found[f"kplpy: {way}"], found[f"kpl: {way}"])


def _threads(version: str) -> Callable[[Any], Sequence[float]]:
    return lambda found: throughput.ratios(found["threads"][version]["eight"], found["threads"][version]["one"])


def _streams(linger: int) -> Callable[[Any], Sequence[float]]:
    names = f"{scaling.STREAMS} streams, linger {linger} ms", f"1 stream, linger {linger} ms"
    return lambda found: scaling.ratio(found["streams"], *names, "rate")


def _shards(count: int) -> Callable[[Any], Sequence[float]]:
    return lambda found: scaling.ratio(found["shards"], f"{count} shards", "16 shards", "cpu")


def _p99(found: Any) -> Sequence[float]:
    place = list(found["percentiles"]).index(99)
    return [row[place] - latency.LINGER_MS for row in found["buffering"]]


def _to_records(what: str) -> Callable[[Any], Sequence[float]]:
    return lambda found: [
        base[what] / row[what] for base, row in zip(found[arrow.PUT_RECORDS], found[arrow.PUT_TABLE], strict=True)
    ]


def _to_way(way: str) -> Callable[[Any], Sequence[float]]:
    return lambda found: throughput.ratios(found["sink"], found[way])


def _of_worker(found: Any) -> Sequence[float]:
    return [(found["worker"]["sink"] - found["worker"]["blank"]) / 1e6]


def _to_agent(program: str, name: str) -> Callable[[Any], Sequence[float]]:
    return lambda found: agent.ratios(found["bulk"], program, name)


def _of_agent(case: str, program: str, name: str) -> Callable[[Any], Sequence[float]]:
    return lambda found: [each[name] for each in found[case] if each["program"] == program]


_AGENT_P99_MS = agent.BUFFER_AGE_MS + 200
_FIXED = "100 B, 10,000 keys"
INTRODUCTION = """\
The tables show how many records a second a producer puts and sees confirmed on one machine, and what CPU time a record
costs, beside the KPL and other producers in the same run. kplpy runs compiled code where it can
([accelerator.md](accelerator.md)); columns and rows named "in pure Python" are without it.

Written by `python -m benchmarks shown`. [benchmarks.md](benchmarks.md) describes the measurements. Figures are medians
of the rounds, with the whole range."""
TARGETS = [
    Target("put_record 100 B, 10,000 keys, to the KPL", "throughput", 9, 15, _rate(_FIXED, "put_record")),
    Target("(at its best settings)", "throughput", 12, 15, _rate(_FIXED, "put_record, at its best")),
    Target("(in pure Python)", "throughput", None, None, _rate(_FIXED, "put_record in pure Python")),
    Target("put_record 100 B, UUID keys, to the KPL", "throughput", 7, 10, _rate("100 B, UUID keys", "put_record")),
    Target("put_records 100 B, to the KPL", "throughput", 9, 15, _rate(_FIXED, "put_records")),
    Target("(at its best settings)", "throughput", 12, 15, _rate(_FIXED, "put_records, at its best")),
    Target("(in pure Python)", "throughput", None, None, _rate(_FIXED, "put_records in pure Python")),
    Target("1 KB, to the KPL", "throughput", 5.5, 8, _rate("1 KB, 10,000 keys", "put_record")),
    Target("(at its best settings)", "throughput", 7, 8, _rate("1 KB, 10,000 keys", "put_record, at its best")),
    Target("(in pure Python)", "throughput", None, None, _rate("1 KB, 10,000 keys", "put_record in pure Python")),
    Target("50 KB, to the KPL", "throughput", 2, 3.5, _rate("50 KB, 10,000 keys", "put_record")),
    Target("(at its best settings)", "throughput", 2.9, 3.5, _rate("50 KB, 10,000 keys", "put_record, at its best")),
    Target("CPU a record, 100 B, to the KPL's", "throughput", 1 / 16, None, _cpu, at_least=False),
    Target("(put_records)", "throughput", 1 / 16, None, _cpu_of_lists, at_least=False),
    Target(
        "peak memory, 50,000 outstanding, to the KPL's", "memory", 0.125, None, _memory("sustained"), at_least=False
    ),
    Target("(the first 50,000 of fresh processes)", "memory", None, None, _memory("held"), at_least=False),
    Target("asyncio, lists of 1,000, to the KPL", "throughput", 7, None, _rate(_FIXED, "asyncio, lists of 1,000")),
    Target(
        "(asyncio, a Task a record, to the KPL)", "throughput", None, None, _rate(_FIXED, "asyncio, a Task a record")
    ),
    Target("(its CPU a record)", "throughput", None, None, _tasks, unit=" µs"),
    Target("(of that, a Task that does nothing)", "scaling", None, None, lambda found: found["tasks"], unit=" µs"),
    Target(
        "500-record requests, to the KPL's own in this run",
        "throughput",
        3,
        5,
        _rate("100 B, 500-record requests", "put_record"),
    ),
    Target("buffering p99 beyond the linger, half load", "latency", 50, None, _p99, at_least=False, unit=" ms"),
    Target(
        "idle put on the wire, beyond the linger",
        "latency",
        5,
        None,
        lambda found: [each - found["linger_ms"] for each in found["idle"]],
        at_least=False,
        unit=" ms",
    ),
    Target("8 threads to one, Python 3.11", "scaling", 0.8, None, _threads("3.11")),
    Target("8 threads to one, Python 3.13", "scaling", 0.8, None, _threads("3.13")),
    Target("64 streams × 16 shards to one stream, linger 5 s", "scaling", 0.8, None, _streams(5000)),
    Target("(the same with a linger of 100 ms)", "scaling", 0.75, 0.9, _streams(100)),
    Target("CPU a record, 256 shards to 16", "scaling", 1.5, None, _shards(256), at_least=False),
    Target("CPU a record, 4,096 shards to 16", "scaling", 1.5, None, _shards(4096), at_least=False),
    Target(
        "import of kplpy after botocore's",
        "scaling",
        60,
        None,
        lambda found: found["imports"]["kplpy, after botocore"],
        at_least=False,
        unit=" ms",
    ),
    Target("put_table to put_records of the same rows", "arrow", 1.2, 2, _to_records("seconds")),
    Target("(in CPU time)", "arrow", None, None, _to_records("cpu")),
    Target("Spark local[2] to boto3 in foreachPartition", "spark", 5, None, _to_way("boto3")),
    Target("Spark local[2] to put_table in one process", "spark", 0.5, 1, _to_way("put_table")),
    Target("(to a sink of Spark's that only counts rows)", "spark", None, None, _to_way("blank")),
    Target("memory of a Spark worker beyond pyspark's own", "spark", 150, None, _of_worker, False, " MB"),
    Target("agent: CPU a line, to the Agent's", "agent", 1 / 2, 1 / 4, _to_agent(agent.SINGLE, "cpu"), False),
    Target(
        "agent: CPU a line, aggregated, to the Agent's",
        "agent",
        1 / 5,
        1 / 10,
        _to_agent(agent.AGGREGATED, "cpu"),
        False,
    ),
    Target("agent: peak memory, to the Agent's", "agent", 1 / 4, 0.167, _to_agent(agent.SINGLE, "rss"), False),
    Target("agent: first line", "agent", 2, None, _of_agent("bulk", agent.SINGLE, "first"), False, " s"),
    Target("agent: idle with 1,000 files", "agent", 2, None, _of_agent("idle", agent.SINGLE, "percent"), False, " %"),
    Target(
        "agent: append to read, p99",
        "agent",
        _AGENT_P99_MS,
        None,
        _of_agent("latency", agent.SINGLE, "p99"),
        False,
        " ms",
    ),
    Target(
        "agent: append to read, p99, aggregated",
        "agent",
        _AGENT_P99_MS,
        None,
        _of_agent("latency", agent.AGGREGATED, "p99"),
        False,
        " ms",
    ),
]


def report(results: Results) -> str:
    """Return the table of the targets whose section was measured: medians of the rounds, and the whole range."""
    lines = ["| target | must | aim | measured | range | met |", "|---|---|---|---|---|---|"]
    for target in TARGETS:
        if target.section in results:
            try:
                lines.append(target.row(results[target.section]["results"]))
            except (KeyError, ValueError):  # a peer or a Python version was left out
                lines.append(f"| {target.what} | | | not measured | | |")
    sections = [name for name in results if any(target.section == name for target in TARGETS)]
    return "\n".join([*lines, "", *(f"- {name}: {where(results[name]['environment'])}" for name in sections)])


def where(environment: Mapping[str, Any]) -> str:
    """Return a line about the environment that the figures depend on."""
    at = dict(environment)
    few = " (FEWER THAN 5: not to be quoted)" if at["rounds"] < 5 else ""
    return (
        f"{at['rounds']} rounds{few}, scale {at.get('scale', 1):g}, {at['cores']} cores {at['cpu']}, load "
        f"{at['load'][0]:.1f} at the start, Python {at['python']}, commit {at['commit'][:10]}, {at['began']}, "
        f"{at.get('seconds', '?')} s"
    )


def page(results: Results, reports: Mapping[str, str]) -> str:
    """Return the text of docs/bench-figures.md."""
    parts = [
        "# The figures",
        INTRODUCTION,
        "## Targets",
        report(results),
        *(part for name, table in reports.items() for part in (f"## {name}", table)),
    ]
    return "\n\n".join(parts) + "\n"
