"""Runs measurements: `python -m benchmarks WHAT …`. WHAT is a measurement or a group:

  throughput, latency, memory, scaling   the group `shown`: the figures of docs/; about 14 minutes
  throttled                              with `shown` the group `all`; about 19 minutes
  isolation, keyless, bad_records, outage, ordered, metrics   with `all` the group `everything`; about 39 minutes
  search                                 searches for the KPL's best settings
  agent                                  kplpy agent beside the Amazon Kinesis Agent
  partitions                             rows in one Kinesis record, by the size of Spark's or Ray's partitions
  spark                                  Spark's sink, in an environment of 1 GB; needs Java; about 4 minutes

The groups also write docs/bench-*. `plots` writes these files from the last results. `targets` compares the last
results with the targets. Results are added to a JSON file with the environment, and printed as tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import (
    agent,
    arrow,
    bad_records,
    compression,
    environments,
    idle,
    isolation,
    keyless,
    latency,
    loop,
    memory,
    metrics,
    ordered,
    outage,
    overhead,
    partitions,
    processes,
    scaling,
    search,
    spark,
    spool,
    targets,
    throttled,
    throughput,
)

RESULTS = environments.BUILD / "results.json"
ALL_PRODUCERS = ",".join(environments.NAMES)


@dataclass(frozen=True)
class Measurement:
    measure: Callable[[argparse.Namespace], Any]
    report: Callable[[Any], str]


def _throughput(options: argparse.Namespace) -> Any:
    cases = {name: case for name, case in throughput.CASES.items() if options.case in name}
    return throughput.measure(cases, options.rounds, options.scale, options.producers.split(","))


MEASUREMENTS = {
    "throughput": Measurement(_throughput, throughput.report),
    "latency": Measurement(lambda options: latency.measure(options.rounds, 4 * options.scale), latency.report),
    "throttled": Measurement(lambda options: throttled.measure(60 * options.scale, options.case), throttled.report),
    "isolation": Measurement(lambda options: isolation.measure(60 * options.scale), isolation.report),
    "keyless": Measurement(lambda options: keyless.measure(40 * options.scale), keyless.report),
    "bad_records": Measurement(lambda options: bad_records.measure(20 * options.scale), bad_records.report),
    "outage": Measurement(lambda options: outage.measure(180 * options.scale), outage.report),
    "memory": Measurement(lambda options: memory.measure(options.rounds), memory.report),
    "scaling": Measurement(lambda options: scaling.measure(options.rounds, options.scale), scaling.report),
    "metrics": Measurement(lambda options: metrics.measure(options.rounds, options.scale), metrics.report),
    "ordered": Measurement(lambda options: ordered.measure(options.rounds, 2 * options.scale), ordered.report),
    "compression": Measurement(
        lambda options: compression.measure(options.rounds, 4 * options.scale, options.case), compression.report
    ),
    "arrow": Measurement(lambda options: arrow.measure(options.rounds, options.scale), arrow.report),
    "spool": Measurement(lambda options: spool.measure(options.rounds, 4 * options.scale, options.case), spool.report),
    "asyncio": Measurement(lambda options: loop.measure(options.rounds), loop.report),
    "overhead": Measurement(lambda options: overhead.measure(options.rounds), overhead.report),
    "idle": Measurement(lambda _: idle.measure(), idle.report),
}
EXTRAS = {
    "search": Measurement(lambda options: search.measure(options.rounds, options.scale), search.report),
    "agent": Measurement(
        lambda options: agent.measure(options.rounds, options.scale, options.agent_classpath, options.case),
        agent.report,
    ),
    "partitions": Measurement(lambda _: partitions.measure(), partitions.report),
    "spark": Measurement(lambda options: spark.measure(options.rounds), spark.report),
}
KNOWN = {**MEASUREMENTS, **EXTRAS}
SHOWN = ["throughput", "latency", "memory", "scaling"]
GROUPS: dict[str, list[str]] = {
    "shown": SHOWN,
    "all": [*SHOWN, "throttled"],
    "everything": list(MEASUREMENTS),
    "targets": [],
    "plots": [],
}


def carry_out(names: Sequence[str], options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Run the measurements and print their reports. The results are written to the file after each measurement."""
    for name in names:
        settings = {"began": time.strftime("%F %T"), "rounds": options.rounds, "scale": options.scale}
        environment = processes.environment() | settings
        print(f"\n=== {name}", flush=True)
        started = time.monotonic()
        found = KNOWN[name].measure(options)
        environment["seconds"] = round(time.monotonic() - started)
        print(KNOWN[name].report(found), f"\n({environment['seconds']} s)", flush=True)
        results[name] = {"environment": environment, "results": found}
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(results, indent=1))


def publish(results: dict[str, Any], options: argparse.Namespace) -> None:
    """Write docs/bench-*: the plots, the tables, and the results behind them."""
    kept = {name: results[name] for name in SHOWN if name in results}
    results_file = options.docs / "bench-results.json"
    results_file.write_text(json.dumps(kept) + "\n")
    reports = {name: KNOWN[name].report(kept[name]["results"]) for name in kept}
    (options.docs / "bench-figures.md").write_text(targets.page(kept, reports))
    command = [environments.python_with_matplotlib(), "-m", "benchmarks.plots", results_file, options.docs]
    subprocess.run([str(each) for each in command], cwd=processes.ROOT, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=[*GROUPS, *KNOWN], metavar="WHAT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="length of the runs; 1 is some seconds each")
    parser.add_argument(
        "--case", default="", help="throughput, throttled, compression, agent: only cases whose names have this text"
    )
    parser.add_argument(
        "--producers", default=ALL_PRODUCERS, help="throughput: only these producers, separated by commas"
    )
    parser.add_argument(
        "--agent-classpath", default="", help="agent: Java class path of the Kinesis Agent, its jar and dependencies"
    )
    parser.add_argument(
        "--output", type=Path, help=f"file for the results; default {RESULTS}, or none with --case or --producers"
    )
    parser.add_argument("--docs", type=Path, default=processes.ROOT / "docs", help="folder for docs/bench-*")
    options = parser.parse_args()
    if options.rounds < 1 or options.scale <= 0:
        parser.error(f"--rounds must be 1 or more, --scale above 0; got {options.rounds} and {options.scale:g}")
    if unknown := set(options.producers.split(",")) - set(environments.NAMES):
        parser.error(f"--producers are some of {ALL_PRODUCERS}; got {', '.join(sorted(unknown))}")
    if options.output is None and not options.case and options.producers == ALL_PRODUCERS:
        options.output = RESULTS  # a partial measurement must not replace a whole one
    source = options.output or RESULTS
    results = json.loads(source.read_text()) if source.exists() else {}
    names = [name for what in options.what for name in GROUPS.get(what, [what])]
    try:
        carry_out(names, options, results)
        print(f"\n{targets.report(results)}")
        if {"shown", "all", "everything", "plots"} & set(options.what):
            publish(results, options)
    except environments.UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
