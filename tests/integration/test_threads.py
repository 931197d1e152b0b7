"""Puts from many threads, from `__del__` during garbage collection, and from a signal handler."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator

import pytest

from kplpy import KplpyError, Producer, RecordFuture
from kplpy.local import LocalKinesis
from tests.integration.reading import read_all, wait_until


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=4, limits=False) as running:
        yield running


def test_eight_threads_lose_nothing(kinesis: LocalKinesis) -> None:
    each = 3000
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:

        def put(thread: int) -> None:
            for number in range(each):
                producer.put_record("test", b"%d/%d" % (thread, number), f"key {number % 50}")

        threads = [threading.Thread(target=put, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        producer.flush(timeout=30)
        assert producer.outstanding_records == producer.outstanding_bytes == 0
    expected = sorted(b"%d/%d" % (thread, number) for thread in range(8) for number in range(each))
    assert sorted(record.data for record in read_all(kinesis)) == expected


@pytest.mark.parametrize("max_records", [100_000, 50], ids=["large", "small"])
def test_puts_from_del_during_garbage_collection(kinesis: LocalKinesis, max_records: int) -> None:
    """The collector runs finalizers during any allocation, so also while the producer holds its locks."""
    refused = 0
    # Not "block", because the collector also runs finalizers on the local server's event loop.
    with Producer(endpoint_url=kinesis.endpoint_url, max_buffered_records=max_records) as producer:
        futures: list[RecordFuture] = []

        class Garbage:
            def __init__(self) -> None:
                self.itself = self  # so that only the cyclic collector frees it

            def __del__(self) -> None:
                nonlocal refused
                try:
                    futures.append(producer.put_record("test", b"from del", "d"))
                except Exception:
                    refused += 1  # puts on kplpy's threads, and within another put, do not wait for buffer space

        threshold = gc.get_threshold()
        gc.set_threshold(20, 2, 2)
        try:
            for number in range(3000):
                Garbage()
                futures.append(producer.put_record("test", b"from put", f"key {number % 20}"))
        finally:
            gc.set_threshold(*threshold)

        def all_put() -> bool:
            gc.collect()  # does nothing while another thread collects
            return len(futures) + refused == 6000

        wait_until(all_put, 30)
        producer.flush(timeout=30)
        assert all(future.exception(10) is None for future in futures)
    assert len(read_all(kinesis)) == len(futures)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer on this system")
@pytest.mark.parametrize("max_records", [100_000, 50], ids=["large", "small"])
def test_puts_from_a_signal_handler_on_the_putting_thread(kinesis: LocalKinesis, max_records: int) -> None:
    handled: list[RecordFuture] = []
    refused = 0
    with Producer(
        endpoint_url=kinesis.endpoint_url, max_buffered_records=max_records, on_buffer_full="block"
    ) as producer:

        def handler(*_: object) -> None:
            nonlocal refused
            try:
                handled.append(producer.put_record("test", b"from the handler", "h"))
            except KplpyError:
                refused += 1
            finally:  # not at a fixed rate: a put may take longer, and interrupt itself until there is no stack left
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)

        before = signal.signal(signal.SIGVTALRM, handler)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)
        try:
            futures: list[RecordFuture] = []
            while len(handled) + refused < 20 and len(futures) < 500_000:
                futures.append(producer.put_record("test", b"x", f"key {len(futures) % 20}"))
        finally:
            signal.signal(signal.SIGVTALRM, signal.SIG_IGN)  # first, because the handler sets the timer
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        producer.flush(timeout=60)
        assert len(handled) + refused >= 20
        assert len(handled) >= 1
        assert all(future.exception(10) is None for future in futures + handled)
    assert len(read_all(kinesis)) == len(futures) + len(handled)
