"""After something raised in the midst of a stream's core: a new core with every record that has no answer yet.

Ctrl-C can strike a putting thread at nearly any moment, memory can run out anywhere, and there may be bugs. Instead of
making every step of the core undoable, nothing is believed of the old core but what it had decided already; the
unanswered futures are found where they cannot hide, among the garbage collector's objects.
"""

from __future__ import annotations

import gc
import time
from dataclasses import fields

from kplpy.core.item import Completion, Failed, Item, Reason, Try, add_try, payload_size
from kplpy.core.pipeline import Pipeline
from kplpy.future import KeylessFuture, RecordFuture
from kplpy.runtime.admission import RECORD_OVERHEAD, Room
from kplpy.runtime.stream import Results, Stream

INTERNAL = "InternalError"


def mend(stream: Stream, fresh: Pipeline, room: Room, now: float) -> None:
    """Under the stream's lock: give the stream the fresh pipeline. What can be answered at once is left to be taken.

    A record may go through this once for an error; at the second it fails, since it may be what raises. It may have
    been sent already, and then is a possible duplicate.
    """
    error = stream.broken
    assert error is not None
    old = stream.pipeline
    decided = Results(0, _decided(old), [], None)
    stream.being_answered.add(decided)
    known = {id(item) for results in stream.being_answered for item in results.items()}
    known.update(map(id, list(stream.staging)))
    drained = {id(item): place for place, item in enumerate(stream.draining or ())}
    again: list[RecordFuture] = []
    failed: list[Item] = []
    for future in unanswered(stream):
        if id(future) in known:
            continue
        numbered = hasattr(future, "number")
        if not numbered and id(future) not in drained:
            continue  # a thread is about to stage it
        future.maybe_written = future.maybe_written or numbered
        struck = any(each.code == INTERNAL for each in future.tries)
        if isinstance(error, Exception):
            add_try(future, Try(time.time(), now, now, INTERNAL, f"{type(error).__name__}: {error}"))
        if struck and isinstance(error, Exception):
            failed.append(future)
        else:
            again.append(future)
    # What has no number yet comes in the order of its staging; arrivals may be equal.
    again.sort(key=lambda future: (getattr(future, "number", float("inf")), drained.get(id(future), 0)))
    for each in fields(old.totals):
        setattr(fresh.totals, each.name, getattr(old.totals, each.name))
    fresh.totals.user_records_accepted -= sum(hasattr(future, "number") for future in again)
    if failed:
        why = f"an error within kplpy: {type(error).__name__}: {error}"
        decided.completions.append(Completion(failed, Failed(Reason.BROKEN, why, error), payload_size(failed)))
        fresh.totals.user_records_failed += len(failed)
    if not decided.completions:
        stream.being_answered.discard(decided)
    held, size = len(again), payload_size(again)
    for results in stream.being_answered:
        fresh.adopt(results.items())
        if not results.released:
            held += len(results.items())
            size += sum(completion.size for completion in results.completions)
    stream.pipeline = fresh
    stream.draining = again
    room.recount(stream, held, size + held * RECORD_OVERHEAD)
    stream.broken = None
    try:
        if again:
            fresh.accept(again, now)
        stream.draining = None
    except Exception as another:  # those that failed are to be told so all the same
        stream.breaks(another)
    for flush in stream.flushes:
        flush.mark = fresh.flush(now)
    stream.end_flushes()


def _decided(old: Pipeline) -> list[Completion]:
    try:
        return old.take_completions()
    except Exception:
        return []


def unanswered(stream: Stream) -> list[RecordFuture]:
    """Every record of the stream that is accepted, or about to be, and has no answer."""
    return [
        each
        for each in gc.get_objects()
        if type(each) in (RecordFuture, KeylessFuture)
        and getattr(each, "_origin", None) is stream.origin
        and each._outcome is None
    ]
