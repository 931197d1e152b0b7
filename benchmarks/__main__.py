"""`python -m benchmarks WHAT`: the one entry. WHAT is one of the measurements, or `all`; `targets` tells again
how the results stand to the targets, `plots` draws again,
`search` looks for the KPL's best settings.

Results are added to a JSON file with the environment, and told as tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    environments,
    latency,
    memory,
    ordered,
    processes,
    scaling,
    search,
    targets,
    throttled,
    throughput,
)

RESULTS = environments.BUILD / "results.json"


def _throughput(options: argparse.Namespace) -> Any:
    cases = [name for name in throughput.CASES if options.case in name]
    runs = throughput.measure(cases, options.rounds, options.scale, options.producers.split(","))
    print(throughput.report(runs))
    return runs


def _latency(options: argparse.Namespace) -> Any:
    found = latency.measure(options.rounds, 4 * options.scale)
    print(latency.report(found))
    return found


def _memory(options: argparse.Namespace) -> Any:
    found = memory.measure(options.rounds)
    print(memory.report(found))
    return found


def _scaling(options: argparse.Namespace) -> Any:
    found = scaling.measure(options.rounds, options.scale)
    print(scaling.report(found))
    return found


def _throttled(options: argparse.Namespace) -> Any:
    found = throttled.measure(60 * options.scale)
    print(throttled.report(found))
    return found


def _ordered(options: argparse.Namespace) -> Any:
    found = ordered.measure(options.rounds, 2.0 * options.scale)
    print(ordered.report(found))
    return found


def _search(options: argparse.Namespace) -> Any:
    found = search.measure(options.rounds, options.scale)
    print(search.report(found))
    return found


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "throughput": _throughput,
    "latency": _latency,
    "throttled": _throttled,
    "memory": _memory,
    "scaling": _scaling,
    "ordered": _ordered,
}
EXTRAS = {"search": _search}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["all", *MEASUREMENTS, *EXTRAS, "targets", "plots"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="length of the runs, 1 for some seconds each")
    parser.add_argument("--case", default="", help="throughput: only cases with this in their names")
    parser.add_argument("--producers", default=",".join(environments.NAMES), help="throughput: only these")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--plots", type=Path, default=processes.ROOT / "docs", help="where the pictures go")
    options = parser.parse_args()
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    names = {"all": list(MEASUREMENTS), "targets": [], "plots": []}.get(options.what, [options.what])
    for name in names:
        began = processes.environment() | {"began": time.strftime("%F %T"), "rounds": options.rounds}
        results[name] = {"environment": began, "results": {**MEASUREMENTS, **EXTRAS}[name](options)}
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(results, indent=1))
    print(targets.report(results))
    if options.what in {"all", "plots"}:
        command = [environments.python_with_matplotlib(), "-m", "benchmarks.plots", options.output, options.plots]
        subprocess.run([str(each) for each in command], cwd=processes.ROOT, check=True)


if __name__ == "__main__":
    main()
