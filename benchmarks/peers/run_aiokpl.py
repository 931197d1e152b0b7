"""Drives aiokpl, with its rate limiter out of the way. Every outcome is awaited."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from aiokpl.config import Config
from aiokpl.producer import Producer

from benchmarks.peers.driver import Workload, serve, settings


async def put_all(producer: Any, stream: str, workload: Workload) -> float:
    started = time.perf_counter()
    pending: deque[Any] = deque()
    for key in workload.keys:
        pending.append(await producer.put_record(stream=stream, partition_key=key, data=workload.data))
        if len(pending) > workload.window:
            await confirm(pending.popleft())
    await producer.flush()
    while pending:
        await confirm(pending.popleft())
    return time.perf_counter() - started


async def confirm(outcome: Any) -> None:
    result = await outcome.wait()
    if not result.success:
        raise RuntimeError(f"a record was not delivered: {result!r}")


def main() -> None:
    given = settings()
    loop = asyncio.new_event_loop()
    config = Config(
        region="us-east-1",
        endpoint_url=given["url"],
        verify_ssl=False,
        rate_limit_records_per_sec_per_shard=1e9,
        rate_limit_bytes_per_sec_per_shard=1e12,
        record_ttl_ms=60_000.0,
    )
    runs, done, stream = asyncio.Queue[Workload](), asyncio.Queue[float](), given["stream"]

    async def work() -> None:
        async with Producer(config) as producer:  # anyio's task groups must begin and end in the same task
            while True:
                done.put_nowait(await put_all(producer, stream, await runs.get()))

    def run(workload: Workload) -> float:
        runs.put_nowait(workload)
        return loop.run_until_complete(_next())

    async def _next() -> float:
        getting = asyncio.ensure_future(done.get())
        await asyncio.wait([getting, working], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return await getting

    working = loop.create_task(work())
    run(Workload(b"x", ["warm"], 1, ""))
    serve(run)


if __name__ == "__main__":
    main()
