"""`python -m benchmarks WHAT`: the one entry. WHAT is one of the measurements, or `all`; `targets` tells again how the
results stand to the targets, `plots` draws again, `search` looks for the KPL's best settings.

Results are added to a JSON file with the environment, and told as tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import (
    environments,
    isolation,
    keyless,
    latency,
    memory,
    ordered,
    outage,
    processes,
    scaling,
    search,
    targets,
    throttled,
    throughput,
)

RESULTS = environments.BUILD / "results.json"


@dataclass(frozen=True)
class Measurement:
    measure: Callable[[argparse.Namespace], Any]
    report: Callable[[Any], str]


def _throughput(options: argparse.Namespace) -> Any:
    cases = [name for name in throughput.CASES if options.case in name]
    return throughput.measure(cases, options.rounds, options.scale, options.producers.split(","))


MEASUREMENTS = {
    "throughput": Measurement(_throughput, throughput.report),
    "latency": Measurement(lambda asked: latency.measure(asked.rounds, 4 * asked.scale), latency.report),
    "throttled": Measurement(lambda asked: throttled.measure(60 * asked.scale, asked.case), throttled.report),
    "isolation": Measurement(lambda asked: isolation.measure(60 * asked.scale), isolation.report),
    "keyless": Measurement(lambda asked: keyless.measure(40 * asked.scale), keyless.report),
    "outage": Measurement(lambda asked: outage.measure(180 * asked.scale), outage.report),
    "memory": Measurement(lambda asked: memory.measure(asked.rounds), memory.report),
    "scaling": Measurement(lambda asked: scaling.measure(asked.rounds, asked.scale), scaling.report),
    "ordered": Measurement(lambda asked: ordered.measure(asked.rounds, 2 * asked.scale), ordered.report),
}
EXTRAS = {"search": Measurement(lambda asked: search.measure(asked.rounds, asked.scale), search.report)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["all", *MEASUREMENTS, *EXTRAS, "targets", "plots"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="length of the runs, 1 for some seconds each")
    parser.add_argument("--case", default="", help="throughput, throttled: only cases with this in their names")
    parser.add_argument("--producers", default=",".join(environments.NAMES), help="throughput: only these")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--plots", type=Path, default=processes.ROOT / "docs", help="where the pictures go")
    options = parser.parse_args()
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    names = {"all": list(MEASUREMENTS), "targets": [], "plots": []}.get(options.what, [options.what])
    for name in names:
        began = processes.environment() | {"began": time.strftime("%F %T"), "rounds": options.rounds}
        measurement = {**MEASUREMENTS, **EXTRAS}[name]
        found = measurement.measure(options)
        print(measurement.report(found))
        results[name] = {"environment": began, "results": found}
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(results, indent=1))
    print(targets.report(results))
    if options.what in {"all", "plots"}:
        command = [environments.python_with_matplotlib(), "-m", "benchmarks.plots", options.output, options.plots]
        subprocess.run([str(each) for each in command], cwd=processes.ROOT, check=True)


if __name__ == "__main__":
    main()
