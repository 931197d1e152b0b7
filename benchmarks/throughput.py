"""Confirmed records a second and CPU a record: `python -m benchmarks.throughput [--https] [--rounds 5]`.

Puts through the real producer into a local Kinesis of 16 shards in a process of its own, without limits and without
storing; every future's result is read. Sizes are alternated, medians are told.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator

from kplpy import Producer, RecordFuture
from kplpy.local import LocalKinesisProcess

SIZES = {100: 200_000, 1_000: 60_000, 50_000: 4_000}
WINDOW = 20_000  # futures looked at this far behind the puts


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def confirm(futures: Iterable[RecordFuture]) -> None:
    pending: deque[RecordFuture] = deque()
    for future in futures:
        pending.append(future)
        if len(pending) > WINDOW:
            pending.popleft().result()
    for future in pending:
        future.result()


def one_by_one(producer: Producer, data: bytes, keys: list[str]) -> Iterator[RecordFuture]:
    for key in keys:
        yield producer.put_record("test", data, key)


def in_bulk(producer: Producer, data: bytes, keys: list[str]) -> Iterator[RecordFuture]:
    for start in range(0, len(keys), 1000):
        yield from producer.put_records("test", [(data, key) for key in keys[start : start + 1000]])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--https", action="store_true")
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    fixed = [str(uuid.UUID(int=n * 7919)) for n in range(10_000)]
    figures: dict[str, list[tuple[float, float]]] = {}
    with (
        LocalKinesisProcess(shards=16, limits=False, store=False, https=chosen.https) as kinesis,
        Producer(
            endpoint_url=kinesis.endpoint_url,
            verify=kinesis.ca_bundle,
            region_name="us-east-1",
            session=_session(),
            rate_limit=1_000_000,
        ) as producer,
    ):
        producer.put_record("test", b"warm", "up").result()
        for _ in range(chosen.rounds):
            for size, count in SIZES.items():
                data = b"x" * size
                known = list(itertools.islice(itertools.cycle(fixed), count))
                cases = {"put_record, 10,000 keys": (one_by_one, known)}
                if size == 100:
                    cases["put_record, UUID keys"] = (one_by_one, [str(uuid.uuid4()) for _ in range(count)])
                    cases["put_records, 10,000 keys"] = (in_bulk, known)
                for name, (put, keys) in cases.items():
                    cpu, started = cpu_seconds(), time.perf_counter()
                    confirm(put(producer, data, keys))
                    seconds = time.perf_counter() - started
                    row = figures.setdefault(f"{size:>6} B  {name}", [])
                    row.append((count / seconds, (cpu_seconds() - cpu) / count * 1e6))
    print(f"{'':36}{'records/s':>12}{'MB/s':>9}{'CPU µs/record':>15}   (medians of {chosen.rounds}; range)")
    for name, row in figures.items():
        rate, cpu = (statistics.median(column) for column in zip(*row, strict=True))
        rates = [each for each, _ in row]
        megabytes = rate * int(name.split()[0]) / 1e6
        print(f"{name:36}{rate:12,.0f}{megabytes:9.1f}{cpu:15.2f}   ({min(rates):,.0f} to {max(rates):,.0f})")


def _session() -> object:
    import boto3

    return boto3.Session(aws_access_key_id="local", aws_secret_access_key="local")


if __name__ == "__main__":
    main()
