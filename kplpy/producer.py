"""Producer: the class that applications put records with. A record's life begins in `put_record`."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sized
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from kplpy import accelerator
from kplpy.accelerator import native
from kplpy.build import build, check_directory
from kplpy.concurrency import check_threads_allowed
from kplpy.config.options import Config
from kplpy.dead_letters import DeadLetterStream
from kplpy.errors import (
    ConfigError,
    InvalidRecordError,
    KplpyError,
    ProducerClosedError,
)
from kplpy.escaping import hide_sign_in
from kplpy.futures.asyncio_bridge import running_loop
from kplpy.futures.record_future import RecordFuture
from kplpy.headers import Headers
from kplpy.metrics.registry import KEPT_SECONDS
from kplpy.metrics.sample import Window
from kplpy.metrics.snapshot import SECONDS, snapshot
from kplpy.metrics.view import Metrics
from kplpy.process import fork, interpreter_exit
from kplpy.reports import Health, HotKeys, StreamTotals
from kplpy.runtime.flush import FlushWait
from kplpy.runtime.put_target import RECORD_OVERHEAD, STAGED_BYTES, STAGED_RECORDS, PutEntry
from kplpy.runtime.shutdown import Shutdown
from kplpy.runtime.stream import Stream
from kplpy.runtime.threads import is_kplpy_thread
from kplpy.tracing.factory import make_tracing
from kplpy.tracing.span import NO_SPAN, PutSpan
from kplpy.validation import BytesLike, PutItem, Rows, parts_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from kplpy.config.fields import ConfigFields

logger = logging.getLogger(__name__)

_UNUSABLE_PAGE = b"\0"  # has every put call _check_usable


class Producer(PutEntry):
    """Puts records on Kinesis and Firehose streams. Any thread may call it; its methods run on the calling thread.

    The producer aggregates records, keeps to the shards' limits, and retries. Every record gets an outcome.

    config: a Config. Alternatively, any fields of Config as keyword arguments. ConfigError: both, or a wrong value.
    KplpyError: a sub-interpreter forbids daemon threads (docs/frameworks.md).

    No thread is started before the first put. End the producer with close(), or use it in a `with` or `async with`
    block. At the interpreter's exit, a producer that is still open delivers what it holds.

    A copied or pickled producer (multiprocessing's spawn, Spark, Celery) is a new producer with the same Config and
    without the records. Close the copy, too. Pickling raises NotPicklableError if the Config has a session or another
    object that cannot be pickled.
    """

    _streams: Mapping[str, Stream]

    @overload
    def __init__(self, config: Config | None = None) -> None: ...

    @overload
    def __init__(self, **fields: Unpack[ConfigFields]) -> None: ...

    def __init__(self, config: Config | None = None, **fields: Any) -> None:
        if config is None:
            config = Config(**fields)
        elif fields:
            raise ConfigError(f"give a Config or its fields, not both: {', '.join(sorted(fields))}")
        elif not isinstance(config, Config):
            raise ConfigError(f"config must be a kplpy Config, got {hide_sign_in(repr(config))}")
        self.config = config
        check_threads_allowed()
        self._tracing = make_tracing(config)
        self._closed = False
        self._close_requested = False
        fork.check()
        if config.spool is not None:
            check_directory(config.spool)
        self._make_parts()
        interpreter_exit.watch(self)

    def _make_parts(self) -> None:
        """Make new parts. Called by __init__, in a forked child (no thread survived), and once the exit has begun."""
        config = self.config
        on_failure = config.on_failure
        if isinstance(on_failure, DeadLetterStream):
            on_failure = on_failure.of_producer(self)
        puts_dead_letters = isinstance(on_failure, DeadLetterStream) and on_failure.producer is self
        parts = self._parts = build(
            config,
            on_failure,
            puts_dead_letters,
            on_start=self._start,
            deliver_inline=lambda: self._shutdown.deliver_inline(),
            is_closed=lambda: self._closed,
            stats=lambda: json.dumps(self._snapshot()).encode(),
            on_refusal=self._choose_put,
        )
        self._spooling = parts.spooling
        self._choose_put()
        self._engine, self._backpressure = parts.engine, parts.backpressure
        self._streams = self._engine.directory.targets
        self._shutdown = Shutdown(
            parts.engine,
            parts.buffer,
            parts.backpressure,
            config.close_timeout_ms / 1000,
            parts.transport.hurry,
            self._end_extras,
            self._close_requested,
        )
        # Set last: [0] is 1 while the parts above belong to this process and the producer is open.
        self._usable_page = _UNUSABLE_PAGE if self._closed else fork.page()
        if parts.spooling is not None and not self._closed and interpreter_exit.threads_may_run():
            parts.spooling.recover(parts.engine.directory.open)
            if parts.spooling.recovered:
                parts.engine.ensure_threads()

    def _choose_put(self) -> None:
        """Choose how put_record works: in full, or without what most producers do not use."""
        spooling = self._spooling
        self._waits_for_disk = spooling is not None and self.config.spool_sync_ms == 0
        self._puts_in_full = (
            self._tracing is not None or self._waits_for_disk or (spooling is not None and spooling.refusal is not None)
        )

    def _start(self) -> bool:
        """Start the parts, with the first record. False: the interpreter's exit has begun, so no thread can start."""
        if not interpreter_exit.keep(self):
            return False
        self._parts.start()
        return True

    def _end_extras(self, timeout: float) -> None:
        """End what the engine does not end. timeout: seconds."""
        self._parts.end(timeout)
        interpreter_exit.forget(self)

    # --- connecting ---

    def connect(self, stream: str, timeout: float = 5.0) -> None:
        """Check that the stream can be reached, and load its shard map, before the first put.

        The call makes the client, lists the shards and reads the RecordDistributionStrategy. So the first records do
        not wait for these steps. No thread is left when the call returns: the process may fork or be snapshotted then.

        stream: name or ARN. For a delivery stream the call is DescribeDeliveryStream. timeout: seconds, above 0.

        Raises the error that a put would get:

        - SetupError (no region, no credentials, or an endpoint that is not Kinesis) and RejectedError (no such stream):
          after a grace of five seconds, as for a put, or at the timeout if that is earlier.
        - RecordExpiredError: the timeout ended, and no other cause is known.
        - KplpyError: the call was made in a callback, or in a signal handler or a `__del__` that interrupted kplpy.

        A missing permission to list shards is no error, because puts work without a listing. A missing permission to
        write shows only with the first record.
        """
        if self._backpressure.must_not_wait():
            raise KplpyError("connect() called within kplpy's own work would wait for itself")
        if timeout is None or (isinstance(timeout, (int, float)) and not timeout > 0):
            raise ValueError(f"timeout must be above 0 seconds, got {timeout!r}")
        _check_timeout(timeout)
        self._engine.connect(self._open(stream), timeout)

    async def aconnect(self, stream: str, timeout: float = 5.0) -> None:
        """Do what connect() does, without blocking the event loop."""
        running_loop("aconnect", "producer.connect, stream, timeout")
        await asyncio.to_thread(self.connect, stream, timeout)

    # --- putting ---

    def put_record(
        self,
        stream: str,
        data: BytesLike | Any,
        partition_key: str | Any | None = None,
        *,
        explicit_hash_key: str | SupportsIndex | None = None,
        headers: Headers | None = None,
    ) -> RecordFuture:
        """Accept one record and return its future. The call does not wait until the record is sent.

        stream: name or ARN. Both lead to one stream once the service has reported the name's ARN (docs/design.md). Or
        the ARN of a delivery stream of Firehose, which sends no key and takes no headers (docs/firehose.md).

        data: any bytes-like object, copied unless its type is bytes. With a value_serializer, what it takes. The data
        and the key in UTF-8 together have at most max_user_record_size bytes.

        partition_key: 1 to 256 characters; with a key_serializer, what it takes. None: kplpy chooses a shard with
        headroom, and a key of 32 characters.

        explicit_hash_key: an integer of any type from 0 to 2**128-1, or its decimal digits. It chooses the shard
        instead of the key's MD5.

        headers: names to values, str to str or None; copied. At most 256, with names that are not empty. A record with
        headers is sent in an aggregate also when it is alone. This Kinesis record then has at most max_user_record_size
        bytes. None or an empty mapping: no headers. See docs/headers.md.

        Raises:

        - InvalidRecordError: an argument is wrong, or a serializer raised; the error's __cause__ is the serializer's.
        - ProducerClosedError: the producer is closed.
        - BufferFullError: the buffer has no space. It is raised at once inside a running event loop or with
          on_buffer_full="raise", otherwise after max_block_ms.
        - SpoolError, SpoolFullError: as spool_on_error and spool_on_full say.

        With spool_sync_ms=0 the call returns once the record is on disk, except in a callback, a signal handler and a
        `__del__`.
        """
        if headers is not None or self._puts_in_full:
            return self._put_in_full(stream, data, partition_key, explicit_hash_key, headers)
        if not self._usable_page[0]:
            self._check_usable()
        try:
            target = self._streams[stream]
        except (KeyError, TypeError):
            target = self._open(stream)
        record = target.check(target.origin, data, partition_key, explicit_hash_key)
        size = len(record.data) + len(record.partition_key) + RECORD_OVERHEAD
        staging = target.staging
        count = len(staging)
        if target.staged_bytes + size > target.credit or count > target.credit_records:
            self._backpressure.stage_or_wait(target, record)
        else:
            target.staged_bytes += size  # CPython with a GIL switches threads at calls and loops: no update is lost
            staging.append(record)
            if not target.wake_requested and (
                record.arrival + target.linger < target.wake_at
                or count >= STAGED_RECORDS
                or target.staged_bytes >= STAGED_BYTES
            ):  # as Engine.wake_if_due does
                self._engine.request_wake(target)
        if self._closed:
            self._refuse_late(target, record)
        return record

    def _put_in_full(
        self,
        stream: str,
        data: BytesLike | Any,
        partition_key: str | Any | None,
        explicit_hash_key: str | SupportsIndex | None,
        headers: Headers | None,
    ) -> RecordFuture:
        target = self._open(stream)
        self._check_spool()
        with self._span(stream, headers) as span:
            record = target.checks.serialized_record_with_headers(
                target.origin, data, partition_key, explicit_hash_key, span.headers_of(headers)
            )
            self._stage(target, record)
        span.follow((record,))
        if self._waits_for_disk and self._spooling is not None and not self._backpressure.must_not_wait():
            self._spooling.wait_put(record)
        return record

    def _check_spool(self) -> None:
        """Raise SpoolError or SpoolFullError if the spool takes no records."""
        if self._spooling is not None:
            self._spooling.check()

    def _stage(self, target: Stream, record: RecordFuture) -> None:
        """Stage a checked record as put_record does, and raise as it does."""
        self._backpressure.stage(target, record)
        if self._closed:
            self._refuse_late(target, record)

    def _span(self, stream: str, headers: Headers | None) -> PutSpan:
        """Start the span of one record, if puts are traced."""
        return NO_SPAN if self._tracing is None else self._tracing.record(stream, headers)

    def _batch_span(self, stream: str) -> PutSpan:
        """Start the span of a put_records, if puts are traced."""
        return NO_SPAN if self._tracing is None else self._tracing.batch(stream)

    def put_records(self, stream: str, items: Iterable[PutItem]) -> list[RecordFuture]:
        """Accept many records of one stream, and return their futures in the same order.

        The call costs less than one put_record for each record.

        items: each is (data, partition_key), (data, partition_key, explicit_hash_key), (data, partition_key,
        explicit_hash_key, headers) or a UserRecord.

        A list, or another object with a length, is checked as a whole before any record is accepted. If the buffer
        space runs out part-way, the futures of the remaining records fail with BufferFullError.

        An iterator is read in parts of 500 items or 1 MiB. Each part is checked, then accepted, before the next part is
        read. So little is read ahead while the buffer is full. If an item or the iterator raises, the parts before stay
        accepted. If the buffer space runs out, the rest of the part fails, and no more is read. An iterator may have
        up to 1,000,000 items, because their futures take memory; one more raises KplpyError. For an endless iterator,
        call put_record for each item.

        Raises as put_record does, except that records without buffer space get BufferFullError in their futures.
        """
        with self._batch_span(stream) as span:
            futures = self._put_records(stream, span.items_of(items))
        span.follow(futures)
        return futures

    def _put_records(self, stream: str, items: Iterable[PutItem]) -> list[RecordFuture]:
        target = self._open(stream)
        self._check_spool()
        if isinstance(items, Sized):
            futures, size = target.checks.records(target.origin, target.checks.serialized_items(items))
            self._put_all(target, futures, size)
            return futures
        futures = []
        for part in parts_of(target.checks.serialized_items(items)):
            target = self._open(stream)  # raises if the producer was closed meanwhile
            self._check_spool()
            records, size = target.checks.records(target.origin, part, len(futures))
            futures += records
            if not self._put_all(target, records, size):
                break
        return futures

    def _put_rows(self, stream: str, rows: Rows) -> tuple[list[RecordFuture], dict[int, InvalidRecordError]]:
        """Accept records given as columns. Return the futures of the valid ones, and the errors of the others by row.

        For tables. A record without buffer space waits up to max_block_ms, whatever on_buffer_full is. After that the
        futures of the remaining records fail with BufferFullError. KplpyError within kplpy's own work, as for flush.
        """
        if self._backpressure.must_not_wait():
            raise KplpyError("a table put within kplpy's own work would wait for itself")
        target = self._open(stream)
        with self._batch_span(stream) as span:
            headers_of = None if span is NO_SPAN else span.headers_of
            records, size, errors = target.checks.rows(target.origin, rows, headers_of)
            self._put_all(target, records, size, always_waits=True)
        span.follow(records)
        return records, errors

    def _put_all(self, target: Stream, records: list[RecordFuture], size: int, *, always_waits: bool = False) -> bool:
        """Stage checked records. False: the buffer had no space for all, and the futures of the rest have failed."""
        if not records:
            return True
        accepted = self._stage_on_credit(target, records, size) or self._backpressure.stage_all(
            target, records, always_waits
        )
        self._refuse_all_late(target, records)
        if self._waits_for_disk and self._spooling is not None and not self._backpressure.must_not_wait():
            self._spooling.wait_written(records)
        return accepted

    def _stage_on_credit(self, target: Stream, records: list[RecordFuture], size: int) -> bool:
        """Stage all records at once if the stream's credit allows it. False: none is staged."""
        charge, count = size + len(records) * RECORD_OVERHEAD, len(target.staging) + len(records)
        if target.staged_bytes + charge > target.credit or count > target.credit_records:
            return False
        target.staged_bytes += charge
        target.staging.extend(records)
        self._engine.wake_if_due(target, records[0].arrival)
        return True

    def _refuse_all_late(self, target: Stream, records: list[RecordFuture]) -> None:
        """Fail those of the records that were staged after the engine stopped."""
        if self._closed:
            late = self._engine.take_late(target, records)
            self._engine.fail_unaccepted(
                late, ProducerClosedError("the producer was closed while the records were put")
            )

    async def aput_records(self, stream: str, items: Iterable[PutItem]) -> list[RecordFuture]:
        """Do what put_records does, without blocking the event loop.

        A record without buffer space waits up to max_block_ms, whatever on_buffer_full is. If the task is cancelled,
        the records that were accepted until then stay accepted.
        """
        running_loop("aput_records", "producer.put_records, stream, items")
        with self._batch_span(stream) as span:
            futures = await self._aput_records(stream, span.items_of(items))
        span.follow(futures)
        return futures

    async def _aput_records(self, stream: str, items: Iterable[PutItem]) -> list[RecordFuture]:
        target = self._open(stream)
        self._check_spool()
        futures: list[RecordFuture] = []
        at_once, total = isinstance(items, Sized), 0
        for part in parts_of(target.checks.serialized_items(items), limited=not at_once):
            target = self._open(stream)
            self._check_spool()
            records, size = target.checks.records(target.origin, part, len(futures))
            futures += records
            total += size
            if not at_once and not await self._aput_all(target, records, size):
                break
            await asyncio.sleep(0)  # lets other tasks run
        if at_once:
            await self._aput_all(target, futures, total)
        return futures

    async def _aput_all(self, target: Stream, records: list[RecordFuture], size: int) -> bool:
        """Do what _put_all does, without blocking the event loop."""
        if not records:
            return True
        accepted = self._stage_on_credit(target, records, size) or await self._backpressure.stage_all_async(
            target, records
        )
        self._refuse_all_late(target, records)
        if self._waits_for_disk and self._spooling is not None:
            await self._spooling.wait_written_async(records)
        return accepted

    async def aput_record(
        self,
        stream: str,
        data: BytesLike | Any,
        partition_key: str | Any | None = None,
        *,
        explicit_hash_key: str | SupportsIndex | None = None,
        headers: Headers | None = None,
    ) -> RecordFuture:
        """Do what put_record does, without blocking the event loop.

        A record without buffer space waits up to max_block_ms, whatever on_buffer_full is.
        """
        running_loop("aput_record", "producer.put_record, stream, data, partition_key")
        with self._span(stream, headers) as span:
            target = self._open(stream)
            self._check_spool()
            record = target.checks.serialized_record_with_headers(
                target.origin, data, partition_key, explicit_hash_key, span.headers_of(headers)
            )
            waiter = self._backpressure.stage_or_enqueue(target, record)
            if waiter is not None:
                try:
                    await waiter.woken
                except BaseException:  # the task was cancelled, or the loop was closed
                    self._backpressure.withdraw(waiter)
                    raise
                self._backpressure.finish_wait(waiter)
            if self._closed:
                self._refuse_late(target, record)
        span.follow((record,))
        if self._waits_for_disk and self._spooling is not None:
            await self._spooling.wait_put_async(record)
        return record

    def _refuse_late(self, target: Stream, record: RecordFuture) -> None:
        """Raise if the record was staged after the engine stopped."""
        if self._engine.take_late(target, (record,)):
            raise ProducerClosedError("the producer was closed while the record was put")

    def _check_usable(self) -> None:
        """Notice a fork, then raise ProducerClosedError if the producer is closed.

        During a close, callbacks may still put, because a dead letter is a record like any other.
        """
        fork.check()  # makes new parts in a child of a fork that skipped Python's hooks
        if not self._closed:
            return
        if self._engine.stopping or not is_kplpy_thread():
            raise ProducerClosedError("the producer is closed")

    def _open(self, stream: str) -> Stream:
        """Return the Stream of this name or ARN. It is made on its first put."""
        if not self._usable_page[0]:
            self._check_usable()
        if isinstance(stream, str) and stream in self._streams:
            return self._streams[stream]
        with self._backpressure.never_blocking():
            return self._engine.directory.open(stream)

    def _put_serialized(
        self,
        stream: str,
        data: bytes,
        partition_key: str | None = None,
        *,
        explicit_hash_key: str | SupportsIndex | None = None,
        headers: Headers | None = None,
    ) -> RecordFuture:
        """Do what put_record does, without serializers and spans. Raises BufferFullError instead of waiting.

        For log records and dead letters.
        """
        with self._backpressure.never_blocking():
            target = self._open(stream)
            self._check_spool()
            record = target.checks.record_with_headers(target.origin, data, partition_key, explicit_hash_key, headers)
            self._stage(target, record)
            return record

    # --- waiting ---

    def flush(self, stream: str | None = None, timeout: float | None = None) -> None:
        """Send all records accepted before this call now, and wait until each has an outcome.

        stream: name or ARN; None: all streams. timeout: seconds, 0 or more; None: no limit.

        Raises:

        - FlushTimeoutError: the timeout ended. The error has the number of records that are left; the producer keeps
          trying to deliver them.
        - KplpyError: the call was made in a callback, or in a signal handler or a `__del__` that interrupted kplpy.
        """
        if self._backpressure.must_not_wait():
            raise KplpyError("flush() called within kplpy's own work would wait for itself")
        _check_timeout(timeout)
        self._shutdown.flush(self._select_streams(stream), timeout)

    async def aflush(self, stream: str | None = None, timeout: float | None = None) -> None:
        """Do what flush() does, without blocking the event loop."""
        _check_timeout(timeout)
        loop = running_loop("aflush", "producer.flush, stream, timeout")
        done = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:
                pass  # the loop was closed, so no task waits there

        flush_wait = FlushWait(self._engine, self._select_streams(stream), wake)
        try:
            if not flush_wait.ended:
                await asyncio.wait_for(done.wait(), timeout)
        except asyncio.TimeoutError:
            pass
        finally:
            flush_wait.cancel()
        flush_wait.finish(timeout)

    def _select_streams(self, stream: str | None) -> list[Stream]:
        """Return the Streams that hold records of this name or ARN. None: all Streams."""
        if not self._usable_page[0]:
            fork.check()
        if stream is None:
            return list(self._engine.streams.values())
        if not isinstance(stream, str):
            raise TypeError(f"stream must be a stream's name or ARN, or None for all, got {stream!r}")
        with self._backpressure.never_blocking():
            return self._engine.directory.all_of(stream)

    def close(self) -> None:
        """Deliver the accepted records for at most close_timeout_ms, fail the rest, and stop.

        From the call on, put_record raises ProducerClosedError. Callbacks and on_failure may put until the close has
        ended, and their records are delivered too. A second close() returns when the first one has ended.

        When the call returns, the producer's threads have ended. Exceptions are threads in a request without a
        response, in a callback that does not return, or in a metrics sink that does not return.

        In a callback, and in a signal handler or a `__del__` that interrupted kplpy, the call returns at once. The
        close then happens on another thread, or when the interrupted work is done.
        """
        fork.check()
        self._closed = self._close_requested = True
        self._usable_page = _UNUSABLE_PAGE
        self._shutdown.close()

    # --- what interpreter_exit calls ---

    def _begin_exit(self) -> None:
        """Make all that was accepted due, without waiting for it."""
        FlushWait(self._engine, self._select_streams(None), lambda: None)

    def _exit(self, began: float) -> None:
        """Deliver as close() does, then open again, because functions that run later at the exit may put.

        began: when the exit began, in time.monotonic() seconds.
        """
        self._closed = True
        self._usable_page = _UNUSABLE_PAGE
        self._shutdown.end(began)
        if not self._close_requested:
            self._closed = False
            self._make_parts()

    def _renew_in_child(self) -> None:
        """Replace the parts in a forked child."""
        self._parts.abandon()
        self._make_parts()

    async def aclose(self) -> None:
        """Do what close() does, without blocking the event loop."""
        running_loop("aclose", "producer.close")
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Producer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- looking ---

    @property
    def recovered(self) -> int:
        """The number of records that earlier processes left in the spool, and that this producer took over."""
        return 0 if self._spooling is None else self._spooling.recovered

    @property
    def outstanding_records(self) -> int:
        """The number of accepted records without an outcome."""
        return self._engine.status.outstanding_records

    @property
    def outstanding_bytes(self) -> int:
        """The bytes charged for these records: data, partition key, headers and 400 bytes for each."""
        return self._engine.status.outstanding_bytes

    def health(self) -> Health:
        """Return the producer's current state, for health and readiness checks (see docs/recipes.md).

        Any thread may call it. It sends nothing and starts no thread. In a callback, a signal handler or a `__del__`,
        oldest_age_ms covers only the streams that no thread is working on at that moment.
        """
        if not self._usable_page[0]:
            fork.check()
        oldest, now = self._oldest(), time.monotonic()
        last_error, last_error_age_ms, throttled = self._engine.recent_errors.latest(now)
        return Health(
            is_open=not self._closed,
            outstanding_records=self.outstanding_records,
            outstanding_bytes=self.outstanding_bytes,
            oldest_age_ms=max(0.0, now - oldest) * 1000,
            last_error=last_error,
            last_error_age_ms=last_error_age_ms,
            throttled=throttled,
        )

    def _oldest(self) -> float:
        """Return when the oldest outstanding record arrived, in time.monotonic() seconds; infinity: unknown or none."""
        if self._backpressure.is_interrupted():
            return float("inf")  # another thread may wait for a lock that the interrupted section holds
        with self._backpressure.never_blocking():  # because kplpy's threads wait for the streams' locks
            return self._engine.oldest()

    def metrics(self, window: int | None = None) -> Metrics:
        """Return the totals of each stream so far, and the samples of the metrics.

        window: the samples of the last 1 to 60 whole seconds, without the current second; None: all samples so far.
        With metrics_level="none" there are no samples. docs/metrics.md lists the metrics.

        Raises TypeError if the window is not an integer, ValueError if it is out of range.
        """
        if window is not None and (isinstance(window, bool) or not isinstance(window, int)):
            raise TypeError(f"window must be a whole number of seconds or None, got {window!r}")
        if window is not None and not 1 <= window <= KEPT_SECONDS:
            raise ValueError(f"window must be from 1 to {KEPT_SECONDS} seconds or None, got {window!r}")
        with self._backpressure.never_blocking():  # because other threads wait for the directory's lock
            keys = self._engine.directory.keys()
        totals: dict[str, StreamTotals] = {}
        for stream in list(self._engine.streams.values()):
            key = (stream.merged_into or stream).origin.stream
            counts = replace(stream.pipeline.totals)
            totals[key] = totals[key] + counts if key in totals else counts
        wall = time.time()
        recorder = self._parts.recorder
        if recorder is None:
            return Metrics(totals, Window(wall, wall, ()), keys)
        registry = recorder.registry
        with self._backpressure.never_blocking():  # because other threads wait for the registry's lock
            samples = registry.total(wall) if window is None else registry.window(window, time.monotonic(), wall)
        return Metrics(totals, samples, keys)

    def _hand_over_metrics(self, timeout: float) -> None:
        """Hand the current window to the metrics sink before it ends. timeout: seconds that the sink may take."""
        if self._parts.reporter is not None:
            self._parts.reporter.hand_over(timeout)

    def _snapshot(self) -> dict[str, Any]:
        """Return the figures that `kplpy top` and `kplpy put` show."""
        config = self.config
        granularity = None if config.metrics_level == "none" else config.metrics_granularity
        counts = snapshot(self._engine.status.gauges(), self.metrics(SECONDS).window, granularity, time.monotonic())
        bounds = {"max_buffered_records": config.max_buffered_records, "max_buffered_bytes": config.max_buffered_bytes}
        return {**counts, **bounds}

    def hot_keys(self, limit: int | None = 10) -> dict[str, HotKeys]:
        """Return the partition keys with most records, and with most bytes, for each stream.

        limit: how many keys of each kind, 1 or more; None: all counted keys, up to twice hot_partition_keys.

        Raises:

        - ConfigError: the Config field hot_partition_keys is 0.
        - ValueError: the limit is wrong.
        - KplpyError: the call was made in a signal handler or a `__del__` that interrupted kplpy.
        """
        if not self.config.hot_partition_keys:
            raise ConfigError("hot_keys() needs the Config field hot_partition_keys, which is 0: keys are not counted")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ValueError(f"limit must be a whole number of at least 1, or None; got {limit!r}")
        if not self._usable_page[0]:
            fork.check()
        if self._backpressure.is_interrupted():
            raise KplpyError("hot_keys() called within kplpy's own work would wait for itself")
        return self._engine.run_on_scheduler(lambda: self._engine.status.hot_keys(limit))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config,)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.outstanding_records} records outstanding"
        names = sorted(key for key, each in self._engine.streams.items() if each.merged_into is None)
        more = f" and {len(names) - 5} more streams" if len(names) > 5 else ""
        return f"<Producer {', '.join(names[:5]) or 'no streams yet'}{more}: {state}>"


def _check_timeout(timeout: float | None) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, got {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"timeout must be 0 seconds or more, or None; got {timeout!r}")


def _with_fields() -> inspect.Signature:
    """Return the signature of Producer.__init__ with all Config fields, for notebooks and other tools."""
    own = list(inspect.signature(Producer.__init__).parameters.values())[:2]
    return inspect.Signature([*own, *inspect.signature(Config).parameters.values()])


Producer.__init__.__signature__ = _with_fields()  # type: ignore[attr-defined]

if native is not None:
    native.register_producer(Producer, accelerator.signature_of(Producer.put_record))
