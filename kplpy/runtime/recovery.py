"""Replaces a stream's pipeline after an error in it, and fails the drained records without an outcome."""

from __future__ import annotations

import copy
from dataclasses import fields

from kplpy.core.outcome import Completion, Failed, Reason
from kplpy.core.pipeline import Pipeline
from kplpy.core.record import PendingRecord, payload_size
from kplpy.core.results.events import Events
from kplpy.errors import KplpyError
from kplpy.futures.record_future import RecordFuture
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.delivery import Delivery
from kplpy.runtime.stream import Results, Stream


def recover(
    stream: Stream, fresh: Pipeline, buffer: Buffer, delivery: Delivery
) -> tuple[Results, list[RecordFuture]] | None:
    """Fail every drained record that has no outcome, and replace the pipeline. Runs on the scheduler thread.

    An application thread runs it if no thread can be started. Staged records wait for the new pipeline. The old
    pipeline may be half changed, so none of its state is used except the totals. Each record counts as maybe written,
    because it may have been sent. An interrupted recovery can be repeated.

    fresh: the new pipeline. Returns the failed records and the futures whose callbacks must run. None: another thread
    has recovered the stream.
    """
    with stream.lock:
        error, old = stream.broken, stream.pipeline
        if error is None:
            return None
        with buffer.lock:
            for each in fields(old.totals):
                setattr(fresh.totals, each.name, getattr(old.totals, each.name))
            stream.pipeline = fresh
            stream.ready = False
            stream.charged_by_place = {}
            buffer.reset(stream)
        left: list[PendingRecord] = [*stream.unresolved()]
        for record in left:
            record.maybe_written = True
        fresh.totals.user_records_failed += len(left)
        outcome = Failed(Reason.BROKEN, f"an error within kplpy: {type(error).__name__}: {error}", _copy(error))
        failed = [Completion(left, outcome, payload_size(left))] if left else []
        # These are results of the old pipeline, so the buffer and the new pipeline do not count them.
        results = Results(old, failed, [], Events())
        callbacks = delivery.resolve(stream, results)
        stream.forget_drained()
        stream.end_flushes()
        stream.broken = None
    return results, callbacks


def _copy(error: BaseException) -> BaseException:
    """Return a copy without the traceback, whose frames hold the records (see exchange.forget_frames).

    The original keeps it: the thread that it ended has yet to log it, or raises it in the application.
    """
    try:
        return copy.copy(error)
    except Exception:  # its class cannot be called with its args alone
        return KplpyError(f"{type(error).__name__}: {error}")
