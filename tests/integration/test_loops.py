"""Event loops other than asyncio's, and notebooks: trio, uvloop and a Jupyter kernel.

Needs the dependency group `frameworks` (requirements/frameworks.lock).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from importlib import import_module

import pytest

from kplpy import KplpyError, Producer, RecordResult
from tests.integration.frameworks import PATIENCE, ROOT, needed
from tests.local_stream import contents, local, producing

pytestmark = pytest.mark.frameworks


def test_trio() -> None:
    """Through trio's bridge to threads. A cancelled wait does not affect the record."""
    needed("trio")
    trio = import_module("trio")

    async def put(producer: Producer, number: int) -> None:
        future = await trio.to_thread.run_sync(producer.put_record, "orders", b"%d" % number, str(number))
        assert isinstance(await trio.to_thread.run_sync(future.result, PATIENCE), RecordResult)

    async def main(producer: Producer) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(put, producer, number)
        future = producer.put_record("orders", b"left alone", "k")
        with trio.move_on_after(0) as scope:
            await trio.to_thread.run_sync(future.result, PATIENCE, abandon_on_cancel=True)
        assert scope.cancelled_caught
        with pytest.raises(KplpyError, match=r"trio.to_thread.run_sync\(future.result, abandon_on_cancel=True\)"):
            await producer.put_record("orders", b"awaited as in asyncio", "k")
        await trio.to_thread.run_sync(producer.close)

    with local() as kinesis, producing(kinesis, max_buffered_records=20) as producer:
        trio.run(main, producer)
        assert contents(kinesis) == Counter(
            [b"left alone", b"awaited as in asyncio", *(b"%d" % number for number in range(100))]
        )


def test_uvloop() -> None:
    """Awaits, backpressure and flushes, in one loop after another."""
    needed("uvloop")
    uvloop = import_module("uvloop")

    async def put(producer: Producer, number: int) -> None:
        await (await producer.aput_record("orders", b"%d" % number, str(number)))

    async def main(producer: Producer, first: int) -> None:
        await asyncio.gather(*(put(producer, number) for number in range(first, first + 500)))
        producer.put_record("orders", b"flushed", "k")
        await producer.aflush(timeout=PATIENCE)

    with local() as kinesis, producing(kinesis, max_buffered_records=50) as producer:
        for first in (0, 500):
            loop = uvloop.new_event_loop()
            try:
                loop.run_until_complete(asyncio.wait_for(main(producer, first), PATIENCE))
            finally:
                loop.close()
        assert contents(kinesis) == Counter({b"flushed": 2, **{b"%d" % number: 1 for number in range(1000)}})


CELLS = [
    "from kplpy import Producer\nproducer = Producer(endpoint_url=URL, region_name='us-east-1')",
    "result = await producer.put_record('orders', b'awaited', 'k')",
    "result = await producer.put_record('orders', b'awaited', 'k')",  # the cell is run again
    "producer = Producer(endpoint_url=URL, region_name='us-east-1', record_max_buffered_time_ms=60_000)",
    """import asyncio, threading
async def main(): producer.put_record('orders', b'another loop', 'k')
thread = threading.Thread(target=asyncio.run, args=(main(),)); thread.start(); thread.join()""",
    "future = producer.put_record('orders', b'left to the end', 'k')",
]


def test_jupyter() -> None:
    """A real kernel, with cells that await and are run again, shuts down cleanly."""
    needed("ipykernel")
    start_new_kernel = import_module("jupyter_client.manager").start_new_kernel
    with local() as kinesis:
        manager, client = start_new_kernel(
            kernel_name="python3", startup_timeout=PATIENCE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            manager.shutdown_wait_time = PATIENCE
            for cell in [f"URL = {kinesis.endpoint_url!r}", *CELLS]:
                reply = client.execute_interactive(cell, timeout=PATIENCE)
                assert reply["content"]["status"] == "ok", reply
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
        assert contents(kinesis) == Counter({b"awaited": 2, b"another loop": 1, b"left to the end": 1})
