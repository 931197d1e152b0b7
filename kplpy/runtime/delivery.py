"""Delivers what a pipeline decided: releases buffer space, sets outcomes, runs callbacks, then ends flushes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

from kplpy.concurrency import new_rlock
from kplpy.core.exchange import RequestError, forget_frames
from kplpy.core.notice import Notice
from kplpy.core.outcome import Completion, Delivered, Failed, Reason, stays_spooled
from kplpy.core.results.events import Events
from kplpy.errors import RecordFailedError
from kplpy.futures.failures import UnseenFailures
from kplpy.futures.record_future import RecordFuture
from kplpy.futures.resolve import resolve, resolve_all, resolve_each, run_callbacks
from kplpy.rate_limited_log import Causes, RateLimitedLog, Remind
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.meter import Meter
from kplpy.runtime.put_target import RECORD_OVERHEAD
from kplpy.runtime.recent_errors import RecentErrors
from kplpy.runtime.stream import Results, Stream
from kplpy.stream_names import is_delivery_stream

logger = logging.getLogger(__name__)


class AnswerLog(Protocol):
    """What a delivery needs of the spool."""

    def answered(self, completions: Sequence[Completion]) -> None: ...

    def released(self) -> None: ...


def _is_lost(outcome: Delivered | Failed) -> bool:
    """Return True if on_failure is called for the records: they failed, and do not stay in the spool."""
    return isinstance(outcome, Failed) and not stays_spooled(outcome)


class Delivery:
    """Runs on the thread that took the results. Takes the stream's lock once, to settle the records."""

    def __init__(
        self,
        buffer: Buffer,
        on_failure: Callable[[RecordFailedError], object] | None,
        meter: Meter,
        recent_errors: RecentErrors,
        remind: Remind,
    ) -> None:
        self._buffer = buffer
        self._recent_errors = recent_errors
        self._meter = meter
        self._on_failure = on_failure
        lock = new_rlock()  # shared by all rate-limited logs below
        self._unseen = UnseenFailures(logger, remind, lock)
        self._on_failure_errors = RateLimitedLog(logger, "on_failure_raised", remind, lock)
        self._callback_errors = RateLimitedLog(logger, "callbacks_raised", remind, lock)
        self._throttled = RateLimitedLog(logger, "records_throttled", remind, lock)
        self._causes = Causes(logger, remind, lock)
        self._notices: dict[str, RateLimitedLog] = {}
        self._remind, self._lock = remind, lock
        self.spooling: AnswerLog | None = None
        self.busy: set[int] = set()
        """The idents of the threads that run callbacks at the moment."""

    def report_request(self, stream: Stream, error: RequestError | None, throttled: int) -> None:
        """Log a request's error, and how many of its records were throttled."""
        if error is not None:
            self._recent_errors.note(stream.name, f"{error.code}: {error.message}")
            operation = "PutRecordBatch" if is_delivery_stream(stream.arn) else "PutRecords"
            self._causes.say(stream.name, operation, error.code, error.message)
        if throttled:
            self._recent_errors.throttled()
            self._throttled.say(times=throttled, stream=stream.name)

    def _log_notice(self, stream: Stream, notice: Notice) -> None:
        """Log what the pipeline noticed, at most once an interval for each event."""
        if notice.event == "requests_failed":
            self._causes.say(stream.name, **notice.fields)
            return
        repeats = self._notices.get(notice.event)
        if repeats is None:
            made = RateLimitedLog(logger, notice.event, self._remind, self._lock)
            repeats = self._notices.setdefault(notice.event, made)
        repeats.say("", None, 1, stream.name, **notice.fields)

    def deliver(self, stream: Stream, results: Results) -> None:
        """Resolve the records, run their callbacks, and settle them. On an error the caller marks the stream broken."""
        callbacks = self.resolve(stream, results)
        if results.completions:
            self.complete(stream, results, callbacks)

    def resolve(self, stream: Stream, results: Results) -> list[RecordFuture]:
        """Log, count, release buffer space, and set the outcomes. Return the futures whose callbacks must run."""
        for notice in results.notices:
            self._log_notice(stream, notice)
        completions = results.completions
        spooling = self.spooling
        if spooling is not None and completions:
            spooling.answered(completions)  # on disk first, so that a record with an outcome is not sent again
        # Counted first, because setting a delivered record's outcome drops its data.
        if completions or results.events:
            accepted = results.pipeline.totals.user_records_accepted
            events = results.events or Events()
            counted = completions
            if spooling is not None:
                counted = [each for each in completions if not stays_spooled(each.outcome)]
            self._meter.record(stream.origin.stream, events, counted, accepted, time.monotonic())
        if not completions:
            return []
        # Released first, so that outstanding_records has no record whose result() returned.
        count = sum(len(each.items) for each in completions)
        size = sum(each.size for each in completions)
        with self._buffer.lock:
            if results.pipeline is stream.pipeline:  # otherwise recovery released their charge
                self._buffer.release(stream, count, size + count * RECORD_OVERHEAD)
        callbacks = self._resolve_completions(completions)
        for each in completions:
            if each.outcome.__class__ is Failed:
                self._recent_errors.note(stream.name, each.outcome.message)
        if spooling is not None:
            spooling.released()
        return callbacks

    def complete(self, stream: Stream, results: Results, callbacks: list[RecordFuture]) -> None:
        """Run the application's callbacks, which may block or raise; then settle the records."""
        with self._marked_busy():
            failed = [item for each in results.completions if _is_lost(each.outcome) for item in each.items]
            self._call_on_failure(cast("list[RecordFuture]", failed))
            self.run_callbacks(callbacks)
        with stream.locked_pipeline():
            stream.settle(results, results.items())

    def runs_application_code(self, results: Results, callbacks: list[RecordFuture]) -> bool:
        """Return True if on_failure or callbacks must run for these results."""
        reported = self._on_failure is not None and any(_is_lost(each.outcome) for each in results.completions)
        return reported or bool(callbacks)

    @contextmanager
    def _marked_busy(self) -> Iterator[None]:
        """Note the calling thread in `busy`."""
        me = threading.get_ident()
        added = me not in self.busy
        self.busy.add(me)
        try:
            yield
        finally:
            if added:
                self.busy.discard(me)

    def fail(self, futures: Sequence[RecordFuture], outcome: Failed) -> None:
        """Give this outcome to records that are in no pipeline, and run their callbacks."""
        callbacks = resolve(futures, outcome, self._counts_unseen)
        self._call_on_failure(futures)
        self.run_callbacks(callbacks)

    def leave_spooled(self, futures: Sequence[RecordFuture], message: str) -> None:
        """Give futures of records that stay in the spool their outcome. on_failure is not called."""
        self.run_callbacks(resolve(futures, Failed(Reason.SPOOLED, message)))

    def refuse(self, futures: Sequence[RecordFuture], error: Exception) -> None:
        """Have the futures of records that were not accepted raise the error, which loses its traceback."""
        forget_frames(error)
        refusal = Failed(Reason.REFUSED, str(error), error, type(error).__name__)
        self.run_callbacks(resolve(futures, refusal, self._unseen))

    def run_callbacks(self, futures: list[RecordFuture]) -> None:
        """Run the callbacks of futures that `resolve` returned."""
        run_callbacks(futures, self._callback_errors.say)

    def _call_on_failure(self, failed: Sequence[RecordFuture]) -> None:
        """Call on_failure with the error of each record."""
        on_failure = self._on_failure
        if on_failure is None:
            return
        for future in failed:
            error = future.exception()
            try:
                if isinstance(error, RecordFailedError):
                    on_failure(error)
            except BaseException as raised:  # of any kind, because this thread must go on with other records
                self._on_failure_errors.say(f"{type(raised).__name__}: {raised}", raised)

    @property
    def _counts_unseen(self) -> UnseenFailures | None:
        """The count of failures that the application has not looked at; None with on_failure, which sees them all."""
        return None if self._on_failure is not None else self._unseen

    def _resolve_completions(self, completions: list[Completion]) -> list[RecordFuture]:
        """Set the outcomes. Return the futures whose callbacks must run."""
        outcomes: list[tuple[Sequence[RecordFuture], Delivered | Failed]] = []
        for each in completions:
            futures = cast("list[RecordFuture]", each.items)  # every record of a producer is a RecordFuture
            if each.outcomes is None:
                outcomes.append((futures, each.outcome))
            else:
                outcomes += resolve_each(futures, each.outcomes)
        return resolve_all(outcomes, self._counts_unseen)

    @property
    def _logs(self) -> tuple[RateLimitedLog | Causes | UnseenFailures, ...]:
        repeats = (self._on_failure_errors, self._callback_errors, self._throttled, *list(self._notices.values()))
        return (self._causes, *repeats, self._unseen)

    def report(self) -> float:
        """Log what was held back for an interval. Return in how many seconds to call again, or infinity."""
        return min(each.report() for each in self._logs)

    def close(self) -> None:
        """Log everything that was held back."""
        for each in self._logs:
            each.close()
