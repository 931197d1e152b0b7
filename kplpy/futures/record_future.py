"""RecordFuture: the record and its future in one object.

A standard concurrent.futures.Future makes a Condition (a lock, a deque …): 2–4 µs and 1.6 KB each. Few futures need
one. A RecordFuture makes its Condition when a concurrent.futures function asks for it.

Locks, with or without a GIL:

- `_waits` is set under LOCK. Once it has a condition, it is not replaced.
- Without a condition, `_outcome` is set under LOCK.
- With a condition, `_outcome` is set under the condition and then LOCK. concurrent.futures.wait and as_completed read
  the state and install their waiters under the condition.

kplpy/futures/resolve.py sets the outcomes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, TimeoutError
from typing import TYPE_CHECKING, Any

from kplpy.accelerator import compiled, native, signature_of
from kplpy.concurrency import new_rlock
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.record import PendingRecord
from kplpy.errors import KplpyError, NotPicklableError
from kplpy.futures.asyncio_bridge import Await, Waits, running_loop
from kplpy.futures.failures import Unseen, error_of
from kplpy.logs import log
from kplpy.process import fork
from kplpy.records import Attempt, RecordResult, UserRecord, set_source
from kplpy.stream_names import is_delivery_stream

logger = logging.getLogger(__name__)

_new = RecordResult.__new__

# Reentrant: a signal handler or a __del__ may put, and use a future, while its thread holds the lock. It is held for a
# few bytecodes, or for one loop over the records of an aggregate. A forked child replaces it, so other modules read
# record_future.LOCK each time.
LOCK = new_rlock()


def holds_future_lock() -> bool:
    """Return True if the calling thread holds LOCK.

    Then the caller is a signal handler or a __del__ that interrupted kplpy, and must not wait.
    """
    # RLock._is_owned is private. threading.Condition of CPython uses it too.
    return bool(LOCK._is_owned())  # type: ignore[attr-defined]


_Callback = Callable[["RecordFuture"], object]


class Origin:
    """What all futures of one stream share.

    stream: name or ARN.
    """

    __slots__ = ("_page", "_waits", "stream")

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._page = fork.page()
        self._waits: Waits | None = None

    @property
    def forked(self) -> bool:
        """Return True in a forked child. Pending futures of its parent get no outcome there."""
        if self._page[0]:
            return False
        fork.check()
        return True

    def waits_in_child(self) -> Waits:
        """Return the Waits that all these futures share in a forked child.

        Their own conditions may be held by threads that did not survive the fork.
        """
        with LOCK:
            if self._waits is None:
                self._waits = Waits()
                self._waits.condition = threading.Condition()
            return self._waits

    # A producer with a spool has its own Origins, see spooled.py.

    def wait_stored(self, future: RecordFuture, timeout: float | None) -> None:
        """Block until the future's record is on disk."""
        raise KplpyError(f"the producer of this record of stream {self.stream!r} has no spool: set spool=DIRECTORY")

    async def wait_stored_async(self, future: RecordFuture) -> None:
        """Wait in an event loop until the future's record is on disk."""
        self.wait_stored(future, None)

    def waited_for(self, future: RecordFuture) -> None:
        """Note that somebody waits for the future. Under LOCK."""


_FORKED = Failed(Reason.FORKED, "forked")


@compiled
class FutureState(PendingRecord):
    """A record, and the state of its future.

    _origin: what all futures of the stream share.
    _outcome: None while there is none.
    _waits: who waits for the outcome. None: nobody.
    """

    __slots__ = ("_origin", "_outcome", "_waits")

    _outcome: Delivered | Failed | None
    _waits: Waits | Await | None
    _origin: Origin

    def __init__(
        self,
        origin: Origin,
        data: bytes,
        partition_key: str,
        explicit_hash_key: str | None,
        hash_key: int,
        arrival: float,
    ) -> None:
        # Future.__init__ is not called: it would make the Condition.
        self._origin = origin
        self.data = data
        self.partition_key = partition_key
        self.explicit_hash_key = explicit_hash_key
        self.hash_key = hash_key
        self.arrival = arrival
        self.tries = ()
        self.maybe_written = False
        self._outcome = None
        self._waits = None


class RecordFuture(FutureState, Future[RecordResult]):
    """The outcome of one record: `result()` returns a RecordResult or raises a RecordFailedError.

    It can be awaited in asyncio, and works with concurrent.futures.wait, as_completed and asyncio.wrap_future.
    `cancel()` always returns False, because an accepted record cannot be taken back. Callbacks run on one of kplpy's
    threads, or at once if the future is done.
    """

    __slots__ = ()

    @property
    def stream(self) -> str:
        """The stream's name or ARN, whichever the producer used first."""
        return self._origin.stream

    # --- the interface of Future ---

    def result(self, timeout: float | None = None) -> RecordResult:
        """Wait for the outcome, at most `timeout` seconds (None: without limit), and return the RecordResult.

        Raises the RecordFailedError of a failed record. Raises TimeoutError if there is no outcome in time.
        """
        outcome = self._outcome
        if outcome is None:
            outcome = self._wait(timeout)
        if outcome.__class__ is Delivered:
            result = _new(RecordResult)
            set_source(result, self)
            return result
        assert isinstance(outcome, Failed)
        try:
            raise self._error(outcome)
        finally:
            # As in the standard Future, so that the traceback does not keep the future alive.
            self = None  # type: ignore[assignment]

    def exception(self, timeout: float | None = None) -> KplpyError | None:
        """Wait as result() does. Return the RecordFailedError of a failed record, None for a delivered one.

        A record of put_records that found the buffer full has a BufferFullError. Raises TimeoutError as result() does.
        """
        outcome = self._outcome
        if outcome is None:
            outcome = self._wait(timeout)
        return self._error(outcome) if isinstance(outcome, Failed) else None

    def stored(self, timeout: float | None = None) -> None:
        """Wait until the record is on disk: written to the producer's spool, and synced.

        timeout: seconds; None: no limit. The call may return before the record is sent, or after its outcome.

        Raises:

        - TimeoutError: the record was not written in time.
        - SpoolError: the record could not be written. It is sent all the same, from memory.
        - KplpyError: the producer has no spool, or the record was not accepted.
        """
        self._origin.wait_stored(self, timeout)

    async def astored(self) -> None:
        """Do what stored() does, without blocking the event loop."""
        running_loop("await future.astored()", "future.stored")
        await self._origin.wait_stored_async(self)

    def done(self) -> bool:
        """Return True if result() would not wait."""
        return self._outcome is not None or self._origin.forked

    def running(self) -> bool:
        """Return False."""
        return False

    def cancelled(self) -> bool:
        """Return False."""
        return False

    def cancel(self) -> bool:
        """Return False: an accepted record cannot be taken back."""
        return False

    def add_done_callback(self, fn: _Callback) -> None:
        """Call `fn(future)` when the future is done, at once if it is done already. What `fn` raises is logged."""
        if not self.done():  # before the lock is taken: in a forked child this call replaces the lock
            with LOCK:
                if not self.done():
                    self._own_waits().callbacks.append(fn)
                    return
        try:
            fn(self)
        except Exception as error:
            log(logger, "callback_raised", {"future": repr(self), "raised": repr(error)}, error)

    def set_result(self, result: object) -> None:
        raise RuntimeError("only the producer sets the outcome of a RecordFuture")

    def set_exception(self, exception: object) -> None:
        raise RuntimeError("only the producer sets the outcome of a RecordFuture")

    def set_running_or_notify_cancel(self) -> bool:
        raise RuntimeError("only the producer sets the outcome of a RecordFuture")

    def __await__(self) -> Generator[Any, None, RecordResult]:
        return Await(self)  # type: ignore[return-value]  # the iterator of a Generator is enough

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise NotPicklableError(
            f"a RecordFuture stays in the process that put the record (of stream {self.stream!r}): "
            f"send its result(), a RecordResult, or its exception() instead"
        )

    def __repr__(self) -> str:
        outcome = self._outcome
        if outcome is None and self._origin.forked:
            state = "left to the parent process, which delivers it"
        elif outcome is None:
            state = f"pending for {time.monotonic() - self.arrival:.3f} s"
        elif isinstance(outcome, Delivered):
            state = f"delivered to {outcome.shard_id}, sequence number {outcome.sequence_number}"
            if is_delivery_stream(self.stream):
                state = f"delivered, record id {outcome.sequence_number}"
        else:
            state = f"failed: {outcome.message}"
        key = None if self.keyless else self.partition_key
        return f"<RecordFuture {self.stream} {key!r} {state}>"

    # --- what concurrent.futures.wait and as_completed read ---

    if TYPE_CHECKING:  # attributes of the standard Future, properties here
        _state: str
        _condition: threading.Condition
        _waiters: list[Any]
    else:

        @property
        def _state(self):
            return "FINISHED" if self.done() else "PENDING"

        @property
        def _condition(self):
            if self._origin.forked:
                return self._origin.waits_in_child().condition
            with LOCK:
                waits = self._own_waits()
                if waits.condition is None:
                    waits.condition = threading.Condition()
                return waits.condition

        @property
        def _waiters(self):
            if self._origin.forked:
                return self._origin.waits_in_child().waiters
            with LOCK:
                return self._own_waits().waiters

    def _get_snapshot(self) -> tuple[bool, bool, RecordResult | None, BaseException | None]:
        """Return (done, cancelled, result, exception). asyncio.wrap_future calls this since Python 3.14."""
        if not self.done():
            return False, False, None, None
        error = self.exception()
        return True, False, None if error is not None else self.result(), error

    def _read(self, field: str) -> object:
        """Return a field of the RecordResult, which reads it when it is first used."""
        outcome = self._outcome
        assert isinstance(outcome, Delivered)
        if field == "attempts":
            return self._attempts(outcome)
        if field == "possible_duplicate":
            return self.maybe_written
        return self._place(outcome, field)

    def _place(self, outcome: Delivered, field: str) -> str:
        """Return a field of the record's place. The core keeps Firehose's RecordId as the sequence number."""
        if field == "shard_id":
            return outcome.shard_id
        return outcome.sequence_number if (field == "record_id") == is_delivery_stream(self.stream) else ""

    # --- internals ---

    def _own_waits(self) -> Waits:
        """Return the Waits of this future, made if it is missing. Under LOCK."""
        waits = self._waits
        if isinstance(waits, Waits):
            return waits
        own = Waits()
        if waits is not None:
            own.callbacks.append(waits)
        self._waits = own
        self._origin.waited_for(self)
        return own

    def _awaited_by(self, waiting: Await) -> bool:
        """Have `waiting` called with the outcome. False if the future is done."""
        with LOCK:
            if self.done():
                return False
            if self._waits is None:
                self._waits = waiting
                self._origin.waited_for(self)
            else:
                self._own_waits().callbacks.append(waiting)
            return True

    def _not_awaited_by(self, waiting: Await) -> None:
        """Do not have `waiting` called, unless there is an outcome already."""
        with LOCK:
            waits = self._waits
            if self._outcome is None:
                if waits is waiting:
                    self._waits = None
                elif isinstance(waits, Waits) and waiting in waits.callbacks:
                    waits.callbacks.remove(waiting)

    def _wait(self, timeout: float | None) -> Delivered | Failed:
        """Block until there is an outcome, and return it. Raises TimeoutError."""
        if self._origin.forked:
            return _FORKED
        with LOCK:
            waits = self._own_waits()
        if not waits.threads.wait_until(self.done, timeout):
            raise TimeoutError(f"no outcome within {timeout} s for a record of stream {self.stream!r}")
        outcome = self._outcome
        assert outcome is not None
        return outcome

    def _attempts(self, outcome: Delivered | Failed) -> tuple[Attempt, ...]:
        """Return the attempts as users see them, oldest first."""
        tries = self.tries
        if isinstance(outcome, Delivered):
            tries = (*tries, outcome.final)
        attempts = []
        before = self.arrival
        for each in tries:
            attempts.append(
                Attempt(
                    started_at=each.wall,
                    duration=each.ended - each.started,
                    success=each.code is None,
                    error_code=each.code,
                    error_message=each.message,
                    delay=max(0.0, each.started - before),
                )
            )
            before = each.ended
        return tuple(attempts)

    def peek(self) -> RecordResult | KplpyError | None:
        """Return the result or the exception, None if there is none yet. A failure does not count as seen by that."""
        outcome = self._outcome
        if isinstance(outcome, Failed):
            return self._exception_of(outcome)
        return None if outcome is None else self.result()

    def _error(self, outcome: Failed) -> KplpyError:
        """Return the exception of a failed record, and count its failure as seen."""
        if isinstance(outcome, Unseen) and not self._origin.forked:
            with LOCK:
                if self._outcome is outcome:
                    self._outcome = outcome.mark_seen()
        return self._exception_of(outcome)

    def _exception_of(self, outcome: Failed) -> KplpyError:
        key, explicit = (None, None) if self.keyless else (self.partition_key, self.explicit_hash_key)
        record = UserRecord(self.data, key, explicit, headers=self.headers)
        return error_of(outcome, self.stream, record, self._attempts(outcome), self.maybe_written)


class KeylessFuture(RecordFuture):
    """The future of a record without a partition key. The core makes up a key, which users do not see."""

    __slots__ = ()

    keyless = True


class HeadersFuture(RecordFuture):
    """The future of a record with headers."""

    __slots__ = ("_data", "tags")

    tags: bytes

    @property
    def data(self) -> bytes:
        """The payload. Setting it drops the headers, because a delivered record's payload is replaced by b""."""
        return self._data

    @data.setter
    def data(self, data: bytes) -> None:
        self._data = data
        self.tags = b""


class KeylessHeadersFuture(HeadersFuture):
    """The future of a record with headers and without a partition key."""

    __slots__ = ()

    keyless = True


if native is not None:
    native.register(RecordFuture, KeylessFuture)
    native.register_future(RecordFuture, signature_of(RecordFuture.result), signature_of(RecordFuture.done))
    native.register_lock(LOCK, Origin)


@fork.call_in_child
def _renew_lock() -> None:
    global LOCK
    LOCK = new_rlock()  # a thread of the parent may have held the old one
    if native is not None:
        native.register_lock(LOCK, Origin)
