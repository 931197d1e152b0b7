"""One producer's streams and threads: records staged, streams visited in time, flushed, recovered, given up.

Application threads stage records, wake the scheduler, and ask it for work (commands.py). The scheduler and senders take
staged records into a stream's pipeline and plan what comes next (planner.py), under the stream's lock. A stream that
has something to send is `ready`, and stays so until a sender has looked at it. Senders do all I/O (sender.py), and run
the callbacks of the records that they sent (delivery.py). The scheduler runs none, so it always comes back.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from kplpy import concurrency
from kplpy.core.hot_keys import KeyCounts
from kplpy.core.outcome import Failed, Reason
from kplpy.core.pipeline import Pipeline
from kplpy.core.policy import Policy
from kplpy.core.results.events import Events
from kplpy.errors import RecordFailedError
from kplpy.futures.record_future import RecordFuture
from kplpy.process import interpreter_exit
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.commands import Command, Commands
from kplpy.runtime.connection import Connection, Learnt
from kplpy.runtime.delivery import Delivery
from kplpy.runtime.directory import Directory
from kplpy.runtime.meter import Meter, NoMeter
from kplpy.runtime.planner import CARE_INTERVAL, Planner
from kplpy.runtime.recent_errors import RecentErrors
from kplpy.runtime.recovery import recover
from kplpy.runtime.sender import Sender, Transport
from kplpy.runtime.status import Status
from kplpy.runtime.stream import Flush, Results, Stream
from kplpy.runtime.threads import NEVER, WorkerThreads, does_our_work, lend_thread, lent, starting

T = TypeVar("T")

# The scheduler is woken for so many staged records, or as many bytes. Draining 512 at a time costs a twentieth less CPU
# than 256, with 64 streams a tenth.
STAGED_RECORDS = 512
STAGED_BYTES = 256 << 10
LOOK_AGAIN = 1.0
"""Seconds after which a thread that waits for the scheduler looks whether it is alive."""


class Engine:
    """Everything of a producer that runs. Nothing does before the first record is staged.

    `on_start` is called then, and says whether threads may be started. Where they may not, or cannot be, `deliver_here`
    is called after each put, and sends on the putting thread.
    """

    def __init__(
        self,
        policy: Policy,
        transport: Transport,
        buffer: Buffer,
        max_senders: int,
        max_inflight_bytes: int,
        on_failure: Callable[[RecordFailedError], object] | None,
        on_start: Callable[[], bool],
        deliver_here: Callable[[], object],
        hot_partition_keys: int = 0,
        meter: Meter | None = None,
    ) -> None:
        self._policy = policy
        self._transport = transport
        self._buffer = buffer
        self._on_start = on_start
        self._deliver_here = deliver_here
        self._hot_partition_keys = hot_partition_keys
        self._random = random.Random()
        self._meter = meter or NoMeter()
        self.recent_errors = RecentErrors()
        self._commands = Commands()
        self._threads = WorkerThreads(self, max_senders)
        self._delivery = Delivery(buffer, on_failure, self._meter, self.recent_errors, self._remind)
        self._started = False
        self._ended = False  # all that was held back is logged
        self.directory = Directory(self._new_stream)
        self.streams = self.directory.streams
        self.status = Status(self.streams, buffer)
        self._planner = Planner(policy, buffer, self._threads)
        self.sender = Sender(
            self.streams,
            self.directory.learnt,
            transport,
            self._planner,
            self._delivery,
            self._threads.errors,
            self.recent_errors,
            max_senders,
            max_inflight_bytes,
        )

    # --- what application threads do ---

    def _new_stream(self, name: str, arn: str | None) -> Stream:
        counters = self._hot_partition_keys
        key_counts = KeyCounts(counters, time.monotonic()) if counters else None
        made = Stream(name, arn, self._new_pipeline(), self._threads.wake, key_counts)
        self._buffer.renew(made)  # its first credit
        return made

    def _new_pipeline(self) -> Pipeline:
        pipeline = Pipeline(self._policy, self._random.random)
        pipeline.await_client()
        return pipeline

    def connect(self, stream: Stream, timeout: float) -> None:
        """Learn what the stream's first record would wait for; raises the error that it would meet."""

        def take(learnt: Learnt) -> None:
            if learnt.summary.arn is not None:
                self.directory.learnt(stream, learnt.summary.arn)
            with lend_thread():
                self._recover(stream)
                with stream.entered() as pipeline:
                    now = time.monotonic()
                    pipeline.connected(learnt.shards, learnt.summary, learnt.asked_at, now)
                    self._planner.plan(stream, now)

        note = partial(self.recent_errors.note, stream.name)
        connection = Connection(self._transport, stream.name, stream.arn, take, note, timeout)
        connection.run(interpreter_exit.threads_may_run())

    def oldest(self) -> float:
        """When the oldest record without an answer arrived; infinite without any.

        A thread of kplpy's passes over streams whose lock is taken: it may itself be the one that has it.
        """
        skips = does_our_work()
        return self.status.oldest(lambda stream: skips and stream.lock.locked())

    def staged(self, stream: Stream, arrival: float) -> None:
        """A record of this arrival was staged: see that the scheduler comes before it is due, and for a good batch."""
        if not stream.wake_requested and (
            arrival + self._policy.linger < stream.wake_at
            or len(stream.staging) >= STAGED_RECORDS
            or stream.staged_bytes + stream.charged_bytes >= STAGED_BYTES
        ):
            self.request_wake(stream)

    def request_wake(self, stream: Stream) -> None:
        """Have the scheduler visit the stream at once; the first record of all starts the scheduler."""
        try:
            stream.wake_requested = True
            if not self._threads.alive and not self.ensure_threads():
                self._deliver_here()
            else:
                self._threads.wake()
        except BaseException:  # else Ctrl-C here would have the next puts believe that the scheduler comes
            stream.wake_requested = False
            raise

    def request_drain(self) -> None:
        """Room ran out: have the scheduler look at every stream for what waits only for company."""
        for stream in list(self.streams.values()):
            stream.drain_requested = True
            self.request_wake(stream)

    def too_late(self, stream: Stream, records: Iterable[RecordFuture]) -> list[RecordFuture]:
        """Return those of the records that were staged after the engine stopped; they are not staged any more.

        The last look at what is staged comes after `stopping` is set. So either that look or this one sees a record,
        and each record is taken out once.
        """
        late = []
        if self.stopping:
            for record in records:
                try:
                    stream.staging.remove(record)
                    late.append(record)
                except ValueError:
                    pass  # the closing thread answers it
        return late

    def refuse(self, futures: Sequence[RecordFuture], error: Exception) -> None:
        """These were not accepted after all: their futures raise the error."""
        self._delivery.refuse(futures, error)
        if self._ended:
            self._delivery.close()

    def ask(self, work: Callable[[], T]) -> T:
        """Have the scheduler do the work, wait until it has, and return the result or raise the error.

        On a thread that does kplpy's work, or where no thread can be started, the work is done here.
        """
        command = Command(work)
        if does_our_work():
            command.run()
        else:
            self._commands.add(command)
            while not command.done.is_set():
                if not self.stopping and self.ensure_threads():
                    self._threads.wake()
                    command.done.wait(LOOK_AGAIN)
                else:
                    with lend_thread():
                        self._commands.run()
        return command.outcome()

    def begin_flush(self, flushes: Sequence[tuple[Stream, Flush]]) -> None:
        """Have the scheduler make all that was staged so far due, stream by stream; does not wait for it."""
        if not flushes:
            return
        command = Command(lambda: self._begin_flushes(flushes))
        self._commands.add(command)
        if not self.stopping and self.ensure_threads():
            self._threads.wake()
            return
        with lend_thread():
            self._commands.run()
        if command.done.is_set():
            command.outcome()  # raises Ctrl-C

    def give_up(self, message: str) -> int:
        """Fail all that has no answer; returns how many records that were. Their callbacks run on this thread."""
        given_up = self.ask(lambda: [self._give_up(stream, message) for stream in list(self.streams.values())])
        for stream, results, callbacks in given_up:
            try:
                self._delivery.call_back(stream, results, callbacks)
            except Exception as error:
                stream.breaks(error)
                self._threads.raised(error)
        return sum(len(results.items()) for _, results, _ in given_up)

    # --- the scheduler's work ---

    def _remind(self, seconds: float) -> None:
        """Have visit_due called, and with it what was not logged yet looked at, in so many seconds."""
        self._threads.wake_by(time.monotonic() + seconds)

    def visit_due(self) -> float:
        self._commands.run()
        now = time.monotonic()
        earliest = NEVER
        for stream in list(self.streams.values()):
            if stream.wake_requested or stream.visit_at <= now:
                stream.wake_requested = False  # before the drain, which then sees what was staged before
                try:
                    self._visit(stream)
                except BaseException as error:  # the other streams go on
                    stream.breaks(error)
                    self._forget_thread()
                    self._threads.raised(error)
                    earliest = now + concurrency.REST
            earliest = min(earliest, stream.visit_at)
        return min(earliest, time.monotonic() + self._delivery.report())

    def look_at_all(self) -> None:
        """An error ended the calling thread's turn: it is at nothing any more, and no stream is forgotten for that."""
        self._forget_thread()
        for stream in list(self.streams.values()):
            stream.wake_requested = True
        self._threads.wake()

    def _forget_thread(self) -> None:
        """The calling thread is in no request and no callback, though an error may have kept it from noting that."""
        me = threading.get_ident()
        self.sender.forget(me)
        self._delivery.busy.discard(me)

    def _visit(self, stream: Stream) -> None:
        self._recover(stream)
        with stream.entered() as pipeline:
            now = time.monotonic()
            self._planner.drain(stream, now)
            pipeline.tick(now)
            if stream.ready:
                self._threads.call_sender()  # should the one that was called have died, or not been there to be called
            self._planner.plan(stream, now)
            results = stream.take_results()
        self._meter.awake()
        self._settle(stream, results, self._delivery.answer(stream, results))

    def _settle(self, stream: Stream, results: Results, callbacks: list[RecordFuture]) -> None:
        """Run callbacks and settle the records: on another thread, where the application's code is to run."""
        if self._delivery.needs_calls(results, callbacks) and not lent():
            self._threads.call(lambda: self._call_back(stream, results, callbacks))
        elif results.completions:
            self._call_back(stream, results, callbacks)

    def _call_back(self, stream: Stream, results: Results, callbacks: list[RecordFuture]) -> None:
        try:
            self._delivery.call_back(stream, results, callbacks)
        except BaseException as error:
            stream.breaks(error)
            raise

    def _recover(self, stream: Stream) -> None:
        if stream.broken is not None:
            failed = recover(stream, self._new_pipeline(), self._buffer, self._delivery)
            if failed is not None:
                self._settle(stream, *failed)

    def _insist(self, stream: Stream, work: Callable[[], T | None]) -> T | None:
        """Do the work on a whole pipeline; if it raises, recover the stream and do it again. None: it raised each time.

        The work returns None when it finds that another thread broke the stream after the recovery.
        """
        for _ in range(3):
            try:
                self._recover(stream)
                done = work()
                if done is not None:
                    return done
            except BaseException as error:
                stream.breaks(error)
                if lent() and not isinstance(error, Exception):  # Ctrl-C, on an application's thread
                    raise
                self._threads.raised(error)
        return None

    def _begin_flushes(self, flushes: Sequence[tuple[Stream, Flush]]) -> None:
        for stream, flush in flushes:
            if not self._insist(stream, partial(self._begin_flush, stream, flush)):
                flush.end()  # recovery fails all that it would wait for

    def _begin_flush(self, stream: Stream, flush: Flush) -> bool | None:
        with stream.entered() as pipeline:
            if stream.broken is not None:
                return None
            now = time.monotonic()
            self._planner.drain(stream, now)
            flush.mark = pipeline.flush(now)
            flush.found = pipeline.unflushed(flush.mark)
            stream.flushes.append(flush)
            stream.end_flushes()
            self._planner.plan(stream, now)
        return True

    def _give_up(self, stream: Stream, message: str) -> tuple[Stream, Results, list[RecordFuture]]:
        found = self._insist(stream, partial(self._fail_all, stream, message))
        if found is None:
            found = recover(stream, self._new_pipeline(), self._buffer, self._delivery)
        return (stream, *found) if found else (stream, Results(stream.pipeline, [], [], Events()), [])

    def _fail_all(self, stream: Stream, message: str) -> tuple[Results, list[RecordFuture]] | None:
        with stream.entered() as pipeline:
            if stream.broken is not None:
                return None
            now = time.monotonic()
            self._planner.drain(stream, now)
            pipeline.give_up(Reason.CLOSED, message, now)
            self._planner.plan(stream, now)
            results = stream.take_results()
        return results, self._delivery.answer(stream, results)

    # --- the end ---

    @property
    def stopping(self) -> bool:
        return self._threads.stopping

    def ensure_threads(self) -> bool:
        """Return True if a thread of kplpy's runs, or could be started."""
        with starting():
            return self._begin() and self._threads.begin()

    def _begin(self) -> bool:
        with self._threads.lock:
            if not self._started and not self.stopping:
                if not self._on_start() or not self._threads.begin():
                    return False
                self._started = True
        return True

    def run_inline(self, until: float, done: Callable[[], bool]) -> None:
        """Do the scheduler's and the senders' work on this thread: none could be started."""
        with lend_thread():
            try:
                self._run_inline(until, done)
            finally:
                self._forget_thread()
        for stream in list(self.streams.values()):  # nobody looks after them from now on: the next put has to nudge
            stream.wake_at = NEVER
            stream.wake_requested = False

    def _run_inline(self, until: float, done: Callable[[], bool]) -> None:
        while not done() and time.monotonic() < until:
            self._commands.run()
            wake_at = NEVER
            for stream in list(self.streams.values()):
                wake_at = min(wake_at, self._visit_here(stream))
            if self.sender.send_one():
                continue
            time.sleep(max(0.0, min(wake_at, until, time.monotonic() + CARE_INTERVAL) - time.monotonic()))

    def _visit_here(self, stream: Stream) -> float:
        try:
            self._visit(stream)
        except Exception as error:
            stream.breaks(error)
            self._threads.raised(error)
            return time.monotonic() + concurrency.REST
        except BaseException as error:  # Ctrl-C, on an application's thread
            stream.breaks(error)
            raise
        return stream.visit_at

    def stop(self) -> None:
        """End the threads, and fail what was staged too late. Those without work have ended when this returns; one that
        is in a request or a callback ends with it. All are daemons."""
        self._threads.stop(self._busy)
        error = Failed(Reason.CLOSED, "the producer was closed while the record was put")
        for stream in list(self.streams.values()):
            late: list[RecordFuture] = []
            try:
                while True:
                    late.append(stream.staging.popleft())
            except IndexError:  # a put may take its own record out at the same moment
                pass
            self._delivery.fail(late, error)
        self._delivery.close()
        self._ended = True
        self._transport.close()

    def _busy(self) -> set[int]:
        """The threads that are in a request or a callback."""
        senders = (list(stream.senders) for stream in list(self.streams.values()))
        return set(self._delivery.busy).union(*senders)

    def abandon(self) -> None:
        """In a forked child: the parent goes on with this; nothing of it is to move here, or to stand in the way."""
        self._threads.abandon()
        self._buffer.lock = threading.RLock()
        self._meter.abandon()
        for stream in list(self.streams.values()):
            stream.lock = threading.Lock()  # for the rest of a callback that forked
