"""Measures Ray with two CPUs beside boto3 in Ray tasks, and beside put_table in one process, in turn in each round.

    python -m benchmarks.distributed --rounds 5 [--rows 400000]

It runs in an environment with the dependency group `distributed`, over HTTPS into the sink. A row is 100 B of data with
one of 10,000 keys. boto3 sends 500 records a PutRecords, one row a record, without retries. Rows count when they are
confirmed. A first write of each case is not counted, because Ray starts its workers in it. The sink that only counts
rows shows what Ray itself takes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.peers.driver import make_keys
from benchmarks.processes import ROOT, Sink

STREAM = "bench-16"
RAY, BLANK, BOTO3, ONE_PROCESS = (
    "Ray: KinesisDatasink",
    "Ray: a sink that only counts rows",
    "Ray: boto3, 500 a request",
    "put_table in one process",
)


def boto3_sink(url: str, ca_bundle: str) -> Any:
    """Return a Datasink as one writes it by hand."""
    from ray.data import Datasink

    class Boto3Datasink(Datasink):  # type: ignore[misc]  # ray is not installed where types are checked
        def write(self, blocks: Iterable[Any], ctx: Any) -> int:
            import boto3

            client: Any = boto3.client("kinesis", endpoint_url=url, region_name="us-east-1", verify=ca_bundle)
            count = 0
            for block in blocks:
                for start in range(0, block.num_rows, 500):
                    part = block.slice(start, 500)
                    pairs = zip(part.column("data").to_pylist(), part.column("partitionKey").to_pylist(), strict=True)
                    records = [{"Data": data, "PartitionKey": key} for data, key in pairs]
                    response = client.put_records(StreamName=STREAM, Records=records)
                    if response["FailedRecordCount"]:
                        raise RuntimeError(f"{response['FailedRecordCount']} records failed")
                    count += len(records)
            return count

    return Boto3Datasink()


def blank_sink() -> Any:
    """Return a Datasink that reads its blocks, and counts their rows."""
    from ray.data import Datasink

    class BlankDatasink(Datasink):  # type: ignore[misc]  # as above
        def write(self, blocks: Iterable[Any], ctx: Any) -> int:
            return sum(block.num_rows for block in blocks)

    return BlankDatasink()


def cases(url: str, ca_bundle: str, table: Any) -> dict[str, Callable[[], object]]:
    """Return the writes of all rows by their names."""
    import ray

    from kplpy import Producer
    from kplpy.integrations.arrow import put_table
    from kplpy.integrations.ray import KinesisDatasink

    options: dict[str, Any] = {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "rate_limit": 1_000_000,
        "metrics_level": "none",
        "verify": ca_bundle,
    }
    producer = Producer(**options)
    size = -(-table.num_rows // 8)
    dataset = ray.data.from_arrow([table.slice(start, size) for start in range(0, table.num_rows, size)]).materialize()

    def ray_write() -> None:
        sink = KinesisDatasink(STREAM, **options)
        dataset.write_datasink(sink)
        if sink.result is None or sink.result.delivered != table.num_rows:
            raise RuntimeError(f"not all rows were delivered: {sink.result}")

    return {
        RAY: ray_write,
        BLANK: lambda: dataset.write_datasink(blank_sink()),
        BOTO3: lambda: dataset.write_datasink(boto3_sink(url, ca_bundle)),
        ONE_PROCESS: lambda: put_table(producer, STREAM, table).raise_if_failed(STREAM),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=400_000)
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    import pyarrow as pa
    import ray

    data = [b"%0100d" % number for number in range(options.rows)]
    table = pa.table({"data": data, "partitionKey": make_keys("fixed", options.rows)})
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=512 << 20,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    found: dict[str, list[float]] = {}
    with Sink() as sink:
        writes = cases(sink.url, sink.ca_bundle, table)
        for number in range(-1, options.rounds):
            for name in writes if number % 2 else reversed(writes):
                began = time.perf_counter()
                writes[name]()
                if number >= 0:
                    found.setdefault(name, []).append(time.perf_counter() - began)
    ray.shutdown()
    print(f"load {os.getloadavg()[0]:.1f}; {options.rounds} rounds of {options.rows:,} rows")
    print("| | rows/s | Ray is × | range |\n|---|---|---|---|")
    for name, seconds in found.items():
        times = [other / own for own, other in zip(found[RAY], seconds, strict=True)]
        print(
            f"| {name} | {options.rows / statistics.median(seconds):,.0f} | {statistics.median(times):.2f} "
            f"| {min(times):.2f}–{max(times):.2f} |"
        )


if __name__ == "__main__":
    main()
