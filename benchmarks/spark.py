"""Measures Spark's sink, in rows confirmed a second, beside boto3 in foreachPartition and put_table in one process.

Spark runs as local[2] in a process of its own (`main` below), in the environment of requirements/distributed.lock, and
needs Java. Rows have 100 B of data and a key of 36 characters. They lie in memory: in Spark's cache for Spark, in a
pyarrow Table for put_table. Each way writes once before the first round. Then the ways run in turn. The sink that only
counts rows shows what Spark itself takes. A worker's memory is its peak with the sink, less its peak with that sink.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import environments
from benchmarks.processes import Piped, Sink, peak_rss, tree

ROWS = {"sink": 800_000, "blank": 800_000, "put_table": 400_000, "boto3": 100_000}
PARTITIONS = 4
STREAM = "bench-16"
KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true"}


def measure(rounds: int, python: str | None = None) -> dict[str, Any]:
    """Return the rows a second of each way and round, and a worker's memory in bytes."""
    found: dict[str, Any] = {way: [] for way in ROWS}
    with Sink() as sink:
        given = {"url": sink.url, "ca_bundle": sink.ca_bundle}
        command = [python or str(environments.python_with_spark()), "-m", "benchmarks.spark", json.dumps(given)]
        with Piped(command, **KEYS) as driver:
            found["worker"] = driver.ask("memory")
            for way in ROWS:
                driver.ask(way)
            for _ in range(rounds):
                for way in ROWS:
                    found[way].append(driver.ask(way)["rate"])
    return found


def report(found: Mapping[str, Any]) -> str:
    names = {
        "sink": "Spark, `kplpy-kinesis`",
        "blank": "Spark, a sink that only counts rows",
        "put_table": "put_table in one process",
        "boto3": "Spark, foreachPartition with boto3, put_records of 500",
    }
    lines = ["| 100 B, 2 cores | rows/s, median | range | the sink's rate to it |", "|---|---|---|---|"]
    for way, name in names.items():
        rates: Sequence[float] = found[way]
        ratio = statistics.median(mine / other for mine, other in zip(found["sink"], rates, strict=True))
        lines.append(
            f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} to {max(rates):,.0f} | {ratio:.2f} |"
        )
    memory = found["worker"]
    lines.append(
        f"\nA worker's memory at its peak: {memory['sink'] / 1e6:.0f} MB with the sink, {memory['blank'] / 1e6:.0f} MB "
        f"with a sink that counts rows: {(memory['sink'] - memory['blank']) / 1e6:.0f} MB more"
    )
    return "\n".join(lines)


# --- Spark's process ---


def put_with_boto3(rows: Iterator[Any], given: Mapping[str, str]) -> None:
    import boto3

    client: Any = boto3.client("kinesis", endpoint_url=given["url"], verify=given["ca_bundle"], region_name="us-east-1")
    while part := [{"Data": row.data, "PartitionKey": row.partitionKey} for row in islice(rows, 500)]:
        assert client.put_records(StreamName=STREAM, Records=part)["FailedRecordCount"] == 0


class Ways:
    """The ways to put rows from Spark, and from this process."""

    def __init__(self, given: Mapping[str, str]) -> None:
        from kplpy import Producer
        from tests.distributed.spark import make_session

        self.given = given
        self.spark = make_session("local[2]")
        self.producer = Producer(
            endpoint_url=given["url"], verify=given["ca_bundle"], region_name="us-east-1", rate_limit=1_000_000
        )
        self.frames = {way: self.frame(ROWS[way]) for way in ("sink", "boto3")}
        self.table = self.frame(ROWS["put_table"]).toArrow()
        from benchmarks.blank_sink import BlankDataSource

        self.spark.dataSource.register(BlankDataSource)

    def frame(self, rows: int) -> Any:
        """Return rows that lie in Spark's cache."""
        made = self.spark.range(rows, numPartitions=PARTITIONS).selectExpr(
            "cast(rpad(cast(id as string), 100, 'x') as binary) data",
            "lpad(cast(id % 10000 as string), 36, 'k') partitionKey",
        )
        assert made.cache().count() == rows
        return made

    def boto3(self) -> None:
        given = self.given
        self.frames["boto3"].foreachPartition(lambda rows: put_with_boto3(rows, given))

    def sink(self) -> None:
        self.write("kplpy-kinesis")

    def blank(self) -> None:
        self.write("blank")

    def write(self, name: str) -> None:
        options = {"endpointUrl": self.given["url"], "verify": self.given["ca_bundle"], "rate_limit": "1000000"}
        write = self.frames["sink"].write.format(name).mode("append").options(**options, region="us-east-1")
        write.option("streamName", STREAM).save()

    def put_table(self) -> None:
        from kplpy.integrations.arrow import put_table

        assert put_table(self.producer, STREAM, self.table).delivered == ROWS["put_table"]

    def memory(self) -> dict[str, int]:
        """Return the peaks of the largest worker."""
        for _ in range(2):
            self.blank()
        blank = largest_worker()
        for _ in range(3):
            self.sink()
        return {"blank": blank, "sink": largest_worker()}

    def time(self, way: str) -> dict[str, float]:
        began = time.perf_counter()
        getattr(self, way)()
        return {"rate": ROWS[way] / (time.perf_counter() - began)}


def largest_worker() -> int:
    import os

    workers = [pid for pid in tree(os.getpid()) if b"pyspark.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return max(peak_rss([pid]) for pid in workers)


def main() -> None:
    ways = Ways(json.loads(sys.argv[1]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = line.strip()
        print(json.dumps(ways.memory() if asked == "memory" else ways.time(asked)), flush=True)


if __name__ == "__main__":
    main()
