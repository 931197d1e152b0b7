"""Draws the plots in docs/ from the results: `python -m benchmarks plots`. It needs matplotlib, but not kplpy."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt  # imported after the backend is chosen

SIZES = {"100 B": "100 B, 10,000 keys", "1 KB": "1 KB, 10,000 keys", "50 KB": "50 KB, 10,000 keys"}
NAMES = {
    "put_record": "kplpy",
    "put_record in pure Python": "kplpy in pure Python",
    "put_record, at its best": "kplpy at its best",
    "kpl": "KPL 1.1.1",
    "aiokpl": "aiokpl",
    "async_kinesis": "async-kinesis (no futures)",
    "boto3": "boto3 × 500 (no futures)",
    "kinesis_agg": "aws-kinesis-agg (no futures)",
}


def _rates(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    return [run["records"] / run["seconds"] for run in runs]


def throughput(found: Mapping[str, Any], where: str) -> Any:
    figure, axes = plt.subplots(figsize=(9, 4.5))
    names = {job: name for job, name in NAMES.items() if any(job in found.get(case, {}) for case in SIZES.values())}
    width = 0.8 / len(names)
    for number, (job, name) in enumerate(names.items()):
        places: list[float] = []
        heights: list[float] = []
        low: list[float] = []
        high: list[float] = []
        for place, case in enumerate(SIZES.values()):
            if job in found.get(case, {}):
                rates = _rates(found[case][job])
                median = statistics.median(rates)
                places.append(place + (number - len(names) / 2 + 0.5) * width)
                heights.append(median)
                low.append(median - min(rates))
                high.append(max(rates) - median)
        axes.bar(
            places,
            heights,
            width,
            color=f"C{number}",
            label=name,
            yerr=[low, high],
            capsize=2,
            error_kw={"linewidth": 0.8},
        )
        for at, height in zip(places, heights, strict=True):
            shown = f"{height / 1000:.0f}k" if height >= 10_000 else f"{height:,.0f}"
            axes.annotate(
                shown, (at, height), ha="center", va="bottom", fontsize=6, xytext=(0, 2), textcoords="offset points"
            )
    axes.set_yscale("log")
    axes.set_xticks(range(len(SIZES)), [f"{size} records" for size in SIZES])
    axes.set_ylabel("records/s confirmed (log)")
    axes.set_title(f"Throughput by size, 16 shards over HTTPS; medians and range\n{where}", fontsize=9)
    axes.legend(fontsize=7)
    return figure


def latency(found: Mapping[str, Any], where: str) -> Any:
    figure, axes = plt.subplots(figsize=(9, 4))
    names = {"buffering": "put to sent", "whole": "put to answered"}
    for what, name in names.items():
        columns = [statistics.median(column) for column in zip(*found[what], strict=True)]
        axes.plot(columns, found["percentiles"], label=name)
    axes.axvline(found["linger_ms"], color="grey", linestyle=":", label="record_max_buffered_time_ms")
    axes.set_xlabel("ms")
    axes.set_ylabel("percent of records within")
    rate = statistics.median(found["records/s"])
    axes.set_title(f"Latency at half load ({rate:,.0f} records/s of 100 B, 16 shards)\n{where}", fontsize=9)
    axes.legend(fontsize=8)
    axes.set_xlim(left=0)
    return figure


def shards(found: Mapping[str, Any], where: str) -> Any:
    figure, axes = plt.subplots(figsize=(6, 4))
    for place, runs in enumerate(found["shards"].values()):
        costs = [run["cpu"] for run in runs]
        median = statistics.median(costs)
        error = [[median - min(costs)], [max(costs) - median]]
        axes.bar(place, median, 0.6, yerr=error, capsize=3, color="C0")
        axes.annotate(f"{median:.2f}", (place, median), xytext=(8, 3), textcoords="offset points")
    axes.set_xticks(range(len(found["shards"])), list(found["shards"]))
    axes.margins(y=0.12)
    axes.set_ylabel("CPU µs a record")
    axes.set_title(f"Cost of a record by shards (100 B, linger 5 s)\n{where}", fontsize=9)
    return figure


def draw(results: Mapping[str, Any], directory: Path) -> None:
    for section, make, name in (
        ("throughput", throughput, "bench-throughput.png"),
        ("latency", latency, "bench-latency.png"),
        ("scaling", shards, "bench-shards.png"),
    ):
        if section in results:
            at = results[section]["environment"]
            where = f"{at['cores']} cores {at['cpu']}, Python {at['python']}, load {at['load'][0]:.1f}, {at['began']}"
            figure = make(results[section]["results"], where)
            figure.tight_layout()
            figure.savefig(directory / name, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
