"""The threads of one producer: a scheduler that sleeps until something is due, senders that pull requests.

Who does what: putting threads, the scheduler and senders all `drain` staged records into a stream's core and `plan`
what comes next, under the stream's lock. A stream that has something to send is `ready`, and stays so until a sender
has looked at it. Senders do all I/O; answers are given, and callbacks run, on the sender that got them.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, Protocol

from kplpy.core.item import Completion, Failed, Item, Reason
from kplpy.core.pipeline import Pipeline, Request
from kplpy.core.policy import Policy
from kplpy.core.retry import Exchange, RequestError
from kplpy.core.shard_map import ListingError, ShardRange
from kplpy.errors import RecordFailedError
from kplpy.future import RecordFuture, answer, future_locks, run_callbacks
from kplpy.runtime.admission import RECORD_OVERHEAD, Room
from kplpy.runtime.bell import Bell
from kplpy.runtime.repeats import Repeats
from kplpy.runtime.stream import NEVER, Flush, Stream

logger = logging.getLogger(__name__)

# A stream that waits for a sender is looked after this often all the same (expiry, lost requests), should every
# sender be stuck in a request.
CARE_INTERVAL = 0.25
# Senders beyond the first end after this long without work.
IDLE_SENDER = 30.0

# Threads of any engine: a put from a callback on one of them must not block.
own_threads = threading.local()


class Transport(Protocol):
    """The service, as the engine sees it. Called from several threads at once."""

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange: ...

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        """The open shards; raises ListingError."""
        ...

    def close(self) -> None: ...


class Engine:
    """Everything of a producer that runs. Nothing does before the first `open`."""

    def __init__(
        self,
        policy: Policy,
        transport: Transport,
        room: Room,
        max_senders: int,
        max_inflight_bytes: int,
        on_failure: Callable[[RecordFailedError], object] | None,
        on_start: Callable[[], object],
    ) -> None:
        self._policy = policy
        self._transport = transport
        self._room = room
        self._max_senders = max_senders
        self._senders_a_stream = max(1, ceil(0.75 * max_senders))
        self._max_inflight_bytes = max_inflight_bytes
        self._on_failure = on_failure
        self._on_start = on_start
        self._unseen = Repeats(logger, "records failed, and nobody looked at their futures")
        self._callback_errors = Repeats(logger, "on_failure raised")
        self._quiet_locks: tuple[Any, ...] = (self._unseen.lock, self._callback_errors.lock)
        self._random = random.Random()
        self.streams: dict[str, Stream] = {}
        # Reentrant: the first put to a stream may come from a signal handler within another's.
        self._lock = threading.RLock()
        self._bell = Bell()  # the scheduler's
        self._sleeps_until = NEVER
        self._started = False
        self._scheduler: threading.Thread | None = None
        self._idle: deque[Bell] = deque()
        self._senders = 0
        self._inflight_bytes = 0
        self._turn = 0
        self.stopping = False

    # --- streams and records ---

    def open(self, name: str, arn: str | None) -> Stream:
        """The stream, made known on its first record."""
        with self._lock:
            key = arn or name
            if key not in self.streams:
                made = Stream(name, arn, Pipeline(self._policy, self._random.random))
                self.streams.setdefault(key, made)  # a __del__ may have put, and made one, within the line before
        return self.streams[key]

    def nudge(self, stream: Stream) -> None:
        """A record was staged that is due before the scheduler means to look, which starts with the first of them."""
        stream.nudged = True
        if not self._started:
            self._begin()
        self._bell.ring()

    def _begin(self) -> None:
        with self._lock:
            if not self._started and not self.stopping:
                self._started = True
                self._on_start()
                self._scheduler = self._start("kplpy-scheduler", self._schedule)

    def owns_a_lock(self) -> bool:
        """Is the calling thread within a section that others wait for? Then it is in a __del__ or a signal handler."""
        return any(lock._is_owned() for lock in (self._lock, self._room.lock, *future_locks(), *self._quiet_locks))

    def drain(self, stream: Stream) -> None:
        """Take staged records into the core, unless another thread is at it (then that one does)."""
        if not stream.lock.acquire(blocking=False):
            return
        try:
            stream.holder = threading.get_ident()
            now = time.monotonic()
            self._drain(stream, now)
            self._plan(stream, now)
        finally:
            stream.holder = 0
            stream.lock.release()

    def press(self) -> None:
        """Room ran out: have the scheduler look at every stream for what waits only for company."""
        for stream in list(self.streams.values()):
            stream.pressed = True
            self.nudge(stream)

    def _drain(self, stream: Stream, now: float) -> None:
        staging = stream.staging
        count = len(staging)
        if not count:
            return
        items: list[RecordFuture] = []
        size = 0
        for _ in range(count):
            item = staging.popleft()
            size += len(item.data) + len(item.partition_key)
            items.append(item)
        stream.staged_bytes = 0
        self._room.add(stream, count, size + count * RECORD_OVERHEAD)
        stream.pipeline.accept(items, now)

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
                self._call_sender()
            wake_at = now + CARE_INTERVAL
        else:
            stream.ready = False
            stream.wake_at = wake_at
        if stream.staging:
            # Staged since the drain, and perhaps just before wake_at was written: not nudged.
            wake_at = min(wake_at, now + self._policy.linger)
            stream.wake_at = min(stream.wake_at, wake_at)
        stream.visit_at = wake_at
        if wake_at < self._sleeps_until:
            self._bell.ring()

    def begin_flush(self, stream: Stream, notify: Callable[[], object]) -> Flush | None:
        """Make all that is accepted due now; `notify` is called when it is answered. None: nothing is outstanding."""
        with stream.hold():
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
        run_callbacks(answer(futures, Failed(Reason.REFUSED, str(error), error)))

    def too_late(self, stream: Stream) -> None:
        """A record was staged while the producer was being closed: nobody would look at it any more."""
        if self.stopping:
            self._give_up(stream, "the producer was closed while the record was put")

    # --- the scheduler ---

    def _schedule(self) -> None:
        own_threads.is_one = True
        while not self.stopping:
            self._sleeps_until = NEVER  # awake: whoever plans rings, which ends the next sleep at once
            now = time.monotonic()
            earliest = NEVER
            for stream in list(self.streams.values()):
                if stream.nudged or stream.visit_at <= now:
                    stream.nudged = False  # before the drain, which then sees what was staged before
                    self._visit(stream)
                earliest = min(earliest, stream.visit_at)
            self._sleeps_until = earliest
            self._bell.wait(earliest - time.monotonic())

    def _visit(self, stream: Stream) -> None:
        with stream.lock:
            now = time.monotonic()
            self._drain(stream, now)
            stream.pipeline.tick(now)
            done = self._take_results(stream)
            if stream.ready:
                self._call_sender()  # should the one that was called have died
            self._plan(stream, now)
        self._finish(stream, *done)

    # --- the senders ---

    def _call_sender(self) -> None:
        """Wake an idle sender or start one; when all are busy, each looks for work before it rests."""
        try:
            self._idle.pop().ring()
            return
        except IndexError:
            pass
        with self._lock:
            if self._senders >= self._max_senders or self.stopping:
                return
            self._senders += 1
        if self._start("kplpy-sender", self._send) is None:
            with self._lock:
                self._senders -= 1

    def _start(self, name: str, target: Callable[[], None]) -> threading.Thread | None:
        """None when threads can no longer be started: the interpreter is on its way out, close() sends by itself."""
        thread = threading.Thread(target=target, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return None
        return thread

    def _send(self) -> None:
        own_threads.is_one = True
        bell = Bell()
        try:
            while not self.stopping:
                if self.send_one():
                    continue
                self._idle.append(bell)
                # Something may have become ready just before the bell was there to be found.
                if not self._has_work() and (bell.wait(IDLE_SENDER) or self.stopping):
                    continue
                try:
                    self._idle.remove(bell)
                except ValueError:
                    bell.wait(NEVER)  # it was taken, and is being rung
                    continue
                if not self._has_work() and self._senders > 1:
                    return
        finally:
            with self._lock:
                self._senders -= 1

    def _has_work(self) -> bool:
        return self._may_send() and any(
            stream.ready and stream.senders < self._senders_a_stream for stream in list(self.streams.values())
        )

    def _may_send(self) -> bool:
        return self._inflight_bytes < self._max_inflight_bytes

    def send_one(self) -> bool:
        """Form one request (or listing) from what is due, carry it out and give the answers. False: nothing to do."""
        streams = list(self.streams.values())
        self._turn += 1
        for offset in range(len(streams)):
            stream = streams[(self._turn + offset) % len(streams)]
            if not stream.ready or stream.senders >= self._senders_a_stream or not self._may_send():
                continue
            with stream.lock:
                now = time.monotonic()
                self._drain(stream, now)
                listing = stream.pipeline.wants_listing(now)
                request = None
                if listing:
                    stream.pipeline.listing_started(now)
                else:
                    room = self._max_inflight_bytes - self._inflight_bytes
                    request = stream.pipeline.next_request(now, room)
                stream.senders += listing or request is not None
                done = self._take_results(stream)
                self._plan(stream, now)
                more = stream.ready
            if more:
                self._call_sender()
            self._finish(stream, *done)
            if listing:
                self._list(stream)
                return True
            if request is not None:
                self._exchange(stream, request)
                return True
        return False

    def _list(self, stream: Stream) -> None:
        shards: Sequence[ShardRange] = ()
        error = ""
        try:
            shards = self._transport.list_shards(stream.name, stream.arn)
        except ListingError as failure:
            error = str(failure)
        except Exception as failure:
            logger.exception("listing the shards of %s failed unexpectedly", stream.name)
            error = repr(failure)
        with stream.lock:
            now = time.monotonic()
            stream.senders -= 1
            if error:
                stream.pipeline.listing_failed(error, now)
            else:
                stream.pipeline.listed(shards, now)
            self._drain(stream, now)
            done = self._take_results(stream)
            self._plan(stream, now)
        self._finish(stream, *done)

    def _exchange(self, stream: Stream, request: Request) -> None:
        with self._lock:
            self._inflight_bytes += request.size
        try:
            exchange = self._transport.put_records(stream.name, stream.arn, request)
        except Exception as failure:
            logger.exception("sending to %s failed unexpectedly", stream.name)
            now = time.monotonic()
            error = RequestError(type(failure).__name__, str(failure) or repr(failure), True, failure)
            exchange = Exchange(request.started, now, request.wall, error=error)
        finally:
            with self._lock:
                self._inflight_bytes -= request.size
        with stream.lock:
            now = time.monotonic()
            stream.senders -= 1
            self._drain(stream, now)
            stream.pipeline.answered(request, exchange, now)
            done = self._take_results(stream)
            self._plan(stream, now)
        self._finish(stream, *done)

    # --- the answers ---

    def _take_results(self, stream: Stream) -> tuple[list[Completion], list[str]]:
        pipeline = stream.pipeline
        notices, pipeline.notices = pipeline.notices, []
        return pipeline.take_completions(), notices

    def _finish(self, stream: Stream, completions: list[Completion], notices: list[str]) -> None:
        """Answer futures, release room, run callbacks, and only then lower the count that flush waits for."""
        for notice in notices:
            logger.warning("%s: %s", stream.name, notice)
        if not completions:
            return
        unseen = None if self._on_failure is not None else self._unseen.say
        called: list[RecordFuture] = []
        items: list[Item] = []
        size = 0
        for completion in completions:
            futures: list[RecordFuture] = completion.items  # type: ignore[assignment]  # all items are made by the producer
            called += answer(futures, completion.outcome, unseen)
            items += completion.items
            size += completion.size
        self._room.release(stream, len(items), size + len(items) * RECORD_OVERHEAD)
        if self._on_failure is not None:
            for completion in completions:
                if isinstance(completion.outcome, Failed):
                    self._report(completion.items, self._on_failure)
        run_callbacks(called)
        with stream.lock:
            stream.settled(items)

    def _report(self, items: Sequence[Item], on_failure: Callable[[RecordFailedError], object]) -> None:
        for future in items:
            assert isinstance(future, RecordFuture)
            error = future.exception()
            try:
                if isinstance(error, RecordFailedError):
                    on_failure(error)
            except BaseException as raised:  # whatever it is, this thread has other records to answer
                self._callback_errors.say(f"{type(raised).__name__}: {raised}")

    # --- the end ---

    def run_inline(self, until: float, done: Callable[[], bool]) -> None:
        """Do scheduler's and senders' work on this thread: none could be started."""
        while not done() and time.monotonic() < until:
            for stream in list(self.streams.values()):
                self._visit(stream)
            if not self.send_one():
                wake_at = min((stream.visit_at for stream in list(self.streams.values())), default=NEVER)
                time.sleep(max(0.0, min(wake_at, until, time.monotonic() + CARE_INTERVAL) - time.monotonic()))

    @property
    def alive(self) -> bool:
        """Is there a scheduler and at least one sender?"""
        return self._scheduler is not None and self._scheduler.is_alive() and self._senders > 0

    def give_up(self, message: str) -> int:
        """Fail all that has no answer; returns how many records that were."""
        return sum(self._give_up(stream, message) for stream in list(self.streams.values()))

    def _give_up(self, stream: Stream, message: str) -> int:
        with stream.hold():
            now = time.monotonic()
            self._drain(stream, now)
            given_up = stream.pipeline.outstanding
            stream.pipeline.give_up(Reason.CLOSED, message, now)
            done = self._take_results(stream)
            self._plan(stream, now)
        self._finish(stream, *done)
        return given_up

    def stop(self) -> None:
        """End the threads. One that is in a request ends with it; all are daemons."""
        self.stopping = True
        self._bell.ring()
        while self._idle:
            try:
                self._idle.pop().ring()
            except IndexError:
                break
        scheduler = self._scheduler
        if scheduler is not None and scheduler is not threading.current_thread():
            scheduler.join(1.0)
        for stream in list(self.streams.values()):
            if stream.staging:
                self.too_late(stream)
        self._unseen.close()
        self._callback_errors.close()
