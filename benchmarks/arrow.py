"""Measures put_table beside put_records of the same rows, over HTTPS into the sink, in turn within each round.

The rows have 100 B of data and one of 10,000 keys, and lie in a pyarrow Table. put_records gets 1,000 rows at a time as
tuples, and every future's result is read. `tuples made before`: without the conversion of the table to tuples.
The producer runs in a process of its own (`main` below).
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.peers.driver import make_keys
from benchmarks.processes import Driver, Sink
from kplpy import Producer, RecordFuture

SIZE, AT_ONCE, WINDOW = 100, 1_000, 50_000
PUT_RECORDS, TUPLES, PUT_TABLE = "put_records", "put_records, tuples made before", "put_table"


def measure(rounds: int, scale: float) -> dict[str, list[dict[str, float]]]:
    """Return for each case a row a round: seconds, and CPU seconds of the producer's process."""
    found: dict[str, list[dict[str, float]]] = {}
    with Sink() as sink:
        given = {"url": sink.url, "records": max(1_000, int(200_000 * scale))}
        with Driver([sys.executable, "-m", "benchmarks.arrow", json.dumps(given)], sink) as driver:
            for number in range(-1, rounds):
                cases = [PUT_RECORDS, TUPLES, PUT_TABLE]
                for case in cases if number % 2 else reversed(cases):
                    row = driver.ask(case)
                    if number >= 0:
                        found.setdefault(case, []).append(row)
    return found


def report(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    head = "| 100 B, 10,000 keys, from a table | rows/s | CPU µs/row | × put_records | range | in CPU time | range |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for case, rows in found.items():
        cells = [f"{statistics.median(row['records'] / row['seconds'] for row in rows):,.0f}"]
        cells.append(f"{statistics.median(1e6 * row['cpu'] / row['records'] for row in rows):.2f}")
        for what in ("seconds", "cpu"):
            ratios = [base[what] / row[what] for base, row in zip(found[PUT_RECORDS], rows, strict=True)]
            cells += [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}–{max(ratios):.2f}"]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


# --- the producer's process ---


def put_all(producer: Producer, lists: Iterable[list[tuple[bytes, str]]]) -> None:
    pending: deque[RecordFuture] = deque()
    for items in lists:
        pending += producer.put_records("bench-16", items)
        while len(pending) > WINDOW:
            for _ in range(AT_ONCE):
                pending.popleft().result()
    producer.flush()
    while pending:
        pending.popleft().result()


def tuples_of(table: Any) -> Iterator[list[tuple[bytes, str]]]:
    for batch in table.to_batches(max_chunksize=AT_ONCE):
        yield [*zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)]


def main() -> None:
    import pyarrow as pa

    from kplpy.integrations.arrow import put_table

    given = json.loads(sys.argv[1])
    records = given["records"]
    data = [b"%0*d" % (SIZE, number) for number in range(records)]
    table = pa.table({"data": data, "partitionKey": make_keys("fixed", records)})
    lists = [*tuples_of(table)]
    producer = Producer(endpoint_url=given["url"], region_name="us-east-1", rate_limit=1_000_000, metrics_level="none")
    producer.connect("bench-16")
    cases: dict[str, Callable[[], object]] = {
        PUT_RECORDS: lambda: put_all(producer, tuples_of(table)),
        TUPLES: lambda: put_all(producer, lists),
        PUT_TABLE: lambda: put_table(producer, "bench-16", table).raise_if_failed("bench-16"),
    }
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        gc.collect()
        began, cpu = time.perf_counter(), time.process_time()
        cases[line.strip()]()
        row = {"records": records, "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
