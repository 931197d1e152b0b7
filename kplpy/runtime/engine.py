"""The engine of one producer: its streams, and what application threads do with them.

Application threads stage records, wake the scheduler, and give the scheduler commands (commands.py). The scheduler
(scheduler.py) and the senders (sender.py) drain staged records into a stream's pipeline and plan its next step
(planner.py), under the stream's lock. A stream with something to send is `ready` until a sender has looked at it.
Senders do all I/O, and deliver the outcomes of the records that they sent (delivery.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from kplpy.concurrency import new_lock, new_rlock
from kplpy.core.hot_keys import KeyCounts
from kplpy.core.outcome import Failed, Reason
from kplpy.core.policy import Policy
from kplpy.errors import RecordFailedError
from kplpy.futures.record_future import RecordFuture
from kplpy.process import interpreter_exit
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.commands import Command
from kplpy.runtime.connection import Connection
from kplpy.runtime.directory import Directory
from kplpy.runtime.meter import Meter, NoMeter
from kplpy.runtime.put_target import STAGED_BYTES, STAGED_RECORDS, move_staged
from kplpy.runtime.recent_errors import RecentErrors
from kplpy.runtime.scheduler import Scheduler
from kplpy.runtime.sender import Transport
from kplpy.runtime.status import Status
from kplpy.runtime.stream import Flush, Results, Stream
from kplpy.runtime.threads import lend_thread, runs_kplpy_work, starting_threads
from kplpy.validation import Checks

if TYPE_CHECKING:
    from kplpy.runtime.spooling import Spooling

T = TypeVar("T")

CHECK_INTERVAL = 1.0
"""Seconds after which a thread that waits for the scheduler checks that the scheduler thread runs."""


class Engine:
    """Called by application threads. No thread runs before the first record is staged.

    policy_of, checks_of: return the Policy and the Checks of a stream's name or ARN; raise InvalidRecordError.
    on_start: called with the first record; returns True if threads may be started.
    deliver_inline: called after a put if no thread can be started; sends on the putting thread.
    """

    def __init__(
        self,
        policy_of: Callable[[str], Policy],
        checks_of: Callable[[str], Checks],
        transport: Transport,
        buffer: Buffer,
        max_senders: int,
        max_inflight_bytes: int,
        on_failure: Callable[[RecordFailedError], object] | None,
        on_start: Callable[[], bool],
        deliver_inline: Callable[[], object],
        hot_partition_keys: int = 0,
        meter: Meter | None = None,
        spooling: Spooling | None = None,
    ) -> None:
        self._policy_of = policy_of
        self._checks_of = checks_of
        self._transport = transport
        self._buffer = buffer
        self._on_start = on_start
        self._deliver_inline = deliver_inline
        self._hot_partition_keys = hot_partition_keys
        self._meter = meter or NoMeter()
        self.recent_errors = RecentErrors()
        self._started = False
        self._ended = False  # everything that was held back is logged
        self.directory = Directory(self._new_stream)
        self.streams = self.directory.streams
        self.status = Status(self.streams, buffer, spooling)
        self.scheduler = Scheduler(
            transport,
            buffer,
            self.directory,
            self.recent_errors,
            max_senders,
            max_inflight_bytes,
            on_failure,
            self._meter,
            spooling,
        )
        self._spooling = spooling
        self._threads = self.scheduler.threads
        self._delivery = self.scheduler.delivery
        self._commands = self.scheduler.commands

    # --- what application threads do ---

    def _new_stream(self, name: str, arn: str | None) -> Stream:
        counters = self._hot_partition_keys
        key_counts = KeyCounts(counters, time.monotonic()) if counters else None
        pipeline = self.scheduler.new_pipeline(self._policy_of(arn or name))
        checks = self._checks_of(arn or name)
        made = Stream(name, arn, pipeline, checks, self._threads.wake, key_counts)
        made.on_due = self.request_wake
        if self._spooling is not None:
            made.spool = self._spooling.add(made)
        self._buffer.renew(made)  # its first credit
        return made

    def connect(self, stream: Stream, timeout: float) -> None:
        """Get what the stream's first record would wait for. Raises the error that the record would get."""
        take = partial(self.scheduler.apply_connection, stream)
        note = partial(self.recent_errors.note, stream.name)
        connection = Connection(self._transport, stream.name, stream.arn, take, note, timeout)
        connection.run(interpreter_exit.threads_may_run())

    def oldest(self) -> float:
        """Return when the oldest record without an outcome arrived, by time.monotonic(); infinity if there is none.

        A thread that does kplpy's work skips streams whose lock is taken, because it may hold that lock itself.
        """
        skips = runs_kplpy_work()
        return self.status.oldest(lambda stream: skips and stream.lock.locked())

    def wake_if_due(self, stream: Stream, arrival: float) -> None:
        """Wake the scheduler if the staged record is due before its next visit, or if enough is staged for a batch."""
        if not stream.wake_requested and (
            arrival + stream.linger < stream.wake_at
            or len(stream.staging) >= STAGED_RECORDS
            or stream.staged_bytes + stream.charged_bytes >= STAGED_BYTES
        ):
            self.request_wake(stream)

    def request_wake(self, stream: Stream) -> None:
        """Have the scheduler visit the stream at once. The producer's first record starts the scheduler."""
        try:
            stream.wake_requested = True
            if not self._threads.is_scheduler_alive and not self.ensure_threads():
                self._deliver_inline()
            else:
                self._threads.wake()
        except BaseException:  # Ctrl-C: the next put must request the wake again
            stream.wake_requested = False
            raise

    def request_drain(self) -> None:
        """Have every stream send its incomplete batches, because the buffer is full."""
        for stream in list(self.streams.values()):
            stream.drain_requested = True
            self.request_wake(stream)

    def take_late(self, stream: Stream, records: Iterable[RecordFuture]) -> list[RecordFuture]:
        """Take out and return those of the records that were staged after the engine stopped.

        The closing thread looks at the staged records after it sets `stopping`. So the closing thread or this call
        takes each record out, once.
        """
        late = []
        if self.stopping:
            for record in records:
                try:
                    stream.staging.remove(record)
                    late.append(record)
                except ValueError:
                    pass  # the closing thread fails the record
        return late

    def fail_unaccepted(self, futures: Sequence[RecordFuture], error: Exception) -> None:
        """Have the futures of records that were not accepted raise the error."""
        self._delivery.refuse(futures, error)
        if self._ended:
            self._delivery.close()

    def run_on_scheduler(self, work: Callable[[], T]) -> T:
        """Have the scheduler do the work, wait for it, and return its result or raise its error.

        On a thread that does kplpy's work, or if no thread can be started, the work is done on the calling thread.
        """
        command = Command(work)
        if runs_kplpy_work():
            command.run()
        else:
            self._commands.add(command)
            while not command.is_done:
                if not self.stopping and self.ensure_threads():
                    self._threads.wake()
                    command.ended.wait(CHECK_INTERVAL)
                else:
                    with lend_thread():
                        self._commands.run()
        return command.outcome()

    def begin_flush(self, flushes: Sequence[tuple[Stream, Flush]]) -> None:
        """Have the scheduler make all records staged so far due, stream by stream. Does not wait for that."""
        if not flushes:
            return
        for stream, flush in flushes:
            stream.request_flush(flush)
        if not self.stopping and self.ensure_threads():
            return
        with lend_thread():
            for stream, _ in flushes:
                self.scheduler.begin_flushes(stream)

    def give_up(self, message: str) -> int:
        """Fail every record without an outcome. Return how many, without those that stay in the spool.

        Their callbacks run on the calling thread.
        """
        if self._spooling is not None:
            self._spooling.stop_reading()
        given_up = self.run_on_scheduler(
            lambda: [self.scheduler.give_up(stream, message) for stream in list(self.streams.values())]
        )
        self._complete(given_up)
        return sum(results.lost() for _, results, _ in given_up)

    def _complete(self, given_up: list[tuple[Stream, Results, list[RecordFuture]]]) -> None:
        for stream, results, callbacks in given_up:
            try:
                self._delivery.complete(stream, results, callbacks)
            except Exception as error:
                stream.mark_broken(error)
                self._threads.log_error(error)

    # --- the end ---

    @property
    def stopping(self) -> bool:
        """True once the producer's threads are being ended."""
        return self._threads.stopping

    def ensure_threads(self) -> bool:
        """Start the scheduler, unless it runs. Return False if no thread can be started."""
        with starting_threads():
            return self._start() and self._threads.start_scheduler()

    def _start(self) -> bool:
        with self._threads.lock:
            if not self._started and not self.stopping:
                if not self._on_start() or not self._threads.start_scheduler():
                    return False
                self._started = True
        return True

    def stop(self) -> None:
        """End the threads, and fail the records that were staged too late.

        Threads without work have ended when this returns. A thread in a request or a callback ends after that request
        or callback. All threads are daemons.
        """
        self._threads.stop(self._busy_threads)
        error = Failed(Reason.CLOSED, "the producer was closed while the record was put")
        for stream in list(self.streams.values()):
            late: list[RecordFuture] = []
            try:
                move_staged(stream.staging, late)
            except IndexError:  # meanwhile a put took its record out
                pass
            self._delivery.fail(late, error)
        if self._spooling is not None:
            self._spooling.stop()
            with lend_thread():  # the spool thread may have handed records over since give_up
                streams = [each for each in list(self.streams.values()) if each.pipeline.outstanding]
                self._complete([self.scheduler.give_up(each, error.message) for each in streams])
            self._spooling.end()
        for stream in list(self.streams.values()):
            with lend_thread(), stream.lock:
                stream.abandon_flushes()
        self._delivery.close()
        self._ended = True
        self._transport.close()

    def _busy_threads(self) -> set[int]:
        """Return the idents of the threads that are in a request or a callback."""
        senders = (list(stream.senders) for stream in list(self.streams.values()))
        return set(self._delivery.busy).union(*senders)

    def abandon(self) -> None:
        """Give up everything in a forked child, because the parent keeps using it."""
        self._threads.abandon()
        self._buffer.lock = new_rlock()
        self._meter.abandon()
        for stream in list(self.streams.values()):
            stream.lock = new_lock()  # new, for the rest of a callback that forked
