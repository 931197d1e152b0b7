"""Has kplpy become slower? `python -m benchmarks.guard`: this checkout against reference.py, in turn, in one process.

Both pack the same records for the same 16 shards and answer every future; the service is a stand-in, so CPU time is all
that counts. The reference's CPU over kplpy's is held against what guard.json records for this Python: a ratio, never a
time, so that the machine matters little. It fails (exit status 1) when one falls by more than 25 % twice running.

--record keeps the ratios (medians of three times) as the new ones: after an improvement, or a slowdown that is meant.
--slower 30 makes kplpy 30 % slower on purpose (a loop in each put). --noise 10 repeats it, to see the spread.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

from benchmarks import scan
from benchmarks.peers.driver import make_keys
from benchmarks.reference import ReferenceProducer
from benchmarks.stand_in import SHARDS, TRANSPORT, Answering, unlimited
from kplpy import Producer

RECORDED = Path(__file__).with_name("guard.json")
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
ALLOWED = 0.25
ROUNDS = 9
RECORDS = 20_000
LIST = 1_000

Put = Callable[[Sequence[str], bytes], object]


def put_record(producer: Producer, spin: int) -> Put:
    def put(keys: Sequence[str], data: bytes) -> None:
        one = producer.put_record
        if spin:
            slowed = one

            def one(stream: str, data: bytes, key: str) -> object:  # type: ignore[misc]  # a slower one in its place
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


def ratios(slower: float = 0.0, cases: Sequence[str] = tuple(CASES)) -> dict[str, float]:
    """{case: the reference's CPU over ours}, medians of runs in turn. `slower`: by what share our rate is to fall."""
    found = {}
    # A linger that never ends: what is packed together must not depend on how busy the machine is.
    config = unlimited(record_max_buffered_time_ms=600_000)
    with patch(TRANSPORT, Answering), Producer(config) as producer:
        producer.put_record("guard", b"warm", "up")
        producer.flush()
        for name in cases:
            make, kind, size = CASES[name]
            data, spin, ours, theirs = b"x" * size, 0, [], []
            cpu_of(make(producer, 0), make_keys(kind, RECORDS), data)
            if slower:
                plain = min(cpu_of(make(producer, 0), make_keys(kind, RECORDS), data) for _ in range(3)) / RECORDS
                spin = _spin(plain * (1 / (1 - slower) - 1))
            for _ in range(ROUNDS):
                keys = make_keys(kind, RECORDS)
                ours.append(cpu_of(make(producer, spin), keys, data))
                theirs.append(cpu_of(reference, keys, data))
            found[name] = statistics.median(theirs) / statistics.median(ours)
    return found


def _spin(seconds: float) -> int:
    """How many turns of an empty loop take this long."""
    started = time.process_time()
    for _ in range(20_000):
        for _ in range(100):  # short as in a put: small numbers are made beforehand, large ones cost more
            pass
    return round(seconds / ((time.process_time() - started) / 2_000_000))


def fallen(found: dict[str, float], recorded: dict[str, float]) -> list[str]:
    return [name for name, ratio in found.items() if ratio < recorded[name] * (1 - ALLOWED)]


def show(found: dict[str, float], recorded: dict[str, float]) -> None:
    for name, ratio in found.items():
        print(f"{name:26} {ratio:6.2f} × the reference; recorded {recorded[name]:.2f}: {ratio / recorded[name]:.0%}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--slower", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--noise", type=int, default=0, metavar="TIMES")
    options = parser.parse_args()
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if options.noise:
        runs = [ratios() for _ in range(options.noise)]
        for name in CASES:
            column = sorted(run[name] for run in runs)
            middle = statistics.median(column)
            print(f"{name:26} {middle:6.2f}, from {column[0] / middle - 1:+.1%} to {column[-1] / middle - 1:+.1%}")
        return 0
    if options.record:
        runs = [ratios() for _ in range(3)]
        recorded[PYTHON] = {name: round(statistics.median(run[name] for run in runs), 2) for name in CASES}
        RECORDED.write_text(json.dumps(recorded, indent=2) + "\n")
        show(recorded[PYTHON], recorded[PYTHON])
        return 0
    if PYTHON not in recorded:
        print(f"nothing is recorded for Python {PYTHON}, so there is nothing to guard")
        return 0
    found = ratios(options.slower / 100)
    show(found, recorded[PYTHON])
    again = fallen(found, recorded[PYTHON])
    if again:
        print("measured again:")
        second = ratios(options.slower / 100, again)
        show(second, recorded[PYTHON])
        again = fallen(second, recorded[PYTHON])
    if again:
        print(f"slower than allowed ({ALLOWED:.0%} below what is recorded): {'; '.join(again)}")
    return 1 if again else 0


if __name__ == "__main__":
    sys.exit(main())
