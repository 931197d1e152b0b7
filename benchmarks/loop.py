"""Measures how long an event loop is blocked while 50,000 puts are pending, as lateness of a timer of one millisecond.

It is compared with an idle loop, as a control; with as many tasks that wait for asyncio's own futures, which shows the
time of Python's garbage collector; and with the first put of the process, which makes the client. `accepted`: all
records are accepted and wait for their outcome. `waiting`: the buffer holds a tenth, and the others wait in
aput_record. Tasks are started a hundred at a time, because starting many at once is work of asyncio itself. The
producer runs in a process of its own (`main` below), over HTTPS into the sink.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.processes import Driver, Sink
from kplpy import Producer

PENDING = 50_000
GATHERED = 100_000
TICK = 0.001
AT_ONCE = 100
HOLD = 3.0  # seconds for which the sink keeps all responses back
WAYS = ("accepted", "waiting")
PERCENTILES = (50, 90, 99, 99.9, 100)


def measure(rounds: int) -> dict[str, list[Any]]:
    """Return for each case a row a round, in milliseconds by PERCENTILES. The case `gather` has rows in seconds."""
    found: dict[str, list[Any]] = {}
    with Sink() as sink, ThreadPoolExecutor(1) as thread:
        for _ in range(rounds):
            command = [sys.executable, "-m", "benchmarks.loop", json.dumps({"url": sink.url})]
            with Driver(command, sink) as driver:
                for case in ("control", "first", "tasks", *WAYS, "gather"):
                    if case in WAYS:
                        sink.ask("hold")
                    rows = thread.submit(driver.ask, case)
                    if case in WAYS:
                        time.sleep(HOLD)
                        sink.ask("release")
                    for what, row in rows.result().items():
                        found.setdefault(what, []).append(row)
    return found


def worst(found: Mapping[str, Sequence[Any]], way: str) -> float:
    """Return the milliseconds by which the 99th percentile is above the control's, as the median of the rounds."""
    at = PERCENTILES.index(99)
    pairs = zip(found[way], found["control"], strict=True)
    return float(statistics.median(busy[at] - idle[at] for busy, idle in pairs))


def report(found: Mapping[str, Sequence[Any]]) -> str:
    lines = ["| ms late | p50 | p90 | p99 | p99.9 | most | p99 above the control's |", "|---|---|---|---|---|---|---|"]
    for what, rows in found.items():
        if what != "gather":
            middle = [statistics.median(column) for column in zip(*rows, strict=True)]
            figures = " | ".join(f"{each:.1f}" for each in middle)
            lines.append(f"| {what} | {figures} | {worst(found, what):.1f} |")
    kplpy_s, tasks, plain = [statistics.median(column) for column in zip(*found["gather"], strict=True)]
    lines.append(
        f"\ngather over {GATHERED:,} futures: {kplpy_s:.2f} s from put to outcome; over coroutines that await "
        f"asyncio's own futures, set at once, {tasks:.2f} s; over these futures themselves {plain:.2f} s"
    )
    return "\n".join(lines)


# --- the producer's process ---


class Ticks:
    """A timer that runs during a measurement. It adds each tick's lateness in milliseconds to the current phase."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.late: dict[str, list[float]] = {}

    async def __aenter__(self) -> Ticks:
        self._ticking = asyncio.ensure_future(self._tick())
        await asyncio.sleep(10 * TICK)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(10 * TICK)
        self._ticking.cancel()

    async def _tick(self) -> None:
        while True:
            phase, due = self.phase, time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            self.late.setdefault(phase, []).append((time.perf_counter() - due) * 1e3)

    def rows(self) -> dict[str, list[float]]:
        return {phase: _percentiles(late) for phase, late in self.late.items()}


def _percentiles(values: list[float]) -> list[float]:
    values.sort()
    return [values[min(len(values) - 1, int(len(values) * each / 100))] for each in PERCENTILES]


async def control() -> dict[str, list[float]]:
    async with Ticks("control") as ticks:
        await asyncio.sleep(3)
    return ticks.rows()


async def first(producer: Producer) -> dict[str, list[float]]:
    async with Ticks("first put") as ticks:
        await producer.put_record("bench-16", b"first", "key")
    return ticks.rows()


async def tasks() -> dict[str, list[float]]:
    """Measure tasks that wait for asyncio's own futures, without kplpy."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[None]] = []

    async def one() -> None:
        futures.append(loop.create_future())
        await futures[-1]

    async with Ticks("tasks alone: begun") as ticks:
        begun: list[asyncio.Task[None]] = []
        for number in range(PENDING):
            begun.append(asyncio.ensure_future(one()))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        ticks.phase = "tasks alone: pending"
        await asyncio.sleep(HOLD)
        ticks.phase = "tasks alone: answered"
        for number, future in enumerate(futures):
            future.set_result(None)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        for each in begun:
            await each
    return _rows_with_total(ticks, "tasks alone")


async def pending(producer: Producer, way: str) -> dict[str, list[float]]:
    """Measure pending puts. Return a row for each phase, and one for all phases together."""

    async def one(number: int) -> None:
        future = await producer.aput_record("bench-16", b"x" * 100, f"key-{number}")
        await future
        ticks.phase = f"{way}: answered"

    async with Ticks(f"{way}: put") as ticks:
        tasks: list[asyncio.Task[None]] = []
        for number in range(PENDING):
            tasks.append(asyncio.ensure_future(one(number)))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        ticks.phase = f"{way}: pending"
        for each in tasks:
            await each
    return _rows_with_total(ticks, way)


def _rows_with_total(ticks: Ticks, name: str) -> dict[str, list[float]]:
    ticks.late[f"{name}: all of it"] = [late for row in ticks.late.values() for late in row]
    return ticks.rows()


async def gather(producer: Producer) -> dict[str, list[float]]:
    began = time.perf_counter()
    records = [(b"x" * 100, f"key-{number}") for number in range(GATHERED)]
    await asyncio.gather(*producer.put_records("bench-16", records))
    kplpy_s = time.perf_counter() - began
    del records
    return {"gather": [kplpy_s, await _gather_plain(in_tasks=True), await _gather_plain(in_tasks=False)]}


async def _gather_plain(in_tasks: bool) -> float:
    """Gather asyncio's own futures, whose results are set as soon as all are waited for. Return the seconds."""
    loop = asyncio.get_running_loop()

    async def wait(future: asyncio.Future[None]) -> None:
        await future

    def answer() -> None:
        for each in futures:
            each.set_result(None)

    began = time.perf_counter()
    futures = [loop.create_future() for _ in range(GATHERED)]
    gathering = asyncio.gather(*(map(wait, futures) if in_tasks else futures))
    loop.call_later(0, answer)
    await gathering
    return time.perf_counter() - began


def main() -> None:
    given = json.loads(sys.argv[1])
    common = {"endpoint_url": given["url"], "region_name": "us-east-1", "rate_limit": 1_000_000}
    large_buffer = Producer(**common, max_buffered_records=10 * PENDING, max_buffered_bytes=1 << 30)
    small_buffer = Producer(**common, max_buffered_records=PENDING // 10)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        case = line.strip()
        if case == "control":
            result: Any = asyncio.run(control())
        elif case == "first":
            result = asyncio.run(first(large_buffer))
            small_buffer.put_record("bench-16", b"first", "key").result()
        elif case == "gather":
            result = asyncio.run(gather(large_buffer))
        elif case == "tasks":
            result = asyncio.run(tasks())
        else:
            result = asyncio.run(pending(large_buffer if case == "accepted" else small_buffer, case))
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
