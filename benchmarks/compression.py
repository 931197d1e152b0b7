"""Compares zstd and gzip with no compression, in turn, over HTTPS into the sink.

`limited`: JSON events through one shard, held to its limits by the producer: user bytes a second, and CPU a record.
`free`: JSON records of 1 KB without limits: records a second, and CPU a record. `random`: the same with bytes that do
not compress. The buffer is always full. Each run is a process of its own (`main` below), whose peak memory counts.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.full_buffer import always_putting
from benchmarks.processes import Driver, Sink, peak_rss
from kplpy import Producer
from kplpy.wire.compressed import Codec

CODECS = ("none", "zstd", "gzip")
CASES = ("limited", "free", "random")
WARM_UP = 2.0
DISTINCT = 40_000
STREAMS = {"limited": "bench-1", "free": "bench-4", "random": "bench-4"}


def event(draw: random.Random, number: int) -> bytes:
    """Return a JSON event of about 220 B. The UUID and the numbers in it do not compress."""
    fields = {
        "event_id": str(uuid.UUID(int=draw.getrandbits(128), version=4)),
        "type": draw.choice(("page_view", "add_to_cart", "purchase", "search")),
        "timestamp": 1_800_000_000_000 + 7 * number + draw.randrange(7),
        "customer": draw.randrange(10**7),
        "product": draw.randrange(10**5),
        "price": round(draw.uniform(1, 500), 2),
        "quantity": draw.randrange(1, 9),
        "currency": draw.choice(("EUR", "USD")),
        "country": draw.choice(("de", "fr", "us", "jp")),
    }
    return json.dumps(fields).encode()


def kilobyte(draw: random.Random, number: int) -> bytes:
    """Return JSON of about 1 KB: four events."""
    return b"[" + b", ".join(event(draw, 4 * number + each) for each in range(4)) + b"]"


CONTENT: dict[str, Callable[[random.Random, int], bytes]] = {
    "limited": event,
    "free": kilobyte,
    "random": lambda draw, _: draw.randbytes(1024),
}


def measure(rounds: int, seconds: float, only: str = "") -> list[dict[str, Any]]:
    """Return a row for each round, case and codec. only: cases with this text in their names."""
    found = []
    with Sink() as sink:
        for _ in range(rounds):
            for case in [each for each in CASES if only in each]:
                for codec in CODECS:
                    with Driver([sys.executable, "-m", "benchmarks.compression", sink.url], sink) as driver:
                        row = driver.ask(json.dumps({"case": case, "codec": codec, "seconds": seconds}))
                        found.append({"case": case, "codec": codec, "rss": peak_rss([driver.pid])} | row)
    return found


def report(found: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| case | codec | user MB/s | to none | CPU µs/record | to none | on the wire | peak RSS MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in dict.fromkeys(each["case"] for each in found):
        base = [each for each in found if each["case"] == case and each["codec"] == "none"]
        for codec in CODECS:
            rows = [each for each in found if each["case"] == case and each["codec"] == codec]
            rate, cpu = [row["bytes"] / row["seconds"] for row in rows], [row["cpu"] / row["records"] for row in rows]
            base_rate = [row["bytes"] / row["seconds"] for row in base]
            base_cpu = [row["cpu"] / row["records"] for row in base]
            wire = statistics.median(row["wire"] / row["bytes"] for row in rows)
            lines.append(
                f"| {case} | {codec} | {statistics.median(rate) / 1e6:.2f} | {_ratio(rate, base_rate):.2f} "
                f"| {statistics.median(cpu) * 1e6:.2f} | {_ratio(cpu, base_cpu):.2f} | {wire:.1%} "
                f"| {statistics.median(row['rss'] for row in rows) / 1e6:.0f} |"
            )
    return "\n".join(lines)


def _ratio(values: Sequence[float], base: Sequence[float]) -> float:
    return statistics.median(value / other for value, other in zip(values, base, strict=True))


# --- the producer's process ---


def run(url: str, case: str, codec: Codec, seconds: float) -> dict[str, float]:
    draw = random.Random(1)
    items = [(CONTENT[case](draw, number), f"key-{draw.randrange(10_000)}") for number in range(DISTINCT)]
    average = sum(len(data) for data, _ in items) / len(items)

    def counts() -> tuple[int, int, float, float]:
        totals = producer.metrics()[stream]
        return totals.user_records_put, totals.kinesis_bytes_put, time.process_time(), time.perf_counter()

    stream = STREAMS[case]
    with Producer(
        endpoint_url=url,
        region_name="us-east-1",
        compression=codec,
        rate_limit=100 if case == "limited" else 1_000_000,
        metrics_sink=None,
        close_timeout_ms=0,
        on_failure=lambda _: None,
    ) as producer:
        producer.connect(stream, timeout=60)
        producer.put_record(stream, *items[0]).result(60)
        with always_putting(producer, stream, items):
            time.sleep(WARM_UP)
            before = counts()
            time.sleep(seconds)
            after = counts()
    records, wire, cpu, took = (last - first for last, first in zip(after, before, strict=True))
    return {"records": records, "bytes": records * average, "wire": wire, "cpu": cpu, "seconds": took}


def main() -> None:
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(sys.argv[1], **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
