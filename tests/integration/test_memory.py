"""What a record that waits costs in memory, and that nothing is left of those that were answered."""

from __future__ import annotations

import gc
import logging
import os
import tracemalloc
import weakref
from contextlib import suppress
from typing import Any, Literal

import pytest

from kplpy import KplpyError, Producer, RecordFuture
from kplpy.accelerator import accelerated
from kplpy.concurrency import has_gil
from kplpy.core.pipeline import Pipeline
from kplpy.local import Fault, LocalKinesis
from tests.inside import streams_of
from tests.integration.reading import wait_until
from tests.local_stream import PATIENCE, contents, local, producing
from tests.stub_service import install

FIRST, MORE = 5_000, 20_000


@pytest.mark.parametrize(("aggregated", "codec"), [(True, "none"), (False, "none"), (True, "zstd")])
def test_an_outstanding_record_costs_500_bytes_at_the_most_and_240_in_compiled_code(
    monkeypatch: pytest.MonkeyPatch, aggregated: bool, codec: Literal["none", "zstd"]
) -> None:
    """Beside its data and key: the future, its numbers, its place in the buffers, its share of what is under way; and
    what it takes to travel alone."""
    service = install(monkeypatch, shards=4)
    service.hold()
    keys = [f"customer-{number}" for number in range(1000)]
    payloads = [os.urandom(100) for _ in range(FIRST + 2 * MORE)]
    futures: list[RecordFuture | None] = [None] * len(payloads)
    producer = Producer(
        max_buffered_records=1_000_000,
        max_buffered_bytes=1 << 30,
        close_timeout_ms=0,
        aggregation_enabled=aggregated,
        compression=codec,
        record_ttl_ms=None,
    )

    def put(first: int, count: int) -> int:
        for number in range(first, first + count):
            futures[number] = producer.put_record("orders", payloads[number], keys[number % 1000])
        wait_until(lambda: not streams_of(producer)["orders"].staging, PATIENCE)
        wait_until(lambda: producer.outstanding_records == first + count, PATIENCE)  # the drain has ended
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        sizes = [put(0, FIRST), put(FIRST, MORE), put(FIRST + MORE, MORE)]
    finally:
        tracemalloc.stop()
    # The smaller growth, because lists grow in steps, and how many there are depends on when the scheduler drains.
    grown = min(sizes[1] - sizes[0], sizes[2] - sizes[1])
    service.let_go()
    producer.close()
    compiled = accelerated and aggregated and codec == "none"
    # Without a GIL each object has a larger head: 664 bytes, and up to 772 while lists that grew are not freed yet.
    assert grown / MORE <= (240 if compiled else 500 if has_gil() else 800)
    assert grown / MORE > 100  # they were outstanding, and counted


def test_nothing_holds_a_payload_once_it_is_answered() -> None:
    """The futures are still there. Some were sent twice, some failed at first, some were waited for in every way."""
    payloads = [b"payload %d" % number for number in range(2000)]
    with local(shards=2) as kinesis, producing(kinesis, max_buffered_records=3000) as producer:
        kinesis.faults.add(Fault(entry_code="ProvisionedThroughputExceededException"), times=2)
        kinesis.faults.add(Fault(transport="cut_after"), times=1)
        futures = [producer.put_record("orders", payload, f"key {n % 50}") for n, payload in enumerate(payloads)]
        for future in futures[::7]:
            future.add_done_callback(lambda _: None)
        assert all(future.exception(PATIENCE) is None for future in futures)
        producer.flush(timeout=PATIENCE)
        assert (producer.outstanding_records, producer.outstanding_bytes) == (0, 0)
        assert set(contents(kinesis)) == set(payloads)

        def referrers() -> list[object]:
            gc.collect()
            asked = tuple(payloads[:-1])  # the last one is a local variable's, too
            found = gc.get_referrers(*asked)  # which may be given a copy of the tuple
            return [each for each in found if each is not payloads and each != asked]

        wait_until(lambda: not referrers(), PATIENCE)


FAILURES: dict[str, dict[str, Any]] = {
    "refused by the service": {},
    "no response until it expired": {"record_ttl_ms": 300},
    "not accepted": {"max_buffered_records": 1, "on_buffer_full": "raise"},
    "an error within kplpy": {},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_failed_records_are_freed_with_their_futures(
    failure: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Their errors have a cause, whose traceback or request may refer to the futures: a cycle that nothing ends."""
    caplog.set_level(logging.CRITICAL)  # a log record keeps the traceback of an error within kplpy

    def raise_a_bug(*_: object) -> None:
        raise ValueError("a bug")

    def fail(kinesis: LocalKinesis) -> list[weakref.ref[RecordFuture]]:
        with producing(kinesis, close_timeout_ms=1000, **FAILURES[failure]) as producer:
            futures = producer.put_records("orders", [(b"%d" % number, f"key {number}") for number in range(20)])
            errors = [future.exception(PATIENCE) for future in futures]
            causes = [getattr(each, "cause", each) for each in errors if each is not None]
            assert causes
            assert all(causes)
            for future in futures:
                with suppress(KplpyError):
                    future.result()
            return [weakref.ref(each) for each in futures]

    with local() as kinesis:
        if failure == "refused by the service":
            kinesis.faults.fail("InvalidArgumentException", operation="PutRecords", times=1000)
        elif failure == "no response until it expired":
            kinesis.faults.add(Fault(transport="cut_before"), operation="PutRecords", times=1000)
        elif failure == "an error within kplpy":
            monkeypatch.setattr(Pipeline, "request_ended", raise_a_bug)
        freed = fail(kinesis)
        wait_until(lambda: gc.collect() >= 0 and not any(each() for each in freed), PATIENCE)
