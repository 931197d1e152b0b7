"""Drives kplpy as the peers are driven.

Modes: put_record, put_records, lists, tasks, threads:N, streams and flushed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from benchmarks.peers.driver import Workload, serve, settings
from kplpy import Producer, RecordFuture

LIST = 1_000


class KplpyDriver:
    def __init__(self, producer: Producer, streams: list[str]) -> None:
        self.producer, self.streams = producer, streams

    def run(self, workload: Workload) -> float:
        name, _, number = workload.mode.partition(":")
        ways: dict[str, Callable[[Workload], object]] = {
            "put_record": self.put_record,
            "put_records": self.put_records,
            "lists": lambda workload: asyncio.run(self.lists(workload)),
            "tasks": lambda workload: asyncio.run(self.tasks(workload)),
            "threads": lambda workload: self.threads(workload, int(number)),
            "streams": self.over_streams,
            "flushed": self.flushed,
        }
        started = time.perf_counter()
        ways[name](workload)
        return time.perf_counter() - started

    def put_record(self, workload: Workload) -> None:
        pending: deque[RecordFuture] = deque()
        put, stream, data, window = self.producer.put_record, self.streams[0], workload.data, workload.window
        for key in workload.keys:
            pending.append(put(stream, data, key))
            if len(pending) > window:
                pending.popleft().result()
        confirm(pending)

    def put_records(self, workload: Workload) -> None:
        pending: deque[RecordFuture] = deque()
        keys, data = workload.keys, workload.data
        for start in range(0, len(keys), LIST):
            pending += self.producer.put_records(self.streams[0], [(data, key) for key in keys[start : start + LIST]])
            while len(pending) > workload.window:
                pending.popleft().result()
        confirm(pending)

    def over_streams(self, workload: Workload) -> None:
        """Put records to the streams in turn."""
        pending: deque[RecordFuture] = deque()
        put, streams, data, window = self.producer.put_record, self.streams, workload.data, workload.window
        for number, key in enumerate(workload.keys):
            pending.append(put(streams[number % len(streams)], data, key))
            if len(pending) > window:
                pending.popleft().result()
        confirm(pending)

    def flushed(self, workload: Workload) -> None:
        """Put all records, then flush. For a linger longer than the run."""
        streams, put, data = self.streams, self.producer.put_record, workload.data
        futures = deque(put(streams[number % len(streams)], data, key) for number, key in enumerate(workload.keys))
        self.producer.flush()
        confirm(futures)

    def threads(self, workload: Workload, count: int) -> None:
        def part(keys: list[str]) -> Workload:
            return Workload(workload.data, keys, workload.window // count, "put_record")

        workers = [
            threading.Thread(target=self.put_record, args=(part(workload.keys[n::count]),)) for n in range(count)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    async def lists(self, workload: Workload) -> None:
        """Put lists of 1,000 records in tasks that await each future, as many tasks at once as the window allows."""
        put, stream, data = self.producer.put_record, self.streams[0], workload.data

        async def one(keys: list[str]) -> None:
            futures = [put(stream, data, key) for key in keys]
            for future in futures:
                await future

        await self._in_turn(one, workload)

    async def tasks(self, workload: Workload) -> None:
        """Put each record in a Task of its own."""
        put, stream, data = self.producer.put_record, self.streams[0], workload.data

        async def one(key: str) -> None:
            await put(stream, data, key)

        async def group(keys: list[str]) -> None:
            await asyncio.gather(*[asyncio.create_task(one(key)) for key in keys])

        await self._in_turn(group, workload)

    async def _in_turn(self, work: Callable[[list[str]], object], workload: Workload) -> None:
        lists = iter([workload.keys[start : start + LIST] for start in range(0, len(workload.keys), LIST)])

        async def worker() -> None:
            for keys in lists:
                await work(keys)  # type: ignore[misc]  # both kinds of work are coroutine functions

        await asyncio.gather(*[worker() for _ in range(max(1, workload.window // LIST))])


def confirm(futures: deque[RecordFuture]) -> None:
    for future in futures:
        future.result()


def main() -> None:
    given = settings()
    streams = given["stream"].split(",")
    options = given.get("config", {})
    with Producer(endpoint_url=given["url"], region_name="us-east-1", rate_limit=1_000_000, **options) as producer:
        for future in [producer.put_record(stream, b"x", "warm") for stream in streams]:
            future.result()
        serve(KplpyDriver(producer, streams).run)


if __name__ == "__main__":
    main()
