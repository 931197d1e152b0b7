"""One producer's streams and threads: records staged, streams visited in time, flushed, mended, given up.

Putting threads, the scheduler and senders all take staged records into a stream's core and plan what comes next
(planning.py), under the stream's lock. A stream that has something to send is `ready`, and stays so until a sender has
looked at it. Senders do all I/O (sending.py); answers are given, and callbacks run, on the sender that got them
(answering.py).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from kplpy import outliving
from kplpy.core.hot_keys import KeyCounts
from kplpy.core.item import Failed, Reason
from kplpy.core.pipeline import Pipeline
from kplpy.core.policy import Policy
from kplpy.errors import RecordFailedError
from kplpy.future import RecordFuture, answer, future_locks
from kplpy.runtime import lifecycle, midst
from kplpy.runtime.admission import Room
from kplpy.runtime.answering import Answering
from kplpy.runtime.connecting import Connection, Learnt
from kplpy.runtime.crew import NEVER, Crew, lend_thread
from kplpy.runtime.directory import Directory
from kplpy.runtime.mending import mend, unanswered
from kplpy.runtime.metering import Meter, NoMeter
from kplpy.runtime.overview import Overview
from kplpy.runtime.planning import CARE_INTERVAL, Planning
from kplpy.runtime.sending import Sending, Transport
from kplpy.runtime.stream import Flush, Stream
from kplpy.runtime.troubles import Troubles


class Engine:
    """Everything of a producer that runs. Nothing does before the first record is staged.

    `on_start` is called then, and says whether threads may be started. Where they may not, or cannot be, `deliver_here`
    is called after each put, and sends on the putting thread.
    """

    def __init__(
        self,
        policy: Policy,
        transport: Transport,
        room: Room,
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
        self._room = room
        self._on_start = on_start
        self._deliver_here = deliver_here
        self._hot_partition_keys = hot_partition_keys
        self._random = random.Random()
        self._meter = meter or NoMeter()
        self.troubles = Troubles()
        self._crew = Crew(self, max_senders)
        self._answering = Answering(room, on_failure, self._meter, self.troubles, self._remind)
        self._started = False
        self._ended = False  # all that was held back is logged
        self.directory = Directory(self._new_stream)
        self.streams = self.directory.streams
        self.overview = Overview(self.streams, room)
        self._planning = Planning(policy, room, self._crew)
        self.sending = Sending(
            self.streams,
            self.directory.learnt,
            transport,
            self._planning,
            self._answering,
            self._crew.errors,
            self.troubles,
            max_senders,
            max_inflight_bytes,
        )

    # --- streams and records ---

    def _new_stream(self, name: str, arn: str | None) -> Stream:
        counters = self._hot_partition_keys
        key_counts = KeyCounts(counters, time.monotonic()) if counters else None
        return Stream(name, arn, self._new_pipeline(), self._crew.ring, key_counts)

    def _new_pipeline(self) -> Pipeline:
        pipeline = Pipeline(self._policy, self._random.random)
        pipeline.await_client()
        return pipeline

    def staged(self, stream: Stream, arrival: float) -> None:
        """A record of this arrival was staged: see that somebody looks before it is due."""
        if arrival + self._policy.linger < stream.wake_at and not stream.nudged:
            self.nudge(stream)

    def nudge(self, stream: Stream) -> None:
        """A record was staged that is due before the scheduler means to look, which starts with the first of them."""
        try:
            stream.nudged = True
            if not self._crew.alive and not self.ensure_threads():
                self._deliver_here()
            else:
                self._crew.ring()
        except BaseException:  # else Ctrl-C here would have the next puts believe that the scheduler comes
            stream.nudged = False
            raise

    def _begin(self) -> bool:
        with self._crew.lock:
            if not self._started and not self.stopping:
                if not self._on_start() or not self._crew.begin():
                    return False
                self._started = True
        return True

    def interrupted(self) -> bool:
        """Did a signal handler or a __del__ strike the calling thread in the midst of what others wait for?"""
        return self._owns_a_lock() or midst.is_below()

    def _owns_a_lock(self) -> bool:
        locks = (self._crew.lock, self.directory.lock, self._crew.errors.lock, self._room.lock, *self._meter.locks)
        return any(lock._is_owned() for lock in (*locks, *future_locks(), *self._answering.locks))

    def drain(self, stream: Stream) -> None:
        """Take staged records into the core, unless another thread is at it (then that one does)."""
        # Not acquire(blocking=False): Ctrl-C right after it would leave the lock held for ever; `with` is safe. But a
        # __del__ on a thread that owns a lock must not wait for this one: who has it may wait for that.
        if stream.lock.locked() or stream.broken is not None or self._owns_a_lock():
            return
        with stream.lock:
            try:
                now = time.monotonic()
                self._planning.drain(stream, now)
                self._planning.plan(stream, now)
            except BaseException as error:
                stream.breaks(error)
                if not isinstance(error, Exception):
                    raise
                self._crew.errors.say(f"{type(error).__name__}: {error}", error)

    def connect(self, stream: Stream, timeout: float) -> None:
        """Learn what the stream's first record would wait for; raises the error that it would meet."""

        def take(learnt: Learnt) -> None:
            if learnt.summary.arn is not None:
                self.directory.learnt(stream, learnt.summary.arn)
            self._mend_now(stream)
            with stream.lock, stream.guard:
                now = time.monotonic()
                stream.pipeline.connected(learnt.shards, learnt.summary, learnt.asked_at, now)
                self._planning.plan(stream, now)

        note = partial(self.troubles.note, stream.name)
        connection = Connection(self._transport, stream.name, stream.arn, take, note, timeout)
        connection.run(lifecycle.threads_may_run())

    def oldest(self) -> float:
        """When the oldest record without an answer arrived; infinite without any.

        Not of a stream whose lock is taken, where the calling thread may itself be the one that has it.
        """
        if self._owns_a_lock():
            return NEVER
        below = midst.is_below()
        return self.overview.oldest(lambda stream: below and stream.lock.locked())

    def press(self) -> None:
        """Room ran out: have the scheduler look at every stream for what waits only for company."""
        for stream in list(self.streams.values()):
            stream.pressed = True
            self.nudge(stream)

    def begin_flush(self, stream: Stream, notify: Callable[[], object]) -> Flush | None:
        """Make all that is accepted due now; `notify` is called when it is answered. None: nothing is outstanding."""
        try:
            return self._begin_flush(stream, notify)
        except Exception as error:
            self.clear_up(error)
            self._crew.errors.say(f"{type(error).__name__}: {error}", error)
            return self._begin_flush(stream, notify)  # of what was mended
        except BaseException as error:
            self.clear_up(error)
            raise

    def _begin_flush(self, stream: Stream, notify: Callable[[], object]) -> Flush | None:
        self._mend_now(stream)
        with stream.lock, stream.guard:
            now = time.monotonic()
            self._planning.drain(stream, now)
            flush = Flush(stream.pipeline.flush(now), notify)
            if not stream.pipeline.unflushed(flush.mark):
                return None
            stream.flushes.append(flush)
            self._planning.plan(stream, now)
        return flush

    def refuse(self, futures: Sequence[RecordFuture], error: Exception) -> None:
        """These were not accepted after all: their futures raise the error."""
        refusal = Failed(Reason.REFUSED, str(error), error, type(error).__name__)
        self._answering.run_callbacks(answer(futures, refusal, self._answering.unseen))

    def too_late(self, stream: Stream) -> None:
        """A record was staged while the producer was being closed: nobody would look at it any more."""
        if self.stopping:
            self._give_up(stream, "the producer was closed while the record was put")
            if self._ended:
                self._answering.close()

    # --- the scheduler's work ---

    def _remind(self, seconds: float) -> None:
        """Have visit_due called, and with it what was not logged yet looked at, in so many seconds."""
        self._crew.wake_by(time.monotonic() + seconds)

    def visit_due(self) -> float:
        now = time.monotonic()
        earliest = NEVER
        struck: BaseException | None = None
        for stream in list(self.streams.values()):
            if stream.nudged or stream.visit_at <= now:
                stream.nudged = False  # before the drain, which then sees what was staged before
                try:
                    self._visit(stream)
                except BaseException as error:  # the other streams go on
                    struck = error
            earliest = min(earliest, stream.visit_at)
        earliest = min(earliest, time.monotonic() + self._answering.report())
        if struck is not None:
            raise struck
        return earliest

    def _visit(self, stream: Stream) -> None:
        self._mend_now(stream)
        with stream.lock, stream.guard:
            now = time.monotonic()
            self._planning.drain(stream, now)
            stream.pipeline.tick(now)
            if stream.ready:
                self._crew.call_sender()  # should the one that was called have died, or not been there to be called
            self._planning.plan(stream, now)
            results = stream.take_results()
        self._meter.awake()
        self._answering.finish(stream, results)

    def _mend_now(self, stream: Stream) -> None:
        if stream.broken is None:
            return
        with stream.lock, stream.guard:
            if stream.is_broken():  # else another thread was faster
                mend(stream, self._new_pipeline(), self._room, time.monotonic())
                stream.ready = False
            results = stream.take_left()
        self._answering.finish(stream, results)

    def clear_up(self, error: BaseException) -> None:
        """The error struck the calling thread wherever it was in its work: leave nothing in its hands."""
        me = threading.get_ident()
        self.sending.let_go(me)
        for stream in list(self.streams.values()):
            stream.let_go(me, error)
        self._crew.ring()

    # --- the end ---

    @property
    def stopping(self) -> bool:
        return self._crew.stopping

    def ensure_threads(self) -> bool:
        """Is there a thread of ours to get things done, or can one be started?"""
        return self._begin() and self._crew.begin()

    def run_inline(self, until: float, done: Callable[[], bool]) -> None:
        """Do scheduler's and senders' work on this thread: none could be started."""
        with lend_thread():
            while not done() and time.monotonic() < until:
                try:
                    for stream in list(self.streams.values()):
                        self._visit(stream)
                    if self.sending.send_one():
                        continue
                    wake_at = min((stream.visit_at for stream in list(self.streams.values())), default=NEVER)
                except BaseException as error:
                    self.clear_up(error)
                    if not isinstance(error, Exception):
                        raise
                    self._crew.errors.say(f"{type(error).__name__}: {error}", error)
                    wake_at = time.monotonic() + outliving.REST
                time.sleep(max(0.0, min(wake_at, until, time.monotonic() + CARE_INTERVAL) - time.monotonic()))
        for stream in list(self.streams.values()):  # nobody looks after them from now on: the next put is to nudge
            stream.wake_at = NEVER
            stream.nudged = False

    def give_up(self, message: str) -> int:
        """Fail all that has no answer; returns how many records that were."""
        count = 0
        for stream in list(self.streams.values()):
            try:
                count += self._give_up(stream, message)
            except Exception as error:
                self.clear_up(error)
                self._crew.errors.say(f"{type(error).__name__}: {error}", error)
                left = unanswered(stream)
                self.refuse(left, error)
                count += len(left)
        return count

    def _give_up(self, stream: Stream, message: str) -> int:
        self._mend_now(stream)
        with stream.lock, stream.guard:
            now = time.monotonic()
            self._planning.drain(stream, now)
            failed_before = stream.pipeline.totals.user_records_failed
            stream.pipeline.give_up(Reason.CLOSED, message, now)
            given_up = stream.pipeline.totals.user_records_failed - failed_before
            self._planning.plan(stream, now)
            results = stream.take_results()
        self._answering.finish(stream, results)
        return given_up

    def stop(self) -> None:
        """End the threads. Those without work have ended when this returns; one that is in a request or a callback
        ends with it. All are daemons."""
        self._crew.stop(self._busy)
        for stream in list(self.streams.values()):
            if stream.staging:
                self.too_late(stream)
        self._answering.close()
        self._ended = True
        self._transport.close()

    def _busy(self) -> set[int]:
        """The threads that are in a request, or giving answers."""
        busy: set[int] = set()
        for stream in list(self.streams.values()):
            with stream.lock:
                busy |= stream.senders | {each.owner for each in stream.being_answered}
        return busy

    def abandon(self) -> None:
        """In a forked child: the parent goes on with this; nothing of it is to move here, or to stand in the way."""
        self._crew.abandon()
        self._room.lock = threading.RLock()
        self._meter.abandon()
        for stream in list(self.streams.values()):
            stream.lock = threading.Lock()  # for the rest of a callback that forked
