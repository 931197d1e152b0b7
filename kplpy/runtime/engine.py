"""What the threads of one producer do: see to each stream in time, send what is due, give the answers.

Putting threads, the scheduler and senders all `drain` staged records into a stream's core and `plan` what comes next,
under the stream's lock. A stream that has something to send is `ready`, and stays so until a sender has looked at it.
Senders do all I/O; answers are given, and callbacks run, on the sender that got them.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import repeat, starmap
from math import ceil
from typing import Protocol

from kplpy import outliving
from kplpy.core.events import Gauges, Standing
from kplpy.core.hot_keys import KeyCounts
from kplpy.core.item import Failed, Reason, payload_size
from kplpy.core.pipeline import Pipeline, Request
from kplpy.core.policy import Policy
from kplpy.core.retry import Exchange, RequestError
from kplpy.errors import RecordFailedError
from kplpy.future import RecordFuture, answer, future_locks
from kplpy.reports import HotKeys
from kplpy.runtime.admission import RECORD_OVERHEAD, Room
from kplpy.runtime.answering import Answering
from kplpy.runtime.crew import NEVER, Crew, lend_thread
from kplpy.runtime.mending import mend, unanswered
from kplpy.runtime.metering import Meter, NoMeter
from kplpy.runtime.questions import ControlPlane, Question, next_question
from kplpy.runtime.stream import Flush, Results, Stream

logger = logging.getLogger(__name__)

# A stream that waits for a sender is looked after this often all the same (expiry, lost requests), should every
# sender be stuck in a request.
CARE_INTERVAL = 0.25


class Transport(ControlPlane, Protocol):
    """The service, as the engine sees it. Called from several threads at once."""

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange: ...

    def close(self) -> None: ...


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
        self._senders_a_stream = max(1, ceil(0.75 * max_senders))
        self._max_inflight_bytes = max_inflight_bytes
        self._on_start = on_start
        self._deliver_here = deliver_here
        self._hot_partition_keys = hot_partition_keys
        self._random = random.Random()
        self._meter = meter or NoMeter()
        self._answering = Answering(room, on_failure, self._meter)
        self._crew = Crew(self, max_senders)
        self._started = False
        self.streams: dict[str, Stream] = {}
        self._inflight: dict[int, int] = {}  # thread → bytes of the request that it is at
        self._turn = 0

    # --- streams and records ---

    def open(self, name: str, arn: str | None) -> Stream:
        """The stream, made known on its first record."""
        with self._crew.lock:
            key = arn or name
            if key not in self.streams:
                counters = self._hot_partition_keys
                key_counts = KeyCounts(counters, time.monotonic()) if counters else None
                made = Stream(name, arn, self._new_pipeline(), self._crew.ring, key_counts)
                self.streams.setdefault(key, made)  # a __del__ may have put, and made one, within the line before
        return self.streams[key]

    def _new_pipeline(self) -> Pipeline:
        return Pipeline(self._policy, self._random.random)

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

    def owns_a_lock(self) -> bool:
        """Is the calling thread within a section that others wait for? Then it is in a __del__ or a signal handler."""
        locks = (self._crew.lock, self._crew.errors.lock, self._room.lock, *self._meter.locks)
        return any(lock._is_owned() for lock in (*locks, *future_locks(), *self._answering.locks))

    def drain(self, stream: Stream) -> None:
        """Take staged records into the core, unless another thread is at it (then that one does)."""
        # Not acquire(blocking=False): Ctrl-C right after it would leave the lock held for ever; `with` is safe.
        if stream.lock.locked() or stream.broken is not None:
            return
        with stream.lock:
            try:
                stream.holder = threading.get_ident()
                now = time.monotonic()
                self._drain(stream, now)
                self._plan(stream, now)
            except BaseException as error:
                stream.breaks(error)
                if not isinstance(error, Exception):
                    raise
                self._crew.errors.say(f"{type(error).__name__}: {error}", error)
            finally:
                stream.holder = 0

    def press(self) -> None:
        """Room ran out: have the scheduler look at every stream for what waits only for company."""
        for stream in list(self.streams.values()):
            stream.pressed = True
            self.nudge(stream)

    def _drain(self, stream: Stream, now: float) -> None:
        staging = stream.staging
        count = len(staging)
        if not count or stream.broken is not None:  # to be mended first, with what is in `draining` already
            return
        items: list[RecordFuture] = []
        stream.draining = items
        # In one go, so that a record is always to be found in one of the two; Ctrl-C does not strike in between.
        items.extend(starmap(staging.popleft, repeat((), count)))
        size = payload_size(items)
        stream.staged_bytes = 0
        self._room.add(stream, count, size + count * RECORD_OVERHEAD)
        if stream.key_counts is not None:
            stream.key_counts.add(items, now)
        stream.pipeline.accept(items, now)  # which gives keys to those without
        stream.draining = None

    def _plan(self, stream: Stream, now: float) -> None:
        """Under the stream's lock: say when somebody has to look at it again, and see that somebody does."""
        pipeline = stream.pipeline
        if stream.pressed or self._room.short:
            stream.pressed = False
            pipeline.make_room(now)
        wake_at = pipeline.next_wakeup(now)
        if wake_at <= now:
            stream.wake_at = -NEVER  # puts need not nudge: a sender comes
            if not stream.ready:
                stream.ready = True
                self._call_sender(stream)
            wake_at = now + CARE_INTERVAL
        else:
            stream.ready = False
            stream.wake_at = wake_at
        if stream.staging:
            # Staged since the drain, and perhaps just before wake_at was written: not nudged.
            wake_at = min(wake_at, now + self._policy.linger)
            stream.wake_at = min(stream.wake_at, wake_at)
        stream.visit_at = wake_at
        self._crew.wake_by(wake_at)

    def _call_sender(self, stream: Stream) -> None:
        if not self._crew.call_sender():
            stream.nudged = True
            self._crew.ring()

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
            self._drain(stream, now)
            flush = Flush(stream.pipeline.flush(now), notify)
            if not stream.pipeline.unflushed(flush.mark):
                return None
            stream.flushes.append(flush)
            self._plan(stream, now)
        return flush

    def refuse(self, futures: Sequence[RecordFuture], error: Exception) -> None:
        """These were not accepted after all: their futures raise the error."""
        self._answering.run_callbacks(answer(futures, Failed(Reason.REFUSED, str(error), error)))

    def too_late(self, stream: Stream) -> None:
        """A record was staged while the producer was being closed: nobody would look at it any more."""
        if self.stopping:
            self._give_up(stream, "the producer was closed while the record was put")

    # --- the scheduler's work ---

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
        if struck is not None:
            raise struck
        return earliest

    def _visit(self, stream: Stream) -> None:
        self._mend_now(stream)
        with stream.lock, stream.guard:
            now = time.monotonic()
            self._drain(stream, now)
            stream.pipeline.tick(now)
            if stream.ready:
                self._crew.call_sender()  # should the one that was called have died, or not been there to be called
            self._plan(stream, now)
            results = stream.take_results()
        self._meter.awake()
        self._finish(stream, results)

    def _mend_now(self, stream: Stream) -> None:
        if stream.broken is None:
            return
        with stream.lock, stream.guard:
            if stream.is_broken():  # else another thread was faster
                mend(stream, self._new_pipeline(), self._room, time.monotonic())
                stream.ready = False
            results = stream.take_left()
        self._finish(stream, results)

    def _finish(self, stream: Stream, results: Sequence[Results]) -> None:
        for each in results:
            self._answering.finish(stream, each)

    def clear_up(self, error: BaseException) -> None:
        """The error struck the calling thread wherever it was in its work: leave nothing in its hands."""
        me = threading.get_ident()
        self._inflight.pop(me, None)
        for stream in list(self.streams.values()):
            stream.let_go(me, error)
        self._crew.ring()

    # --- the senders' work ---

    def has_work(self) -> bool:
        return self._may_send() and any(self._wants_sender(stream) for stream in list(self.streams.values()))

    def _wants_sender(self, stream: Stream) -> bool:
        return stream.ready and len(stream.senders) < self._senders_a_stream and stream.broken is None

    def _may_send(self) -> bool:
        return self._inflight_room() > 0

    def _inflight_room(self) -> int:
        return self._max_inflight_bytes - sum(list(self._inflight.values()))

    def send_one(self) -> bool:
        """Form one request (or question) from what is due, carry it out and give the answers. False: nothing to do."""
        streams = list(self.streams.values())
        self._turn += 1
        for offset in range(len(streams)):
            stream = streams[(self._turn + offset) % len(streams)]
            if self._wants_sender(stream) and self._may_send() and self._send_of(stream):
                return True
        return False

    def _send_of(self, stream: Stream) -> bool:
        with stream.lock, stream.guard:
            now = time.monotonic()
            self._drain(stream, now)
            pipeline = stream.pipeline
            request = None
            question = next_question(pipeline, self._transport, stream.name, stream.arn, now)
            if question is None:
                request = pipeline.next_request(now, self._inflight_room())
            self._plan(stream, now)
            results = stream.take_results()
            busy = question is not None or request is not None
            if busy:
                stream.senders.add(threading.get_ident())
        if stream.ready:
            self._call_sender(stream)
        self._finish(stream, results)
        if question is not None:
            self._ask(stream, pipeline, question)
        elif request is not None:
            self._exchange(stream, pipeline, request)
        return busy

    def _ask(self, stream: Stream, pipeline: Pipeline, question: Question) -> None:
        end: BaseException | None = None
        try:
            answer = question.ask()
        except BaseException as failure:
            end = self._unexpected(question.what, failure)
            answer = question.failed(repr(failure))
        with stream.lock, stream.guard:
            stream.senders.discard(threading.get_ident())
            now = time.monotonic()
            if pipeline is stream.pipeline:  # else it was mended meanwhile, and will ask for itself
                answer(now)
            self._drain(stream, now)
            self._plan(stream, now)
            results = stream.take_results()
        self._finish(stream, results)
        if end is not None:
            raise end

    def _exchange(self, stream: Stream, pipeline: Pipeline, request: Request) -> None:
        end: BaseException | None = None
        me = threading.get_ident()
        try:
            self._inflight[me] = request.size
            exchange = self._transport.put_records(stream.name, stream.arn, request)
        except BaseException as failure:
            end = self._unexpected(f"sending to {stream.name}", failure)
            error = RequestError(type(failure).__name__, str(failure) or repr(failure), True, failure)
            exchange = Exchange(request.started, time.monotonic(), request.wall, error=error)
        finally:
            self._inflight.pop(me, None)
        with stream.lock, stream.guard:
            stream.senders.discard(me)
            now = time.monotonic()
            self._drain(stream, now)
            throttled = pipeline.totals.entries_throttled
            if pipeline is stream.pipeline:
                pipeline.answered(request, exchange, now)
            throttled = pipeline.totals.entries_throttled - throttled
            self._plan(stream, now)
            results = stream.take_results()
        self._answering.tell(stream, exchange.error, throttled)
        self._finish(stream, results)
        if end is not None:
            raise end

    def _unexpected(self, doing: str, failure: BaseException) -> BaseException | None:
        """What is not only to be logged, but raised once the state is in order: Ctrl-C on a thread of the user's."""
        if not isinstance(failure, Exception):
            return failure
        self._crew.errors.say(f"{doing}: {type(failure).__name__}: {failure}", failure)
        return None

    # --- looking ---

    @property
    def outstanding_records(self) -> int:
        return self._room.records + sum(len(stream.staging) for stream in list(self.streams.values()))

    @property
    def outstanding_bytes(self) -> int:
        staged = [record for stream in list(self.streams.values()) for record in list(stream.staging)]
        return self._room.bytes + payload_size(staged) + len(staged) * RECORD_OVERHEAD

    def hot_keys(self, limit: int | None) -> dict[str, HotKeys]:
        """By stream's name or ARN; empty unless keys are counted."""
        reports = {}
        for key, stream in list(self.streams.items()):
            if stream.key_counts is not None:
                with stream.lock, stream.held:
                    reports[key] = stream.key_counts.report(limit, time.monotonic())
        return reports

    def gauges(self) -> Gauges:
        """How things stand, for whoever samples them."""
        standings: dict[str, Standing] = {}
        for key, stream in list(self.streams.items()):
            if stream.broken is None:
                with stream.lock, stream.held:
                    standing = stream.pipeline.standing(time.monotonic())
                    staged = len(stream.staging)
                    oldest = min(standing.oldest, stream.staging[0].arrival if staged else NEVER)
                outstanding = standing.outstanding + staged
                standings[key] = replace(standing, outstanding=outstanding, oldest=oldest)
        return Gauges(standings, self.outstanding_records, self.outstanding_bytes)

    # --- the end ---

    @property
    def stopping(self) -> bool:
        return self._crew.stopping

    def ensure_threads(self) -> bool:
        """Is there a thread of ours to get things done, or can one be started?"""
        return self._begin() and self._crew.begin()

    def unsettled(self) -> int:
        """Records without an answer, or whose callbacks still run."""
        count = 0
        for stream in list(self.streams.values()):
            with stream.lock, stream.held:  # a drain has records in its hands, neither here nor there
                count += stream.pipeline.outstanding + len(stream.staging)
        return count

    def run_inline(self, until: float, done: Callable[[], bool]) -> None:
        """Do scheduler's and senders' work on this thread: none could be started."""
        with lend_thread():
            while not done() and time.monotonic() < until:
                try:
                    for stream in list(self.streams.values()):
                        self._visit(stream)
                    if self.send_one():
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
            self._drain(stream, now)
            given_up = stream.pipeline.outstanding
            stream.pipeline.give_up(Reason.CLOSED, message, now)
            self._plan(stream, now)
            results = stream.take_results()
        self._finish(stream, results)
        return given_up

    def stop(self) -> None:
        """End the threads. One that is in a request ends with it; all are daemons."""
        self._crew.stop()
        for stream in list(self.streams.values()):
            if stream.staging:
                self.too_late(stream)
        self._answering.close()
        self._transport.close()

    def abandon(self) -> None:
        """In a forked child: the parent goes on with this; nothing of it is to move here, or to stand in the way."""
        self._crew.abandon()
        self._room.lock = threading.RLock()
        self._meter.abandon()
        for stream in list(self.streams.values()):
            stream.lock = threading.Lock()  # for the rest of a callback that forked
