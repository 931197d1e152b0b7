"""The spool against `kplpy local`: outages, restarts, the bound of the disk, and its failures."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sqlite3
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kplpy import Producer
from kplpy.errors import (
    BufferFullError,
    ConfigError,
    KplpyError,
    RecordFailedError,
    RecordSpooledError,
    SpoolError,
    SpoolFullError,
)
from kplpy.local import Fault, LocalKinesis
from tests.inside import spooling_of, streams_of, top_view_of
from tests.integration.reading import read_all, wait_until

OUTAGE = Fault(code="InternalFailure", status=500)


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=2, limits=False) as running:
        yield running


def spooled(kinesis: LocalKinesis, path: Path, **fields: Any) -> Producer:
    return kinesis.producer(spool=path, **{"close_timeout_ms": 200, **fields})


def numbers(kinesis: LocalKinesis) -> list[int]:
    return sorted(int(each.data) for each in read_all(kinesis))


def test_records_are_stored_then_delivered(kinesis: LocalKinesis, tmp_path: Path) -> None:
    with spooled(kinesis, tmp_path / "spool", close_timeout_ms=10_000) as producer:
        futures = [producer.put_record("test", b"%d" % each, f"k{each}") for each in range(2000)]
        for future in futures:
            future.stored(10)
        assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
        assert all(each.stat().st_mode & 0o777 == 0o600 for each in (tmp_path / "spool").iterdir())
        assert not any(future.result(10).possible_duplicate for future in futures)
        futures[0].stored()  # still true after the outcome
    assert numbers(kinesis) == list(range(2000))
    assert list((tmp_path / "spool").iterdir()) == []


def test_an_outage_goes_to_the_disk_and_comes_back_in_order(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    with spooled(kinesis, tmp_path, max_buffered_records=2000, close_timeout_ms=60_000, ordered=True) as producer:
        held, called = [], []
        for each in range(20_000):
            future = producer.put_record("test", b"%d" % each, "one key")
            if each % 1000 == 0:
                held.append(future)
            elif each % 1000 == 1:
                future.add_done_callback(lambda done: called.append(done.result()))
            del future
        assert producer.outstanding_records == 20_000
        kinesis.faults.clear()
        producer.flush(timeout=60)
        assert [each.result(0).possible_duplicate in (True, False) for each in held]
        wait_until(lambda: len(called) == 20)
        assert producer.outstanding_records == 0
    assert [int(each.data) for each in read_all(kinesis)] == list(range(20_000))


def test_what_a_closed_producer_left_is_sent_by_the_next(kinesis: LocalKinesis, tmp_path: Path) -> None:
    failed: list[RecordFailedError] = []
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    with spooled(kinesis, tmp_path, on_failure=failed.append) as producer:
        futures = [
            producer.put_record("test", b"0", "k"),
            producer.put_record("test", b"1"),
            producer.put_record("test", b"2", "k", explicit_hash_key=2**127),
            producer.put_record("test", b"3", "k", headers={"a": "b", "c": None}),
        ]
        futures += producer.put_records("test", [(b"%d" % each, f"k{each}") for each in range(4, 3000)])
    for each in futures:
        with pytest.raises(RecordSpooledError, match="in the spool in"):
            each.result(0)
    assert failed == []
    kinesis.faults.clear()
    with spooled(kinesis, tmp_path, close_timeout_ms=30_000) as producer:
        assert producer.recovered == 3000
        producer.flush(timeout=30)
    records = {int(each.data): each for each in read_all(kinesis)}
    assert sorted(records) == list(range(3000))
    assert records[2].explicit_hash_key == str(2**127)
    assert records[3].headers == {"a": "b", "c": None}
    assert list(tmp_path.iterdir()) == []


def test_recovered_records_that_fail_go_to_on_failure(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    with spooled(kinesis, tmp_path) as producer:
        producer.put_record("test", b"0", "k").stored(10)
    failed: list[RecordFailedError] = []
    with spooled(kinesis, tmp_path, spool_ttl_ms=100, on_failure=failed.append) as producer:
        wait_until(lambda: bool(failed))
        assert [each.possible_duplicate for each in failed] == [True]
        assert producer.outstanding_records == 0
    kinesis.faults.clear()
    with spooled(kinesis, tmp_path) as producer:
        assert producer.recovered == 0


def test_a_backlog_that_has_expired_stays_within_the_buffer(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    with spooled(kinesis, tmp_path, max_buffered_bytes=2 << 20) as producer:
        for _ in range(20):
            producer.put_records("test", [(b"x" * 1000, "k")] * 1000)
    with spooled(kinesis, tmp_path, max_buffered_bytes=2 << 20, spool_ttl_ms=100) as producer:
        most = 0

        def is_empty() -> bool:
            nonlocal most
            most = max(most, producer.outstanding_bytes)
            return not producer.outstanding_records

        wait_until(is_empty)
        assert producer.recovered == 20_000
        assert 0 < most < 3 << 20


def test_a_disk_that_cannot_be_read_raises_nothing_inline(
    kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kplpy.spool.part import Part

    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    with spooled(kinesis, tmp_path) as producer:
        producer.put_record("test", b"0", "k").stored(10)

    def failing(part: Part, *args: Any) -> None:
        raise SpoolError("disk I/O error")

    monkeypatch.setattr(Part, "read", failing)
    with spooled(kinesis, tmp_path) as producer:
        spooling = spooling_of(producer)
        raised: list[SpoolError] = []

        def reads_and_raises() -> bool:  # unless the spool thread is doing the step
            try:
                spooling.step()
            except SpoolError as error:
                raised.append(error)
            return bool(raised)

        wait_until(reads_and_raises)
        assert spooling.step_inline() > time.monotonic() - 10


def test_each_put_waits_for_the_disk(kinesis: LocalKinesis, tmp_path: Path) -> None:
    with spooled(kinesis, tmp_path, spool_sync_ms=0, close_timeout_ms=10_000) as producer:
        producer.put_record("test", b"0", "k").stored(0)
        for future in producer.put_records("test", [(b"1", "k"), (b"2", "k")]):
            future.stored(0)

        async def put() -> None:
            await (await producer.aput_record("test", b"3", "k")).astored()
            for future in await producer.aput_records("test", [(b"4", "k"), (b"5", "k")]):
                future.stored(0)

        asyncio.run(put())
    assert numbers(kinesis) == [0, 1, 2, 3, 4, 5]


def test_awaiting_the_disk(kinesis: LocalKinesis, tmp_path: Path) -> None:
    async def put() -> None:
        async with spooled(kinesis, tmp_path, spool_sync_ms=50, close_timeout_ms=10_000) as producer:
            futures = [await producer.aput_record("test", b"%d" % each, "k") for each in range(100)]
            await asyncio.gather(*(each.astored() for each in futures))
            await asyncio.gather(*futures)

    asyncio.run(put())
    assert numbers(kinesis) == list(range(100))


def test_without_a_spool_nothing_is_stored(kinesis: LocalKinesis, tmp_path: Path) -> None:
    with kinesis.producer() as producer:
        with pytest.raises(KplpyError, match="has no spool"):
            producer.put_record("test", b"0", "k").stored(0)
        assert producer.recovered == 0


@pytest.mark.parametrize(
    ("path", "error"),
    [("", ConfigError), ("a\0b", ConfigError), (3, ConfigError), (b"x", ConfigError), ("/proc/none/x", SpoolError)],
)
def test_a_bad_directory_is_refused_at_once(kinesis: LocalKinesis, path: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="directory"):
        kinesis.producer(spool=path)


def fill(producer: Producer, error: type[Exception], pause: float = 0.0) -> int:
    """Put records of 1 KB until a put raises the error. Return how many were accepted."""
    for count in range(100_000):
        try:
            producer.put_record("test", b"%d" % count + b" " * 1000, f"k{count}")
        except error:
            return count
        time.sleep(pause)
    raise AssertionError("no put was refused")


def test_a_full_spool_blocks_through_the_buffer(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    fields = {"spool_max_bytes": 2 << 20, "max_buffered_bytes": 1 << 20, "max_block_ms": 2000}
    with spooled(kinesis, tmp_path, close_timeout_ms=60_000, **fields) as producer:
        count = fill(producer, BufferFullError)
        assert 2000 <= count < 4000
        assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 8 << 20
        kinesis.faults.clear()
        producer.flush(timeout=60)
        producer.put_record("test", b"-1", "k")
    assert numbers(kinesis) == [-1, *range(count)]


def test_a_full_spool_raises(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    fields = {"spool_max_bytes": 1 << 20, "spool_on_full": "raise"}
    with spooled(kinesis, tmp_path, close_timeout_ms=60_000, **fields) as producer:
        count = fill(producer, SpoolFullError, pause=0.0002)
        with pytest.raises(SpoolFullError, match="spool_max_bytes=1048576"):
            producer.put_records("test", [(b"x", "k")])
        kinesis.faults.clear()
        producer.flush(timeout=60)
        wait_until(lambda: spooling_of(producer).refusal is None)
        producer.put_record("test", b"-1", "k")
    assert numbers(kinesis) == [-1, *range(count)]


def test_a_full_spool_drops_the_oldest(kinesis: LocalKinesis, tmp_path: Path) -> None:
    failed: list[RecordFailedError] = []
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    fields = {"spool_max_bytes": 2 << 20, "spool_on_full": "drop_oldest", "max_buffered_bytes": 1 << 20}
    with spooled(kinesis, tmp_path, close_timeout_ms=60_000, on_failure=failed.append, **fields) as producer:
        for each in range(8000):
            producer.put_record("test", b"%d" % each + b" " * 1000, f"k{each}")
        wait_until(lambda: bool(failed))
        kinesis.faults.clear()
        producer.flush(timeout=60)
    assert all("oldest" in str(each) for each in failed)
    dropped = sorted(int(each.record.data) for each in failed if each.record is not None)
    arrived = numbers(kinesis)
    assert sorted(dropped + arrived) == list(range(8000))
    assert 4000 < len(dropped) < 7500
    assert max(dropped) < max(arrived)


def test_no_more_is_dropped_than_needed(kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[RecordFailedError] = []
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    fields = {"spool_max_bytes": 4 << 20, "spool_on_full": "drop_oldest", "max_buffered_bytes": 2 << 20}
    with spooled(kinesis, tmp_path, on_failure=failed.append, **fields) as producer:
        spooling = spooling_of(producer)
        answered = spooling.answered

        def slow(completions: Any) -> None:
            time.sleep(0.2)
            answered(completions)

        monkeypatch.setattr(spooling, "answered", slow)
        for each in range(100_000):
            producer.put_record("test", b"%d" % each + b" " * 1000, f"k{each}")
            if failed:
                break
            time.sleep(0.0001)
        assert len(failed) < 1000
        assert spooling.gauges(0.0).bytes > 3 << 20


def test_a_small_spool_drops_the_oldest_before_the_buffer_is_full(kinesis: LocalKinesis, tmp_path: Path) -> None:
    failed: list[RecordFailedError] = []
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    fields = {"spool_max_bytes": 1 << 20, "spool_on_full": "drop_oldest", "max_block_ms": 2000}
    with spooled(kinesis, tmp_path, on_failure=failed.append, max_buffered_bytes=4 << 20, **fields) as producer:
        for each in range(8000):
            producer.put_record("test", b"%d" % each + b" " * 1000, f"k{each}")
        assert failed


class BrokenDisk:
    """Makes every statement that writes to the spool fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken = False
        from kplpy.spool.part import Part

        write = Part.write

        def failing(part: Part, batches: Any) -> list[int]:
            if self.broken:
                raise SpoolError("disk I/O error") from sqlite3.OperationalError("disk I/O error")
            return write(part, batches)

        monkeypatch.setattr(Part, "write", failing)


def test_a_broken_disk_makes_puts_raise(
    kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = BrokenDisk(monkeypatch)
    with spooled(kinesis, tmp_path, close_timeout_ms=10_000) as producer:
        producer.put_record("test", b"0", "k").result(10)
        disk.broken = True
        future = producer.put_record("test", b"1", "k")
        with pytest.raises(SpoolError, match="disk I/O error"):
            future.stored(10)
        future.result(10)
        for put in (
            lambda: producer.put_record("test", b"x", "k"),
            lambda: producer.put_records("test", [(b"x", "k")]),
            lambda: asyncio.run(producer.aput_record("test", b"x", "k")),
        ):
            with pytest.raises(SpoolError, match="does not take records"):
                put()
        disk.broken = False
        wait_until(lambda: spooling_of(producer).refusal is None)
        producer.put_record("test", b"2", "k").stored(10)
    assert numbers(kinesis) == [0, 1, 2]
    events = [each.kplpy["event"] for each in caplog.records if hasattr(each, "kplpy")]
    assert [each for each in events if each.startswith("spool")] == ["spool_failed", "spool_works_again"]


def test_a_broken_disk_leaves_puts_in_memory(
    kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BrokenDisk(monkeypatch)
    disk.broken = True
    with spooled(kinesis, tmp_path, spool_on_error="memory", close_timeout_ms=10_000) as producer:
        futures = [producer.put_record("test", b"%d" % each, "k") for each in range(3000)]
        for each in futures:
            each.result(10)
            with pytest.raises(SpoolError):
                each.stored(0)
    assert numbers(kinesis) == list(range(3000))


def test_a_put_that_waits_for_a_broken_disk_goes_on_in_memory(
    kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BrokenDisk(monkeypatch).broken = True
    fields = {"spool_sync_ms": 0, "spool_on_error": "memory"}
    with spooled(kinesis, tmp_path, close_timeout_ms=10_000, **fields) as producer:
        producer.put_record("test", b"0", "k").result(10)
        future = asyncio.run(producer.aput_record("test", b"1", "k"))
        with pytest.raises(SpoolError):
            future.stored(0)
    assert numbers(kinesis) == [0, 1]


def test_a_flush_ends_when_a_close_leaves_its_records_in_the_spool(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    producer = spooled(kinesis, tmp_path, max_buffered_records=200)
    futures = [producer.put_record("test", b"%d" % each, "k") for each in range(1000)]
    flushing = threading.Thread(target=producer.flush, daemon=True)
    flushing.start()
    wait_until(lambda: spooling_of(producer).backlog_records() > 500)
    producer.close()
    flushing.join(10)
    assert not flushing.is_alive()
    assert all(each.done() for each in futures)


def test_a_broken_pipeline_fails_only_its_records(
    kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis.client().create_stream(StreamName="other", ShardCount=1)
    with spooled(kinesis, tmp_path, spool_sync_ms=100, close_timeout_ms=10_000) as producer:
        for name in ("test", "other"):
            producer.put_record(name, b"0", "k").result(10)
        pipeline = streams_of(producer)["test"].pipeline

        def broken(items: object, now: float) -> None:
            raise ZeroDivisionError("broken")

        monkeypatch.setattr(pipeline, "accept", broken)
        lost, kept = producer.put_record("test", b"1", "k"), producer.put_record("other", b"1", "k")
        with pytest.raises(RecordFailedError, match="ZeroDivisionError"):
            lost.result(10)
        kept.result(10)
        producer.put_record("test", b"2", "k").result(10)
        producer.flush(timeout=10)
        assert producer.outstanding_records == producer.outstanding_bytes == 0
    assert numbers(kinesis) == [0, 2]
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_could_not_be_written_is_written_at_the_close(
    kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kplpy.spool.part import Part

    with spooled(kinesis, tmp_path, close_timeout_ms=10_000) as producer, monkeypatch.context() as patched:

        def failing(part: Part, done: Any) -> None:
            raise SpoolError("disk I/O error")

        patched.setattr(Part, "answered", failing)
        producer.put_record("test", b"0", "k").result(10)
    assert list(tmp_path.iterdir()) == []


def test_the_futures_of_a_damaged_row_fail(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    failed: list[RecordFailedError] = []
    fields = {"max_buffered_records": 200, "on_failure": failed.append}
    with spooled(kinesis, tmp_path, close_timeout_ms=10_000, **fields) as producer:
        futures = [producer.put_record("test", b"%d" % each, "k") for each in range(1000)]
        wait_until(lambda: spooling_of(producer).backlog_records() > 700)
        (path,) = tmp_path.glob("*.spool")
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE rows SET crc32 = crc32 + 1 WHERE id = (SELECT MAX(id) - 2 FROM rows)")
        kinesis.faults.clear()
        producer.flush(timeout=10)
        lost = [each for each in futures if each.exception(10) is not None]
        assert 0 < len(lost) == len(failed) < 100
        assert "was damaged in the spool" in str(failed[0])
        assert producer.outstanding_records == producer.outstanding_bytes == 0
    assert len(numbers(kinesis)) == 1000 - len(lost)


def test_rows_that_wait_behind_unstored_records_are_sent_once(
    kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BrokenDisk(monkeypatch)
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    fields = {"max_buffered_records": 4000, "spool_on_error": "memory"}
    with spooled(kinesis, tmp_path, close_timeout_ms=30_000, **fields) as producer:
        futures = [producer.put_record("test", b"%d" % each, "k") for each in range(3500)]
        wait_until(lambda: spooling_of(producer).backlog_records() > 1000)
        disk.broken = True
        unstored = producer.put_record("test", b"3500", "k")
        with pytest.raises(SpoolError):
            unstored.stored(10)
        disk.broken = False
        futures.append(producer.put_record("test", b"3501", "k"))
        wait_until(lambda: spooling_of(producer).backlog_records() > 1000)
        while True:  # the disk works again after a moment
            futures.append(producer.put_record("test", b"%d" % (len(futures) + 1), "k"))
            try:
                futures[-1].stored(10)
                break
            except SpoolError:
                time.sleep(0.1)
        kinesis.faults.clear()
        producer.flush(timeout=30)
        assert producer.outstanding_records == 0
    assert numbers(kinesis) == list(range(len(futures) + 1))


def test_a_put_that_waits_for_a_broken_disk_is_refused(
    kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BrokenDisk(monkeypatch)
    with spooled(kinesis, tmp_path, spool_sync_ms=0, close_timeout_ms=10_000) as producer:
        producer.put_record("test", b"0", "k")
        disk.broken = True
        with pytest.raises(SpoolError):
            producer.put_record("test", b"1", "k")
        disk.broken = False
        wait_until(lambda: spooling_of(producer).refusal is None)
        producer.put_record("test", b"2", "k")
    assert numbers(kinesis) == [0, 2]


def test_streams_do_not_wait_for_each_other(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.client().create_stream(StreamName="other", ShardCount=1)
    with spooled(kinesis, tmp_path, max_buffered_records=2000) as producer:
        kinesis.faults.outage(OUTAGE, operation="PutRecords", stream="test")
        for each in range(10_000):
            producer.put_record("test", b"%d" % each, "k")
        producer.put_record("other", b"0", "k").result(10)
        kinesis.faults.clear()
        producer.flush(timeout=60)
    assert numbers(kinesis) == list(range(10_000))


def test_a_forked_child_has_its_own_part(kinesis: LocalKinesis, tmp_path: Path) -> None:
    with spooled(kinesis, tmp_path, close_timeout_ms=10_000) as producer:
        producer.put_record("test", b"0", "k").stored(10)
        parts = set(tmp_path.glob("*.spool"))
        child = os.fork()
        if not child:
            code = 1
            try:
                producer.put_record("test", b"1", "k").stored(10)
                others = set(tmp_path.glob("*.spool")) - parts
                producer.close()
                code = 0 if len(others) == 1 and not others & set(tmp_path.iterdir()) else 2
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        producer.put_record("test", b"2", "k").stored(10)
    assert numbers(kinesis) == [0, 1, 2]


def test_futures_nobody_holds_leave_memory(kinesis: LocalKinesis, tmp_path: Path) -> None:
    from kplpy.futures.record_future import RecordFuture

    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    with spooled(kinesis, tmp_path, max_buffered_records=1000, close_timeout_ms=0) as producer:
        for each in range(20_000):
            producer.put_record("test", b"%d" % each, "k")
        wait_until(lambda: spooling_of(producer).backlog_records() > 18_000)
        gc.collect()
        held = [each for each in gc.get_objects() if issubclass(type(each), RecordFuture)]  # a proxy may be dead
        assert len(held) < 3000


def test_many_threads_put(kinesis: LocalKinesis, tmp_path: Path) -> None:
    with spooled(kinesis, tmp_path, close_timeout_ms=30_000) as producer:

        def put(first: int) -> None:
            for each in range(first, first + 200):
                producer.put_record("test", b"%d" % each, f"k{each}").stored(30)

        threads = [threading.Thread(target=put, args=(first,)) for first in range(0, 800, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert numbers(kinesis) == list(range(800))


def test_the_metrics_of_an_outage_and_its_end(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    with spooled(kinesis, tmp_path, max_buffered_records=2000, close_timeout_ms=30_000) as producer:
        for _ in range(6):
            producer.put_records("test", [(b"x" * 100, f"k{each}") for each in range(1000)])

        def latest(name: str) -> float:
            return producer.metrics().find(name).latest

        wait_until(lambda: latest("SpooledRecords") == 6000)
        assert 600_000 < latest("SpooledBytes") < 700_000
        assert latest("OldestSpooledAge") > 0
        assert latest("BufferUse") <= 100  # what is on disk only is not in the buffer
        kinesis.faults.clear()
        producer.flush(timeout=30)
        wait_until(lambda: (latest("SpooledRecords"), latest("SpooledBytes"), latest("OldestSpooledAge")) == (0, 0, 0))
        metrics = producer.metrics()
        assert 0 < metrics.find("SpoolSyncs").total == metrics.find("SpoolSyncTime").count
        assert not metrics.find("SpoolErrors")
        assert top_view_of(producer)["spool"]["records"] == 0


@pytest.mark.parametrize("place", ["row", "page"])
def test_damage_is_named_and_counted_and_the_rest_goes_on(
    kinesis: LocalKinesis, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    with spooled(kinesis, tmp_path) as producer:
        for each in range(5):
            producer.put_record("test", b"%d" % each + b" " * 9000, "k").stored(10)
    (part,) = tmp_path.glob("*.spool")
    content = bytearray(part.read_bytes())
    data = content.index(b"2" + b" " * 100)
    # A byte of the record, or the head of the next page: a page without rows of its own, so all rows are salvaged.
    at = data + 50 if place == "row" else (data // 4096 + 1) * 4096 + 3
    content[at] ^= 0xFF
    part.write_bytes(content)
    kinesis.faults.clear()
    with spooled(kinesis, tmp_path, close_timeout_ms=10_000) as producer:
        producer.flush(timeout=20)
        wait_until(lambda: producer.outstanding_records == 0)
    assert numbers(kinesis) == ([0, 1, 3, 4] if place == "row" else [0, 1, 2, 3, 4])
    events = [getattr(each, "kplpy", {}) for each in caplog.records]
    (logged,) = [each for each in events if each.get("event") == "spool_damaged"]
    assert logged["entries"] == 1
    assert str(tmp_path) in logged["damage"]
