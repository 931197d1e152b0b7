"""Drives async-kinesis, which aggregates as the KPL does. It has no futures, so flushed records count as confirmed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from kinesis import Producer
from kinesis.processors import KPLStringProcessor, StringProcessor

from benchmarks.peers.driver import Workload, serve, settings


async def put_all(producer: Any, workload: Workload, keyed: bool) -> float:
    started = time.perf_counter()
    data = workload.data.decode()
    for key in workload.keys:
        await (producer.put(data, partition_key=key) if keyed else producer.put(data))
    await producer.flush()
    return time.perf_counter() - started


def main() -> None:
    given = settings()
    keyed = bool(given.get("unaggregated"))  # its aggregating processors refuse keys
    loop = asyncio.new_event_loop()

    async def start() -> Any:
        producer: Any = Producer(
            given["stream"],
            endpoint_url=given["url"],
            region_name="us-east-1",
            processor=StringProcessor() if keyed else KPLStringProcessor(),
            put_rate_limit_per_shard=10**9,
            put_bandwidth_limit_per_shard=10**9,
        )
        await producer.start()
        return producer

    producer = loop.run_until_complete(start())

    def run(workload: Workload) -> float:
        return loop.run_until_complete(put_all(producer, workload, keyed))

    run(Workload(b"x", ["warm"], 1, ""))
    serve(run)


if __name__ == "__main__":
    main()
