"""The bounds of a producer's memory under load, and what flush and a re-import of kplpy do to its records."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.local_stream import PATIENCE, contents, local, others_put, producing

ROOT = Path(__file__).parents[2]
DEAD = """
import resource, threading, time
from kplpy import BufferFullError, Producer
from tests.inside import has_client

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

LIMIT, INFLIGHT = 32 << 20, 8 << 20
producer = Producer(
    endpoint_url="http://127.0.0.1:9", region_name="us-east-1", max_buffered_bytes=LIMIT, max_inflight_bytes=INFLIGHT,
    max_buffered_records=10_000_000, on_buffer_full="block", max_block_ms=500, close_timeout_ms=0,
)
producer.put_record("test", b"x", "k")
while not has_client(producer): time.sleep(0.01)  # the client's memory is botocore's
time.sleep(0.5)
before = peak()
refused = []

def put(thread):
    futures = []
    try:
        while True: futures.append(producer.put_record("test", b"%0100d" % thread, f"key {len(futures) % 100}"))
    except BufferFullError: refused.append(thread)

threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
records = producer.outstanding_records
assert sorted(refused) == list(range(8)), refused
assert producer.outstanding_bytes <= LIMIT + 8 * 507, producer.outstanding_bytes - LIMIT
grown = peak() - before
assert grown <= LIMIT + INFLIGHT + 30_000_000, grown
print(records, grown)
producer.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_eight_threads_and_a_dead_endpoint_stay_within_the_bounds() -> None:
    """All eight threads end with BufferFullError.

    The process grows by at most max_buffered_bytes, one record a thread beyond that, the in-flight bound and 30 MB.
    """
    done = subprocess.run([sys.executable, "-c", DEAD], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 20_000


def test_gather_over_many_futures() -> None:
    count = 100_000

    async def main() -> None:
        futures = producer.put_records("orders", ((b"%d" % number, f"key {number % 100}") for number in range(count)))
        results = await asyncio.gather(*futures)
        assert len(results) == count

    with (
        local(shards=4) as kinesis,
        producing(kinesis, max_buffered_records=10 * count, max_buffered_bytes=1 << 30) as producer,
    ):
        asyncio.run(asyncio.wait_for(main(), PATIENCE))
        assert contents(kinesis) == Counter(b"%d" % number for number in range(count))


def test_flush_sends_now_while_others_put_without_end() -> None:
    """Without the flush, its records would be due in an hour."""
    with local() as kinesis, producing(kinesis, record_max_buffered_time_ms=3_600_000, record_ttl_ms=None) as producer:
        with others_put(producer, "orders", threads=3):
            mine = [producer.put_record("orders", b"mine", f"key {number}") for number in range(50)]
            began = time.monotonic()
            producer.flush(timeout=PATIENCE)
            assert all(each.done() for each in mine)
            assert time.monotonic() - began < PATIENCE
        assert contents(kinesis)[b"mine"] == 50


REIMPORT = """
import importlib, sys, time
def fresh():
    for name in [name for name in sys.modules if name.partition(".")[0] == "kplpy"]: del sys.modules[name]
    return importlib.import_module("kplpy")
for number in range(3):
    producer = fresh().Producer(endpoint_url=sys.argv[1], region_name="us-east-1", record_max_buffered_time_ms=60_000)
    producer.put_record("orders", b"%d" % number, "k")
    time.sleep(0.5)  # it lists the shards: its connection is older than the next one's exit hook
"""


def test_kplpy_imported_again_and_again() -> None:
    """IDLE and autoreloaders import modules again. Records of the forgotten producers are still delivered at exit."""
    with local() as kinesis:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", REIMPORT, kinesis.endpoint_url],
            capture_output=True,
            text=True,
            timeout=PATIENCE,  # Compiled code serves the first import. With "must" the others would refuse to run.
            env=os.environ | {"KPLPY_ACCELERATOR": os.environ.get("KPLPY_ACCELERATOR", "").replace("must", "auto")},
        )
        assert done.returncode == 0
        assert "Traceback" not in done.stderr
        assert contents(kinesis) == Counter([b"0", b"1", b"2"])
