"""Measures the CPU time and wake-ups of idle producers with 50 streams open and nothing outstanding.

Each configuration is a process of its own. All run at the same time. Their CPU seconds and voluntary context switches
are counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.processes import Driver, Sink, cpu_seconds
from kplpy import Producer

STREAMS = 50
SETTLE = 40.0  # seconds: longer than records' time to live, and than idle senders wait before they end
MEASURED = 30.0
WAYS: Mapping[str, Mapping[str, Any]] = {
    "without metrics": {"metrics_level": "none"},
    "with metrics, no sink": {},
    "with metrics, a sink that takes them each second": {"metrics_sink": "discarding", "metrics_upload_delay_ms": 1000},
}


class Discarding:
    def emit(self, window: object) -> None:
        pass


def measure() -> dict[str, dict[str, float]]:
    """Return for each configuration the percent of a core and the wake-ups a second."""
    with Sink() as sink, ExitStack() as stack:
        drivers = {}
        for way, config in WAYS.items():
            given = json.dumps({"url": sink.url, "config": config})
            drivers[way] = stack.enter_context(Driver([sys.executable, "-m", "benchmarks.idle", given], sink))
        time.sleep(SETTLE)
        before = {way: (cpu_seconds([each.pid]), _switches(each.pid)) for way, each in drivers.items()}
        time.sleep(MEASURED)
        found = {}
        for way, driver in drivers.items():
            cpu, switches = before[way]
            found[way] = {
                "percent": (cpu_seconds([driver.pid]) - cpu) / MEASURED * 100,
                "wake-ups": (_switches(driver.pid) - switches) / MEASURED,
            }
        return found


def _switches(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def report(found: Mapping[str, Mapping[str, float]]) -> str:
    lines = [f"| {STREAMS} streams open, nothing to do | % of a core | wake-ups a second |", "|---|---|---|"]
    for way, each in found.items():
        lines.append(f"| {way} | {each['percent']:.2f} | {each['wake-ups']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    given = json.loads(sys.argv[1])
    config: dict[str, Any] = {
        key: Discarding() if value == "discarding" else value for key, value in given["config"].items()
    }
    with Producer(endpoint_url=given["url"], region_name="us-east-1", **config) as producer:
        futures = [producer.put_record(f"bench{number % STREAMS}-4", b"x", str(number)) for number in range(1000)]
        for future in futures:
            future.result()
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
