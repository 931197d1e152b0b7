"""Measures how speed depends on putting threads, streams and shards, and the time to import kplpy."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from benchmarks import environments
from benchmarks.processes import ROOT, Sink

SHARDS = (16, 256, 4096)
STREAMS = 64
LONG_LINGER = {"record_max_buffered_time_ms": 5000, "max_buffered_records": 4_000_000, "max_buffered_bytes": 4 << 30}
_IMPORTS = {
    # the time that kplpy adds to a program with botocore, and the time of botocore's core alone
    "kplpy, after botocore": (
        "import boto3, botocore.session",
        "import kplpy\nfor each in kplpy.__all__: getattr(kplpy, each)",
    ),
    "botocore": ("", "import botocore.session"),
    "kplpy alone": ("", "import kplpy; kplpy.Producer"),
}


def threads(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return {Python: {"one": rates, "eight": rates}}, over an imitation of the service (see threads.py)."""
    found = {}
    for version in ("3.11", "3.13"):
        try:
            python = environments.python_with_kplpy(version)
        except environments.UnavailableError as error:
            print(f"Python {version} is left out: {error}", file=sys.stderr)
            continue
        command = [str(python), "-m", "benchmarks.threads", "--json", "--rounds", str(rounds)]
        found[version] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return found


def streams(rounds: int, scale: float) -> dict[str, list[dict[str, float]]]:
    """Measure one stream of 16 shards and 64 such streams, with records put in turn, over HTTPS into the sink."""
    many = ",".join(f"s{number}-16" for number in range(STREAMS))
    found: dict[str, list[dict[str, float]]] = {}
    with Sink() as sink:
        drivers = {
            f"{name}, linger {config.get('record_max_buffered_time_ms', 100)} ms": environments.start(
                "kplpy", sink, stream, config=config
            )
            for config in ({}, LONG_LINGER)
            for name, stream in (("1 stream", "bench-16"), (f"{STREAMS} streams", many))
        }
        for number in range(-1, rounds):
            for name, driver in drivers.items():
                # 64 streams fill no aggregate before its linger ends, so the window is larger than a linger's records.
                mode = "flushed" if "5000" in name else "streams"
                run = driver.run(int(300_000 * scale), 100, window=100_000, mode=mode)
                if number >= 0:
                    row = {"rate": run.rate, "cpu": run.cpu_per_record, "requests": run.requests}
                    found.setdefault(name, []).append(row)
        for driver in drivers.values():
            driver.close()
    return found


def shards(rounds: int, scale: float) -> dict[str, list[dict[str, float]]]:
    """Measure 16, 256 and 4,096 shards, with a linger of 5 s and a buffer for all records: put, flush, confirm."""
    found: dict[str, list[dict[str, float]]] = {}
    with Sink() as sink:
        drivers = {
            f"{count} shards": environments.start("kplpy", sink, f"bench-{count}", config=LONG_LINGER)
            for count in SHARDS
        }
        for number in range(-1, rounds):
            for name, driver in drivers.items():
                run = driver.run(int(500_000 * scale * (1 if number >= 0 else 0.3)), 100, mode="flushed")
                if number >= 0:
                    found.setdefault(name, []).append({"rate": run.rate, "cpu": run.cpu_per_record})
        for driver in drivers.values():
            driver.close()
    return found


def imports(rounds: int) -> dict[str, list[float]]:
    """Return milliseconds of imports, each in a new interpreter, from compiled modules as an installation has them."""
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(environments.BUILD / "compiled")}
    found: dict[str, list[float]] = {}
    for number in range(-1, max(rounds, 5)):
        for name, (before, what) in _IMPORTS.items():
            code = f"{before}\nimport time\nstarted = time.perf_counter()\n{what}\nprint(time.perf_counter() - started)"
            command = [sys.executable, "-c", code]
            done = subprocess.run(
                command, cwd=ROOT, env=os.environ | compiled, check=True, capture_output=True, text=True
            )
            if number >= 0:
                found.setdefault(name, []).append(float(done.stdout) * 1e3)
    return found


def tasks(rounds: int) -> list[float]:
    """Return the µs of CPU of an asyncio Task that does nothing, made and awaited in groups of 1,000."""

    async def nothing() -> None:
        pass

    async def groups() -> None:
        for _ in range(20):
            await asyncio.gather(*[asyncio.create_task(nothing()) for _ in range(1_000)])

    found = []
    for _ in range(rounds):
        started = time.process_time()
        asyncio.run(groups())
        found.append((time.process_time() - started) / 20_000 * 1e6)
    return found


def measure(rounds: int, scale: float) -> dict[str, Any]:
    return {
        "tasks": tasks(rounds),
        "threads": threads(rounds),
        "streams": streams(rounds, scale),
        "shards": shards(rounds, scale),
        "imports": imports(rounds),
    }


def ratio(found: Mapping[str, list[dict[str, float]]], one: str, other: str, what: str) -> list[float]:
    """Divide the figures of one row by those of another, round by round."""
    return [left[what] / right[what] for left, right in zip(found[one], found[other], strict=True)]


def report(found: Mapping[str, Any]) -> str:
    lines = ["| scaling | records/s | CPU µs/record | to the first |", "|---|---|---|---|"]
    for version, rates in found["threads"].items():
        pairs = [many / alone for alone, many in zip(rates["one"], rates["eight"], strict=True)]
        lines.append(
            f"| 8 threads, Python {version} | {statistics.median(rates['eight']):,.0f} | "
            f"| {statistics.median(pairs):.2f} of one thread's {statistics.median(rates['one']):,.0f} |"
        )
    for kind, what in (("streams", "rate"), ("shards", "cpu")):
        names = list(found[kind])
        for number, name in enumerate(names):
            first = names[number - number % 2] if kind == "streams" else names[0]
            lines.append(
                f"| {name} | {statistics.median(row['rate'] for row in found[kind][name]):,.0f} "
                f"| {statistics.median(row['cpu'] for row in found[kind][name]):.2f} "
                f"| {statistics.median(ratio(found[kind], name, first, what)):.2f} ({what}) |"
            )
    lines.append(f"| an asyncio Task that does nothing | | {statistics.median(found['tasks']):.1f} | |")
    for name, times in found["imports"].items():
        lines.append(f"| import: {name} | | | {statistics.median(times):.0f} ms |")
    return "\n".join(lines)
