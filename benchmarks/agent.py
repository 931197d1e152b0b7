"""Compares kplpy agent with the Amazon Kinesis Agent: both follow log files and send them to Kinesis.

`bulk`: one flow reads a file of 500,000 lines of 104 B into the sink over HTTPS: CPU a line with the start included,
peak memory, and the time until the first line. `idle`: CPU with 1,000 files and nothing to read. `latency`: 1,000 lines
a second into a local Kinesis, from the append until a consumer has the line.

The Agent runs if `--agent-classpath` names its jar and its dependencies (docs/benchmarks.md says how to make them).
Without it the report compares with figures of an earlier run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import ROOT, Sink, cpu_seconds, peak_rss, tree
from kplpy import deaggregate
from kplpy.local import LocalKinesisProcess

LINES, LINE_BYTES = 500_000, 104
FILES = 1_000
LINES_PER_SECOND = 1_000
BUFFER_AGE_MS = 1_000  # the smallest that the Agent allows
QUIET_SECONDS = 3.0  # longer than a buffer may wait: nothing more comes
LIMIT_SECONDS = 180.0
SETTLE_SECONDS = 20.0
CASES = ("bulk", "idle", "latency")

AGENT, SINGLE, AGGREGATED = "Kinesis Agent", "kplpy agent", "kplpy agent, aggregated"
EARLIER = {"cpu": 20.0, "rss": 386e6, "first": 6.0}
"""The Agent 2.0.13 on Java 17 in an earlier run with 500,000 lines of 104 B: µs a line, bytes, seconds."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a program sends to. ca_bundle: "" for http."""

    url: str
    ca_bundle: str


@contextmanager
def running(program: str, home: Path, pattern: Path, place: Place, position: str, classpath: str) -> Iterator[int]:
    """Run a program with one flow from `pattern` to the stream bench-1. Yields its process id."""
    flow: dict[str, Any] = {
        "filePattern": str(pattern),
        "kinesisStream": "bench-1",
        "initialPosition": position,
        "maxBufferAgeMillis": BUFFER_AGE_MS,
    }
    if program == AGGREGATED:
        flow["aggregation"] = True
    configuration = {
        "kinesis.endpoint": place.url,
        "cloudwatch.emitMetrics": False,
        "checkpointFile": str(home / "checkpoints"),
        "flows": [flow],
    }
    path = home / "agent.json"
    path.write_text(json.dumps(configuration))
    command = [sys.executable, "-m", "kplpy", "agent", "-c", str(path)]
    if program == AGENT:
        command = [*_java(home, place, classpath), "-c", str(path)]
    environment = {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **({"AWS_CA_BUNDLE": place.ca_bundle} if place.ca_bundle else {}),
    }
    with (home / "output").open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=os.environ | environment
        )
    try:
        yield process.pid
    except RuntimeError as error:
        raise RuntimeError(f"{program}: {error}; it printed:\n{(home / 'output').read_text()[-3000:]}") from error
    finally:
        process.kill()
        process.wait()


def _java(home: Path, place: Place, classpath: str) -> list[str]:
    """Return the command that the Agent's own start script uses, with the sink's certificate trusted."""
    trust: list[str] = []
    if place.ca_bundle:
        store = home / "trust.p12"
        importing = ["keytool", "-importcert", "-noprompt", "-alias", "sink", "-file", place.ca_bundle]
        subprocess.run([*importing, "-keystore", str(store), "-storepass", "changeit"], check=True, capture_output=True)
        trust = [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit"]
    jvm = ["java", "-server", "-Xms32m", "-Xmx512m", *trust, "-cp", classpath]
    return [*jvm, "com.amazon.kinesis.streaming.agent.Agent"]


def measure(rounds: int, scale: float, classpath: str, case: str = "") -> dict[str, list[Row]]:
    """Return the rows of each case; `idle` and `latency` run once. case: only cases with this text in their names."""
    programs = [AGENT, SINGLE, AGGREGATED] if classpath else [SINGLE, AGGREGATED]
    found: dict[str, list[Row]] = {each: [] for each in CASES if case in each}
    if "bulk" in found:
        found["bulk"] = [bulk(each, classpath, int(LINES * scale)) for _ in range(rounds) for each in programs]
    if "idle" in found:
        found["idle"] = [idle(each, classpath, 30 * scale) for each in programs if each != AGGREGATED]
    if "latency" in found:
        found["latency"] = [latency(each, classpath, 20 * scale) for each in programs]
    return found


# --- bulk ---


def bulk(program: str, classpath: str, lines: int) -> Row:
    """Return seconds from start to first line and from first to last, µs of CPU a line, peak bytes, requests."""
    with tempfile.TemporaryDirectory(prefix="bench-agent-") as directory, Sink() as sink:
        home = Path(directory)
        log = home / "app.log"
        with log.open("wb") as file:
            for number in range(lines):
                file.write(_line(b"%012d status=200 path=/orders/%06d" % (number, number % 9973)))
        place = Place(sink.url.replace("127.0.0.1", "localhost"), sink.ca_bundle)
        started = time.monotonic()
        with running(program, home, home / "app.log*", place, "START_OF_FILE", classpath) as pid:
            cpu, stats = _until_quiet(pid, sink, lines)
            arrivals = sink.ask("arrivals")
            return {
                "program": program,
                "lines": lines,
                "first": arrivals[0][0] - started,
                "seconds": arrivals[-1][0] - arrivals[0][0],
                "cpu": cpu / lines * 1e6,
                "rss": peak_rss(tree(pid)),
                "requests": stats["requests"],
            }


def _line(text: bytes) -> bytes:
    return text.ljust(LINE_BYTES - 1, b".") + b"\n"


def _until_quiet(pid: int, sink: Sink, lines: int) -> tuple[float, dict[str, float]]:
    """Wait until nothing more arrives. Return the process's CPU seconds at the last arrival, and the sink's counts.

    Raises RuntimeError if fewer bytes arrived than the lines have.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    last, cpu = sink.stats(), 0.0
    changed_at = time.monotonic()
    while time.monotonic() < deadline and (not last["requests"] or time.monotonic() - changed_at < QUIET_SECONDS):
        time.sleep(0.1)
        if not _is_alive(pid):
            break
        stats, used = sink.stats(), cpu_seconds(tree(pid))
        if stats["body_bytes"] != last["body_bytes"]:
            last, cpu, changed_at = stats, used, time.monotonic()
    if last["body_bytes"] < lines * LINE_BYTES:
        raise RuntimeError(f"the sink has {last['body_bytes']:,.0f} bytes of {lines:,} lines of {LINE_BYTES} bytes")
    return cpu, last


def _is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


# --- idle ---


def idle(program: str, classpath: str, seconds: float) -> Row:
    """Return the percent of a core with 1,000 files that nobody writes to."""
    with tempfile.TemporaryDirectory(prefix="bench-agent-") as directory, Sink() as sink:
        home = Path(directory)
        for number in range(FILES):
            (home / f"app-{number:04d}.log").write_bytes(_line(b"%d" % number) * 10)
        place = Place(sink.url.replace("127.0.0.1", "localhost"), sink.ca_bundle)
        with running(program, home, home / "app-*.log", place, "END_OF_FILE", classpath) as pid:
            time.sleep(SETTLE_SECONDS)
            before = cpu_seconds(tree(pid))
            time.sleep(seconds)
            return {
                "program": program,
                "percent": (cpu_seconds(tree(pid)) - before) / seconds * 100,
                "rss": peak_rss(tree(pid)),
            }


# --- latency ---


def latency(program: str, classpath: str, seconds: float) -> Row:
    """Return p50, p99 and the maximum, in ms, from a line's append until a consumer has it."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-agent-") as directory,
        LocalKinesisProcess(streams={"bench-1": 1}, limits=False) as kinesis,
    ):
        home = Path(directory)
        log = home / "app.log"
        log.touch()
        ended = threading.Event()
        place = Place(kinesis.endpoint_url, "")
        with running(program, home, home / "app.log*", place, "START_OF_FILE", classpath) as pid:
            writer = threading.Thread(target=_write, args=(log, ended))
            writer.start()
            try:
                delays = _read(kinesis, seconds)
            finally:
                ended.set()
                writer.join()
            cpu = cpu_seconds(tree(pid))
    delays.sort()
    return {
        "program": program,
        "lines": len(delays),
        "p50": delays[len(delays) // 2] * 1e3,
        "p99": delays[int(len(delays) * 0.99)] * 1e3,
        "max": delays[-1] * 1e3,
        "cpu": cpu,
    }


def _write(log: Path, ended: threading.Event) -> None:
    """Append lines with their time, 1,000 a second."""
    begin, count = time.monotonic(), 0
    with log.open("ab", buffering=0) as file:
        while not ended.wait(0.001):
            due = int((time.monotonic() - begin) * LINES_PER_SECOND)
            for _ in range(due - count):
                file.write(_line(b"%.6f " % time.time()))
            count = due


def _read(kinesis: LocalKinesisProcess, seconds: float) -> list[float]:
    """Return the delays of the lines that arrive in `seconds`, after a warm-up of five seconds from the first line."""
    client = kinesis.client()
    iterator = client.get_shard_iterator(
        StreamName="bench-1", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    delays: list[float] = []
    deadline, count_from = time.monotonic() + LIMIT_SECONDS, float("inf")
    while time.monotonic() < min(deadline, count_from + seconds):
        answer = client.get_records(ShardIterator=iterator)
        iterator = answer["NextShardIterator"]
        now = time.time()
        if answer["Records"] and count_from == float("inf"):
            count_from = time.monotonic() + 5
        if time.monotonic() >= count_from:
            for record in answer["Records"]:
                delays += [now - float(each.data.split(b" ", 1)[0]) for each in deaggregate(record["Data"])]
        time.sleep(0.02)
    if not delays:
        raise RuntimeError(f"no line arrived within {LIMIT_SECONDS:g} s")
    return delays


# --- the report ---


def report(found: Mapping[str, Sequence[Row]]) -> str:
    return "\n\n".join(_REPORTS[case](rows) for case, rows in found.items() if rows)


def _bulk_report(rows: Sequence[Row]) -> str:
    head = (
        f"| {rows[0]['lines']:,} lines of {LINE_BYTES} B | CPU µs/line | to the Agent | peak RSS MB | to the Agent "
        "| first line s | lines/s after the first |"
    )
    lines = [head, "|---|---|---|---|---|---|---|"]
    agent = [each for each in rows if each["program"] == AGENT]
    if not agent:
        agent = [dict(EARLIER)]
        lines.append(
            f"| Kinesis Agent 2.0.13, an earlier run | {EARLIER['cpu']:.1f} | 1 | {EARLIER['rss'] / 1e6:.0f} | 1 "
            f"| {EARLIER['first']:.1f} | |"
        )
    for program in dict.fromkeys(each["program"] for each in rows):
        own = [each for each in rows if each["program"] == program]
        base = agent if len(agent) == len(own) else agent * len(own)
        cpu, rss = _middle(own, "cpu"), _middle(own, "rss")
        rate = median(each["lines"] / max(each["seconds"], 1e-3) for each in own)
        lines.append(
            f"| {program} | {cpu:.1f} | {_ratio(own, base, 'cpu'):.2f} | {rss / 1e6:.0f} "
            f"| {_ratio(own, base, 'rss'):.2f} | {_middle(own, 'first'):.1f} | {rate:,.0f} |"
        )
    return "\n".join(lines)


def _middle(rows: Sequence[Row], name: str) -> float:
    middle: float = median(each[name] for each in rows)
    return middle


def _ratio(rows: Sequence[Row], base: Sequence[Row], name: str) -> float:
    middle: float = median(each[name] / other[name] for each, other in zip(rows, base, strict=True))
    return middle


def _idle_report(rows: Sequence[Row]) -> str:
    lines = [f"| {FILES:,} files, nothing to read | % of a core | peak RSS MB |", "|---|---|---|"]
    lines += [f"| {each['program']} | {each['percent']:.2f} | {each['rss'] / 1e6:.0f} |" for each in rows]
    return "\n".join(lines)


def _latency_report(rows: Sequence[Row]) -> str:
    head = (
        f"| {LINES_PER_SECOND:,} lines/s, maxBufferAgeMillis {BUFFER_AGE_MS:,}: append to read, ms | p50 | p99 | max |"
    )
    lines = [head, "|---|---|---|---|"]
    lines += [f"| {row['program']} | {row['p50']:.0f} | {row['p99']:.0f} | {row['max']:.0f} |" for row in rows]
    return "\n".join(lines)


_REPORTS = {"bulk": _bulk_report, "idle": _idle_report, "latency": _latency_report}
