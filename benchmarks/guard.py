"""Checks that kplpy has not become slower: `python -m benchmarks.guard` compares it with reference.py in one process.

Both pack the same records for the same 16 shards and resolve every future. The service is an imitation in the process,
so only CPU time counts. The reference's CPU time over kplpy's, round by round, is compared with the ratio in guard.json
for this Python, with or without the compiled code. KPLPY_ACCELERATOR (no, must) chooses which of both runs. A ratio
depends little on the machine. If one falls by more than 25 % twice in a row, the exit status is 3.

--record 3.11 3.13 writes new ratios for these Pythons (medians of three runs, and the environment), after an
improvement or an intended slowdown. --slower 30 shows that a slowdown is noticed: it slows every put so that the rate
falls by 30 %, and compares with the ratio without that. --noise 10 repeats the measurement and prints the spread.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import environments, processes, scan
from benchmarks.peers.driver import make_keys
from benchmarks.processes import ROOT
from benchmarks.reference import ReferenceProducer
from benchmarks.stand_in import SHARDS, TRANSPORT, Delivery, unlimited
from kplpy import Producer
from kplpy.accelerator import accelerated

RECORDED = Path(__file__).with_name("guard.json")
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
CODE = f"{PYTHON}, compiled" if accelerated else PYTHON
"""What runs, as the ratios in guard.json are named."""
ALLOWED = 0.25
FALLEN = 3  # the exit status
ROUNDS = 7
RECORDS = 20_000
LIST = 1_000

Put = Callable[[Sequence[str], bytes], object]


def put_record(producer: Producer, spin: int) -> Put:
    def put(keys: Sequence[str], data: bytes) -> None:
        one = producer.put_record
        if spin:
            slowed = one

            def one(stream: str, data: bytes, key: str) -> object:  # type: ignore[misc]  # replaced by a slower one
                for _ in range(spin):
                    pass
                return slowed(stream, data, key)

        futures = [one("guard", data, key) for key in keys]
        producer.flush()
        for future in futures:
            future.result()

    return put


def put_records(producer: Producer, spin: int) -> Put:
    def put(keys: Sequence[str], data: bytes) -> None:
        futures = []
        for start in range(0, len(keys), LIST):
            for _ in range(LIST):
                for _ in range(spin):
                    pass
            futures += producer.put_records("guard", [(data, key) for key in keys[start : start + LIST]])
        producer.flush()
        for future in futures:
            future.result()

    return put


def reference(keys: Sequence[str], data: bytes) -> None:
    starts = [scan.first_hash_key(shard, SHARDS) for shard in range(SHARDS)]

    def send(body: bytes) -> list[str]:
        return ["shardId-000000000000"] * body.count(b'"Data"')

    producer = ReferenceProducer(starts, send)
    futures = [producer.put_record("guard", data, key) for key in keys]
    producer.flush("guard")
    for future in futures:
        future.result()


CASES: dict[str, tuple[Callable[[Producer, int], Put], str, int]] = {
    "put_record, 10,000 keys": (put_record, "fixed", 100),
    "put_record, UUID keys": (put_record, "uuid", 100),
    "put_records": (put_records, "fixed", 100),
    "put_record, 1 KB": (put_record, "fixed", 1_000),
}


def cpu_of(put: Put, keys: Sequence[str], data: bytes) -> float:
    gc.collect()
    started = time.process_time()
    put(keys, data)
    return time.process_time() - started


def ratios(slower: float = 0.0, cases: Sequence[str] = tuple(CASES)) -> tuple[dict[str, float], dict[str, float]]:
    """Return {case: the reference's CPU time over kplpy's}, and the same with kplpy's rate lower by `slower`.

    Both are medians of alternated runs.
    """
    found, slowed = {}, {}
    # The linger never ends, so that the packing does not depend on how busy the machine is.
    config = unlimited(record_max_buffered_time_ms=600_000)
    with patch(TRANSPORT, Delivery), Producer(config) as producer:
        producer.put_record("guard", b"warm", "up")
        producer.flush()
        for name in cases:
            make, kind, size = CASES[name]
            data = b"x" * size
            costs = [cpu_of(make(producer, 0), make_keys(kind, RECORDS), data) for _ in range(4 if slower else 1)]
            spin = _spin(min(costs) / RECORDS * (1 / (1 - slower) - 1))
            rows = []
            for _ in range(ROUNDS):
                keys = make_keys(kind, RECORDS)
                kplpy_s = cpu_of(make(producer, 0), keys, data)
                reference_s = cpu_of(reference, keys, data)
                slowed_s = cpu_of(make(producer, spin), keys, data) if slower else kplpy_s
                rows.append((reference_s / kplpy_s, reference_s / slowed_s))
            found[name], slowed[name] = (statistics.median(column) for column in zip(*rows, strict=True))
    return found, slowed


def _spin(seconds: float) -> int:
    """Return the number of turns of an empty loop that take this long."""
    started = time.process_time()
    for _ in range(20_000):
        for _ in range(100):  # short as in a put, because CPython caches only small numbers
            pass
    return round(seconds / ((time.process_time() - started) / 2_000_000))


def fallen(found: Mapping[str, float], recorded: Mapping[str, float]) -> list[str]:
    return [name for name, ratio in found.items() if ratio < recorded[name] * (1 - ALLOWED)]


def measure(slower: float, recorded: Mapping[str, float], cases: Sequence[str]) -> list[str]:
    """Print all ratios and return the cases that have fallen.

    A run slowed on purpose is compared with the ratio without the slowdown, measured at the same time.
    """
    plain, found = ratios(slower, cases)
    against, word = (plain, "unslowed") if slower else (recorded, "recorded")
    for name, ratio in found.items():
        print(f"{name:26} {ratio:6.2f} × the reference; {word} {against[name]:.2f}: {ratio / against[name]:.0%}")
    return fallen(found, against)


def print_noise(times: int) -> None:
    runs = [ratios()[0] for _ in range(times)]
    for name in CASES:
        column = sorted(run[name] for run in runs)
        middle = statistics.median(column)
        print(f"{name:26} {middle:6.2f}, from {column[0] / middle - 1:+.1%} to {column[-1] / middle - 1:+.1%}")


def record(version: str) -> None:
    """Record the ratios of this code, medians of three runs. For another version, run this script with it."""
    if version != PYTHON:
        other = environments.python_with_kplpy(version)
        subprocess.run([str(other), "-m", "benchmarks.guard", "--record", version], cwd=ROOT, check=True)
        return
    environment = processes.environment() | {"began": time.strftime("%F %T")}
    runs = [ratios()[0] for _ in range(3)]
    found = {name: round(statistics.median(run[name] for run in runs), 2) for name in CASES}
    everything = recordings() | {CODE: {"ratios": found, "environment": environment}}
    RECORDED.write_text(json.dumps(everything, indent=2, sort_keys=True) + "\n")
    print(f"Python {CODE}: {found}", flush=True)


def recordings() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(RECORDED.read_text())
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", nargs="+", metavar="VERSION")
    parser.add_argument("--slower", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--noise", type=int, default=0, metavar="TIMES")
    options = parser.parse_args()
    if not 0 <= options.slower < 100:
        parser.error(f"--slower must be 0 or more, and below 100; got {options.slower:g}")
    if options.noise:
        print_noise(options.noise)
        return 0
    for version in options.record or ():
        record(version)
    if options.record:
        return 0
    if CODE not in recordings():
        print(f"guard.json has no ratios for Python {CODE}, so nothing is checked")
        return 0
    recorded = recordings()[CODE]["ratios"]
    found = measure(options.slower / 100, recorded, list(CASES))
    if found:
        print("second measurement:")
        found = measure(options.slower / 100, recorded, found)
    if found:
        print(f"slower than allowed ({ALLOWED:.0%} below the recorded ratio): {'; '.join(found)}")
    return FALLEN if found else 0


if __name__ == "__main__":
    sys.exit(main())
