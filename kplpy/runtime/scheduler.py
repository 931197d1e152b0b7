"""The scheduler's work: visits to streams that are due, and commands from other threads."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from kplpy import concurrency
from kplpy.core.outcome import Reason
from kplpy.core.pipeline import Pipeline
from kplpy.core.policy import Policy
from kplpy.core.results.events import Events
from kplpy.errors import RecordFailedError
from kplpy.futures.record_future import RecordFuture
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.commands import Commands
from kplpy.runtime.connection import Learnt
from kplpy.runtime.delivery import Delivery
from kplpy.runtime.directory import Directory
from kplpy.runtime.meter import Meter
from kplpy.runtime.planner import CARE_INTERVAL, Planner
from kplpy.runtime.recent_errors import RecentErrors
from kplpy.runtime.recovery import recover
from kplpy.runtime.sender import Sender, Transport
from kplpy.runtime.stream import Results, Stream
from kplpy.runtime.threads import NEVER, WorkerThreads, is_lent_thread, lend_thread

if TYPE_CHECKING:
    from kplpy.runtime.spooling import Spooling

T = TypeVar("T")


class Scheduler:
    """Runs on the scheduler thread; on an application thread (`run_inline`) if no thread can be started.

    The scheduler thread runs no application code, so it never blocks in it. Callbacks run on the sender thread that got
    the response, or on the thread "kplpy-callbacks".
    """

    def __init__(
        self,
        transport: Transport,
        buffer: Buffer,
        directory: Directory,
        recent_errors: RecentErrors,
        max_senders: int,
        max_inflight_bytes: int,
        on_failure: Callable[[RecordFailedError], object] | None,
        meter: Meter,
        spooling: Spooling | None = None,
    ) -> None:
        self._buffer = buffer
        self._directory = directory
        self._streams = directory.streams
        self._meter = meter
        self._random = random.Random()
        self.commands = Commands()
        self.threads = WorkerThreads(self, max_senders)
        self.delivery = Delivery(buffer, on_failure, meter, recent_errors, self._wake_in)
        self._planner = Planner(buffer, self.threads)
        self.spooling = spooling
        if spooling is not None:
            spooling.attach(self._planner, self.delivery)
        self.sender = Sender(
            self._streams,
            directory.set_arn,
            transport,
            self._planner,
            self.delivery,
            self.threads.errors,
            recent_errors,
            max_senders,
            max_inflight_bytes,
        )

    def new_pipeline(self, policy: Policy) -> Pipeline:
        """Make a stream's pipeline. It waits until the client is made."""
        pipeline = Pipeline(policy, self._random.random)
        pipeline.await_client()
        return pipeline

    def _wake_in(self, seconds: float) -> None:
        """Have visit_due called in so many seconds, so that it logs what was held back."""
        self.threads.wake_by(time.monotonic() + seconds)

    # --- turns of the scheduler thread ---

    def visit_due(self) -> float:
        """Run the commands, and visit every stream that is due. Return when the next visit is due."""
        self.commands.run()
        now = time.monotonic()
        earliest = NEVER
        for stream in list(self._streams.values()):
            if stream.wake_requested or stream.visit_at <= now:
                stream.wake_requested = False  # cleared before the drain, which then sees every record staged before
                try:
                    self._visit(stream)
                except BaseException as error:  # the other streams must be visited, too
                    stream.mark_broken(error)
                    self._unmark_thread()
                    self.threads.log_error(error)
                    earliest = now + concurrency.REST
            earliest = min(earliest, stream.visit_at)
        return min(earliest, time.monotonic() + self.delivery.report())

    def request_visits(self) -> None:
        """Have every stream visited, because an error ended the calling thread's turn."""
        self._unmark_thread()
        for stream in list(self._streams.values()):
            stream.wake_requested = True
        self.threads.wake()

    def _unmark_thread(self) -> None:
        """Note that the calling thread is in no request or callback. After an error the note may be missing."""
        me = threading.get_ident()
        self.sender.unmark_thread(me)
        self.delivery.busy.discard(me)

    def _visit(self, stream: Stream) -> None:
        """Drain the stream, let its pipeline do what is due, and deliver the results."""
        self._recover(stream)
        with stream.locked_pipeline() as pipeline:
            now = time.monotonic()
            self._drain_and_flush(stream, now)
            pipeline.tick(now)
            if stream.ready:
                self.threads.wake_sender()  # the sender that was woken may have died
            self._planner.plan(stream, now)
            results = stream.take_results()
        self._meter.awake()
        self._complete_elsewhere(stream, results, self.delivery.resolve(stream, results))

    def _complete_elsewhere(self, stream: Stream, results: Results, callbacks: list[RecordFuture]) -> None:
        """Run callbacks and settle the records. Application code runs on the callback thread."""
        if self.delivery.runs_application_code(results, callbacks) and not is_lent_thread():
            self.threads.run_on_callback_thread(lambda: self._complete(stream, results, callbacks))
        elif results.completions:
            self._complete(stream, results, callbacks)

    def _complete(self, stream: Stream, results: Results, callbacks: list[RecordFuture]) -> None:
        try:
            self.delivery.complete(stream, results, callbacks)
        except BaseException as error:
            stream.mark_broken(error)
            raise

    def _recover(self, stream: Stream) -> None:
        """Replace the stream's pipeline if it is broken."""
        if stream.broken is not None:
            failed = recover(stream, self.new_pipeline(stream.pipeline.policy), self._buffer, self.delivery)
            if failed is not None:
                self._complete_elsewhere(stream, *failed)

    def _retry_with_recovery(self, stream: Stream, work: Callable[[], T | None]) -> T | None:
        """Do the work on an unbroken pipeline. If the work raises, recover the stream and do it again.

        Return None if the work failed three times. The work returns None if the stream broke after the recovery.
        """
        for _ in range(3):
            try:
                self._recover(stream)
                done = work()
                if done is not None:
                    return done
            except BaseException as error:
                stream.mark_broken(error)
                if is_lent_thread() and not isinstance(error, Exception):  # Ctrl-C, on an application thread
                    raise
                self.threads.log_error(error)
        return None

    # --- commands of other threads ---

    def begin_flushes(self, stream: Stream) -> None:
        """Make all records staged so far due. Called where no thread will visit the stream."""
        self._retry_with_recovery(stream, partial(self._begin_flushes, stream))

    def _begin_flushes(self, stream: Stream) -> bool | None:
        with stream.locked_pipeline():
            if stream.broken is not None:
                return None
            now = time.monotonic()
            self._drain_and_flush(stream, now)
            self._planner.plan(stream, now)
        return True

    def _drain_and_flush(self, stream: Stream, now: float) -> None:
        """Drain the stream, and begin the flushes that were requested before. Under the stream's lock.

        A flush that is requested meanwhile may be for records that this drain did not see.
        """
        requested = len(stream.requested_flushes)
        self._planner.drain(stream, now)
        if stream.broken is None:  # a broken stream is not drained
            stream.begin_flushes(requested, now)

    def give_up(self, stream: Stream, message: str) -> tuple[Stream, Results, list[RecordFuture]]:
        """Fail the stream's records that have no outcome. Return the results, whose callbacks the caller runs."""
        found = self._retry_with_recovery(stream, partial(self._fail_all, stream, message))
        if found is None:
            found = recover(stream, self.new_pipeline(stream.pipeline.policy), self._buffer, self.delivery)
        return (stream, *found) if found else (stream, Results(stream.pipeline, [], [], Events()), [])

    def _fail_all(self, stream: Stream, message: str) -> tuple[Results, list[RecordFuture]] | None:
        with stream.locked_pipeline() as pipeline:
            if stream.broken is not None:
                return None
            now = time.monotonic()
            self._planner.drain(stream, now)
            pipeline.fail_all(Reason.CLOSED, message, now)
            self._planner.plan(stream, now)
            results = stream.take_results()
        if self.spooling is not None:
            self.spooling.keep(results)
        return results, self.delivery.resolve(stream, results)

    def apply_connection(self, stream: Stream, result: Learnt) -> None:
        """Give the pipeline what connect() got from the service. Runs on the thread of connect()."""
        if result.summary.arn is not None:
            self._directory.set_arn(stream, result.summary.arn)
        with lend_thread():
            self._recover(stream)
            with stream.locked_pipeline() as pipeline:
                now = time.monotonic()
                pipeline.connected(result.shards, result.summary, result.asked_at, now)
                self._planner.plan(stream, now)

    # --- without threads ---

    def run_inline(self, until: float, done: Callable[[], bool]) -> None:
        """Do the scheduler's and the senders' work on the calling thread, because no thread can be started.

        until: by time.monotonic(). done: returns True once the work may end.
        """
        with lend_thread():
            try:
                self._run_inline(until, done)
            finally:
                self._unmark_thread()
        for stream in list(self._streams.values()):  # no thread visits them now, so the next put must request a wake
            stream.wake_at = NEVER
            stream.wake_requested = False

    def _run_inline(self, until: float, done: Callable[[], bool]) -> None:
        while not done() and time.monotonic() < until:
            self.commands.run()
            wake_at = NEVER
            for stream in list(self._streams.values()):
                wake_at = min(wake_at, self._visit_here(stream))
            if self.spooling is not None:
                wake_at = min(wake_at, self.spooling.step_inline())
            if self.sender.send_one():
                continue
            time.sleep(max(0.0, min(wake_at, until, time.monotonic() + CARE_INTERVAL) - time.monotonic()))

    def _visit_here(self, stream: Stream) -> float:
        try:
            self._visit(stream)
        except Exception as error:
            stream.mark_broken(error)
            self.threads.log_error(error)
            return time.monotonic() + concurrency.REST
        except BaseException as error:  # Ctrl-C, on an application thread
            stream.mark_broken(error)
            raise
        return stream.visit_at
