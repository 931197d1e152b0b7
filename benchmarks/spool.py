"""Compares a producer with a spool to the same build without one, in turn, over HTTPS into the sink.

`rate`: 100-byte records, put as fast as the buffer takes them: records delivered a second (with a spool each was on
disk first), and CPU a record. `stored`: 10,000 records a second: the time from a put until stored() returns. `outage`:
5,000 records a second while every request fails: the growth of memory. `recovery`: a spool of 1 GiB that a dead
process left: the seconds until the first request, and MB a second. Each run is a process of its own (`main` below).
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.full_buffer import always_putting
from benchmarks.processes import Driver, Sink, peak_rss
from kplpy import Producer, RecordFuture
from kplpy.core.record import PendingRecord
from kplpy.spool.part import Part

CASES = ("rate", "stored", "outage", "recovery")
STREAM = "bench-4"
WARM_UP = 2.0
SYNC_MS = 10
ROW_RECORDS = 500


def measure(rounds: int, seconds: float, only: str = "") -> list[dict[str, Any]]:
    """Return a row for each round and case, and for `rate` also without a spool. only: cases with this in their names.

    seconds: of a run; an outage lasts ten times as long.
    """
    found = []
    with Sink() as sink:
        for number in range(rounds):
            for case in [each for each in CASES if only in each]:
                if number and case in ("outage", "recovery"):
                    continue
                for spooled in (False, True) if case == "rate" else (True,):
                    with Driver([sys.executable, "-m", "benchmarks.spool", sink.url], sink) as driver:
                        asked = {"case": case, "spooled": spooled, "seconds": seconds}
                        row = driver.ask(json.dumps(asked))
                        found.append({"case": case, "spooled": spooled, "rss": peak_rss([driver.pid])} | row)
    return found


def report(found: Sequence[dict[str, Any]]) -> str:
    lines = []
    plain = [each for each in found if each["case"] == "rate" and not each["spooled"]]
    spooled = [each for each in found if each["case"] == "rate" and each["spooled"]]
    if plain:
        lines += [
            "| spool | records/s | to none | CPU µs/record | to none | peak RSS MB |",
            "|---|---|---|---|---|---|",
        ]
    for name, rows in (("none", plain), (f"sync {SYNC_MS} ms", spooled)):
        if rows:
            lines.append(
                f"| {name} | {statistics.median(row['records'] / row['seconds'] for row in rows):,.0f} "
                f"| {_ratio(rows, plain, lambda row: row['records'] / row['seconds'])} "
                f"| {statistics.median(row['cpu'] / row['records'] for row in rows) * 1e6:.2f} "
                f"| {_ratio(rows, plain, lambda row: row['cpu'] / row['records'])} "
                f"| {statistics.median(row['rss'] for row in rows) / 1e6:.0f} |"
            )
    for row in found:
        if row["case"] == "stored":
            lines.append(
                f"put to stored at {row['rate']:,.0f} records/s: p50 {row['p50'] * 1e3:.1f} ms, "
                f"p99 {row['p99'] * 1e3:.1f} ms, p99.9 {row['p999'] * 1e3:.1f} ms"
            )
        elif row["case"] == "outage":
            lines.append(
                f"outage of {row['seconds']:.0f} s, {row['records']:,} records: memory {row['before'] / 1e6:.1f} MB at "
                f"its start, at most {row['most'] / 1e6:.1f} MB; spool {row['held'] / 1e6:.0f} MB; recovered in "
                f"{row['recovered']:.1f} s"
            )
        elif row["case"] == "recovery":
            lines.append(
                f"recovery of {row['bytes'] / 2**20:,.0f} MiB ({row['records']:,} records): first request after "
                f"{row['first']:.2f} s; {row['bytes'] / 1e6 / row['seconds']:.1f} MB/s, "
                f"peak RSS {row['rss'] / 1e6:.0f} MB"
            )
    return "\n".join(lines)


def _ratio(
    rows: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]], of: Callable[[dict[str, Any]], float]
) -> str:
    return f"{statistics.median(of(row) / of(other) for row, other in zip(rows, base, strict=False)):.2f}"


# --- the producer's process ---


@contextmanager
def _producer(url: str, directory: str | None, **fields: Any) -> Iterator[Producer]:
    with Producer(
        endpoint_url=url,
        region_name="us-east-1",
        rate_limit=1_000_000,
        spool=directory,
        spool_sync_ms=SYNC_MS,
        spool_max_bytes=64 << 30,
        metrics_sink=None,
        close_timeout_ms=0,
        on_failure=lambda _: None,
        **fields,
    ) as producer:
        yield producer


def _rate(url: str, directory: str | None, seconds: float) -> dict[str, float]:
    items = [(b"%0100d" % number, f"key-{number % 10_000}") for number in range(40_000)]

    def counts() -> tuple[int, float, float]:
        return producer.metrics()[STREAM].user_records_put, time.process_time(), time.perf_counter()

    with _producer(url, directory) as producer:
        producer.connect(STREAM, timeout=60)
        with always_putting(producer, STREAM, items):
            time.sleep(WARM_UP)
            before = counts()
            time.sleep(seconds)
            after = counts()
    records, cpu, took = (last - first for last, first in zip(after, before, strict=True))
    return {"records": records, "cpu": cpu, "seconds": took}


def _stored(url: str, directory: str | None, seconds: float) -> dict[str, float]:
    """Put 10,000 records a second in steps of a millisecond, and time one of ten."""
    times: list[float] = []
    with _producer(url, directory) as producer:
        producer.connect(STREAM, timeout=60)
        producer.put_record(STREAM, b"first", "k").stored(60)
        waiting: list[tuple[float, RecordFuture]] = []
        ended = False

        def wait() -> None:
            while not ended or waiting:
                for began, future in waiting[:1]:
                    future.stored(60)
                    times.append(time.perf_counter() - began)
                    del waiting[0]
                if not waiting:
                    time.sleep(0.0005)

        watching = threading.Thread(target=wait)
        watching.start()
        began, records = time.perf_counter(), 0
        while (now := time.perf_counter()) < began + seconds:
            for _ in range(int((now - began) * 10_000) - records):
                future = producer.put_record(STREAM, b"%0100d" % records, f"key-{records % 10_000}")
                records += 1
                if records % 10 == 0:
                    waiting.append((time.perf_counter(), future))
            time.sleep(0.001)
        ended = True
        took = time.perf_counter() - began
        watching.join()
    times.sort()
    place = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {"rate": records / took, **{name: times[int(part * (len(times) - 1))] for name, part in place.items()}}


def _outage(url: str, directory: str | None, seconds: float) -> dict[str, float]:
    """Put 5,000 records a second, first into the sink, then into a port that nobody listens on."""
    from kplpy.local import Fault, LocalKinesis

    with (
        LocalKinesis(limits=False) as kinesis,
        _producer(kinesis.endpoint_url, directory, session=kinesis.session()) as producer,
    ):

        def put(duration: float, watch: Callable[[], object]) -> int:
            began, records, looked = time.perf_counter(), 0, 0.0
            while (now := time.perf_counter()) < began + duration:
                for _ in range(int((now - began) * 5_000) - records):
                    producer.put_record("test", b"%0100d" % records, f"key-{records % 10_000}")
                    records += 1
                if now > looked + 0.5:
                    looked = now
                    watch()
                time.sleep(0.002)
            return records

        sizes: list[int] = []
        put(5.0, lambda: None)
        before = _rss()
        kinesis.faults.outage(Fault(code="ServiceUnavailable", status=503), operation="PutRecords")
        records = put(10 * seconds, lambda: sizes.append(_rss()))
        held = sum(each.stat().st_size for each in Path(directory or "").iterdir())
        kinesis.faults.clear()
        began = time.perf_counter()
        producer.flush(timeout=600)
        recovered = time.perf_counter() - began
    return {
        "seconds": 10 * seconds,
        "records": records,
        "before": before,
        "most": max(sizes),
        "held": held,
        "recovered": recovered,
    }


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _recovery(url: str, directory: str | None, seconds: float) -> dict[str, float]:
    """Write a spool of 1 GiB at the default of 4 seconds, less in proportion; then start a producer on it."""
    item = PendingRecord()
    item.data, item.explicit_hash_key, item.partition_key = b"x" * 1000, None, "key"
    size = int((1 << 30) * min(1.0, seconds / 4))
    part = Part.create(Path(directory or ""))
    while part.bytes < size:
        part.write([(STREAM, time.time(), [item] * ROW_RECORDS)] * 50)
    written, records = part.bytes, part.records
    part.close()
    began = time.perf_counter()
    with _producer(url, directory) as producer:
        while not producer.metrics().get(STREAM) or not producer.metrics()[STREAM].user_records_put:
            time.sleep(0.001)
        first = time.perf_counter() - began
        producer.flush(timeout=600)
        took = time.perf_counter() - began
    return {"bytes": written, "records": records, "first": first, "seconds": took}


RUNS = {"rate": _rate, "stored": _stored, "outage": _outage, "recovery": _recovery}


def main() -> None:
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryDirectory(dir=Path.cwd() / "build", prefix="spool-") as directory:
            run = RUNS[asked["case"]]
            print(json.dumps(run(sys.argv[1], directory if asked["spooled"] else None, asked["seconds"])), flush=True)


if __name__ == "__main__":
    main()
