"""`python -m benchmarks WHAT …`: the one entry. WHAT is a measurement or a group of them:

  throughput, latency, memory, scaling   `shown`: what docs/ shows; some 14 minutes
  throttled                              with `shown` it is `all`; some 19 minutes
  isolation, keyless, bad_records, outage, ordered, metrics   with `all` they are `everything`; some 39 minutes
  search                                 looks for the KPL's best settings

The groups also write docs/bench-*, which `plots` does from what was measured last; `targets` tells again how that
stands to the targets. Results are added to a JSON file with the environment, and told as tables.
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
    bad_records,
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
    processes,
    scaling,
    search,
    targets,
    throttled,
    throughput,
)

RESULTS = environments.BUILD / "results.json"
EVERYBODY = ",".join(environments.NAMES)


@dataclass(frozen=True)
class Measurement:
    measure: Callable[[argparse.Namespace], Any]
    report: Callable[[Any], str]


def _throughput(options: argparse.Namespace) -> Any:
    cases = {name: case for name, case in throughput.CASES.items() if options.case in name}
    return throughput.measure(cases, options.rounds, options.scale, options.producers.split(","))


MEASUREMENTS = {
    "throughput": Measurement(_throughput, throughput.report),
    "latency": Measurement(lambda asked: latency.measure(asked.rounds, 4 * asked.scale), latency.report),
    "throttled": Measurement(lambda asked: throttled.measure(60 * asked.scale, asked.case), throttled.report),
    "isolation": Measurement(lambda asked: isolation.measure(60 * asked.scale), isolation.report),
    "keyless": Measurement(lambda asked: keyless.measure(40 * asked.scale), keyless.report),
    "bad_records": Measurement(lambda asked: bad_records.measure(20 * asked.scale), bad_records.report),
    "outage": Measurement(lambda asked: outage.measure(180 * asked.scale), outage.report),
    "memory": Measurement(lambda asked: memory.measure(asked.rounds), memory.report),
    "scaling": Measurement(lambda asked: scaling.measure(asked.rounds, asked.scale), scaling.report),
    "metrics": Measurement(lambda asked: metrics.measure(asked.rounds, asked.scale), metrics.report),
    "ordered": Measurement(lambda asked: ordered.measure(asked.rounds, 2 * asked.scale), ordered.report),
    "asyncio": Measurement(lambda asked: loop.measure(asked.rounds), loop.report),
    "overhead": Measurement(lambda asked: overhead.measure(asked.rounds), overhead.report),
    "idle": Measurement(lambda _: idle.measure(), idle.report),
}
EXTRAS = {"search": Measurement(lambda asked: search.measure(asked.rounds, asked.scale), search.report)}
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
    """Measure, tell, and add to the results, which are kept after each measurement."""
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
    """docs/bench-*: the pictures, the tables, and the results that both are made of."""
    kept = {name: results[name] for name in SHOWN if name in results}
    told = options.docs / "bench-results.json"
    told.write_text(json.dumps(kept) + "\n")
    reports = {name: KNOWN[name].report(kept[name]["results"]) for name in kept}
    (options.docs / "bench-figures.md").write_text(targets.page(kept, reports))
    command = [environments.python_with_matplotlib(), "-m", "benchmarks.plots", told, options.docs]
    subprocess.run([str(each) for each in command], cwd=processes.ROOT, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=[*GROUPS, *KNOWN], metavar="WHAT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="length of the runs, 1 for some seconds each")
    parser.add_argument("--case", default="", help="throughput, throttled: only cases with this in their names")
    parser.add_argument("--producers", default=EVERYBODY, help="throughput: only these")
    parser.add_argument("--output", type=Path, help=f"{RESULTS}, but nothing with --case or --producers")
    parser.add_argument("--docs", type=Path, default=processes.ROOT / "docs", help="where `plots` and the like go")
    options = parser.parse_args()
    if options.rounds < 1 or options.scale <= 0:
        parser.error(f"--rounds must be 1 or more, --scale above 0; got {options.rounds} and {options.scale:g}")
    if unknown := set(options.producers.split(",")) - set(environments.NAMES):
        parser.error(f"--producers are some of {EVERYBODY}; got {', '.join(sorted(unknown))}")
    if options.output is None and not options.case and options.producers == EVERYBODY:
        options.output = RESULTS  # a part must not take the place of the whole
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
