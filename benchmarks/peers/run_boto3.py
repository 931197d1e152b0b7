"""Drives boto3 with batches of 500 without aggregation or futures, or with `aggregated` behind aws-kinesis-agg.

aws-kinesis-agg packs all records into one aggregate without regard to shards. A KCL consumer may drop such aggregates.
"""

from __future__ import annotations

import time
from typing import Any

import boto3

from benchmarks.peers.driver import Workload, serve, settings

BATCH, REQUEST_BYTES = 500, 5 << 20


def send(client: Any, stream: str, records: list[dict[str, Any]]) -> None:
    if client.put_records(StreamName=stream, Records=records)["FailedRecordCount"]:
        raise RuntimeError("records were not delivered")


def batches(client: Any, stream: str, workload: Workload) -> float:
    started = time.perf_counter()
    count = max(1, min(BATCH, REQUEST_BYTES // (len(workload.data) + 256)))
    for start in range(0, len(workload.keys), count):
        send(
            client,
            stream,
            [{"Data": workload.data, "PartitionKey": key} for key in workload.keys[start : start + count]],
        )
    return time.perf_counter() - started


def aggregates(client: Any, stream: str, workload: Workload) -> float:
    from aws_kinesis_agg.aggregator import RecordAggregator

    started = time.perf_counter()
    aggregator = RecordAggregator(51_200)
    ready: list[dict[str, Any]] = []

    def add(aggregate: Any) -> None:
        key, _, data = aggregate.get_contents()
        ready.append({"Data": data, "PartitionKey": key})
        if len(ready) >= 100:
            send(client, stream, ready)
            ready.clear()

    for key in workload.keys:
        full = aggregator.add_user_record(key, workload.data)
        if full is not None:
            add(full)
    rest = aggregator.clear_and_get()
    if rest is not None and rest.get_num_user_records():
        add(rest)
    if ready:
        send(client, stream, ready)
    return time.perf_counter() - started


def main() -> None:
    given = settings()
    client = boto3.client("kinesis", endpoint_url=given["url"], region_name="us-east-1")
    put = aggregates if given.get("aggregated") else batches

    def run(workload: Workload) -> float:
        return put(client, given["stream"], workload)

    run(Workload(b"x", ["warm"], 1, ""))
    serve(run)


if __name__ == "__main__":
    main()
