"""RecordFuture: the record and its future in one object, cheap because most are only waited for in bulk.

A standard concurrent.futures.Future makes a Condition (a lock, a deque …) that few ever use: 2–4 µs and 1.6 KB each.
Here it is made when somebody blocks on this one future or a concurrent.futures function asks for it. Who may write
what, with or without a GIL:

- `_waits` is set under LOCK, and stays what it is once it has a condition; so is the outcome of a future whose
  `_waits` has none.
- Once there is a condition, the outcome is set while holding it and then LOCK, because concurrent.futures.wait and
  as_completed look at the state and install their waiters under it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, TimeoutError
from typing import TYPE_CHECKING, Any

from kplpy.core.record import Delivered, Failed, PendingRecord, Reason
from kplpy.errors import KplpyError, NotPicklableError
from kplpy.futures.asyncio_bridge import Awaits, Waits, awaits_of, running_loop
from kplpy.futures.failures import Unseen, error_of
from kplpy.logs import log
from kplpy.process import fork
from kplpy.records import Attempt, RecordResult, UserRecord, set_source

logger = logging.getLogger(__name__)

_new = object.__new__

# Reentrant, because a signal handler or a __del__ may put, and look at a future, in the middle of a holder's section.
# The sections are a few bytecodes each, or one loop over the records of an aggregate.
LOCK = threading.RLock()


def holds_future_lock() -> bool:
    """Return True if a signal handler or a __del__ runs within a section of the calling thread's: it must not wait."""
    return bool(LOCK._is_owned())  # type: ignore[attr-defined]  # of RLock in CPython, as threading.Condition uses it


_Callback = Callable[["RecordFuture"], object]


class Origin:
    """What the futures of one stream have in common. In a forked child no answer will come to those without one."""

    __slots__ = ("_page", "_waits", "stream")

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._page = fork.page()
        self._waits: Waits | None = None

    @property
    def forked(self) -> bool:
        if self._page[0]:
            return False
        fork.check()
        return True

    def waits_in_child(self) -> Waits:
        """Of all the futures: their own conditions may be held by threads that did not survive the fork."""
        with LOCK:
            if self._waits is None:
                self._waits = Waits()
                self._waits.condition = threading.Condition()
            return self._waits


_FORKED = Failed(Reason.FORKED, "forked")


class RecordFuture(PendingRecord, Future[RecordResult]):
    """The answer to one record: `result()` is a RecordResult or raises a RecordFailedError. It can be awaited.

    Works with concurrent.futures.wait, as_completed and asyncio.wrap_future. `cancel()` always returns False: an
    accepted record stays accepted. Callbacks run on one of kplpy's threads, or at once when the answer is there.
    """

    __slots__ = ("_origin", "_outcome", "_waits")

    _outcome: Delivered | Failed | None
    _waits: Waits | None
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

    @property
    def stream(self) -> str:
        """The stream's name or ARN: of the two, what the producer first put it by."""
        return self._origin.stream

    # --- what a Future offers ---

    def result(self, timeout: float | None = None) -> RecordResult:
        """Wait up to `timeout` seconds (None: for ever) for the answer; raises TimeoutError after that."""
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
            self = None  # type: ignore[assignment]  # the traceback must not keep the future, as in the standard one

    def exception(self, timeout: float | None = None) -> KplpyError | None:
        """Wait as result() does; the RecordFailedError of a failed record, None for a delivered one.

        For a record of put_records that there was no room for it is the BufferFullError.
        """
        outcome = self._outcome
        if outcome is None:
            outcome = self._wait(timeout)
        return self._error(outcome) if isinstance(outcome, Failed) else None

    def done(self) -> bool:
        return self._outcome is not None or self._origin.forked

    def running(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def cancel(self) -> bool:
        """False: an accepted record cannot be taken back."""
        return False

    def add_done_callback(self, fn: _Callback) -> None:
        """Call `fn(future)` once the answer is there; what it raises is logged."""
        if not self.done():  # first of all, for in a forked child that renews the lock
            with LOCK:
                if not self.done():
                    self._attached().callbacks.append(fn)
                    return
        try:
            fn(self)
        except Exception as error:
            log(logger, "callback_raised", {"future": repr(self), "raised": repr(error)}, error)

    def set_result(self, result: object) -> None:
        raise RuntimeError("a RecordFuture is answered by its producer")

    def set_exception(self, exception: object) -> None:
        raise RuntimeError("a RecordFuture is answered by its producer")

    def set_running_or_notify_cancel(self) -> bool:
        raise RuntimeError("a RecordFuture is answered by its producer")

    def __await__(self) -> Generator[Any, None, RecordResult]:
        if not self.done():
            loop = running_loop("await future", "future.result, abandon_on_cancel=True")
            yield from awaits_of(loop).begin(self).__await__()
        return self.result()

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
        else:
            state = f"failed: {outcome.message}"
        key = None if self.keyless else self.partition_key
        return f"<RecordFuture {self.stream} {key!r} {state}>"

    # --- what concurrent.futures.wait and as_completed reach for ---

    if TYPE_CHECKING:  # plain attributes there, and for a type checker here
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
                waits = self._attached()
                if waits.condition is None:
                    waits.condition = threading.Condition()
                return waits.condition

        @property
        def _waiters(self):
            if self._origin.forked:
                return self._origin.waits_in_child().waiters
            with LOCK:
                return self._attached().waiters

    def _get_snapshot(self) -> tuple[bool, bool, RecordResult | None, BaseException | None]:
        """What asyncio.wrap_future asks for since Python 3.14: done, cancelled, result, exception."""
        if not self.done():
            return False, False, None, None
        error = self.exception()
        return True, False, None if error is not None else self.result(), error

    def _read(self, field: str) -> object:
        """A field of the RecordResult."""
        outcome = self._outcome
        assert isinstance(outcome, Delivered)
        if field == "attempts":
            return self._attempts(outcome)
        return self.maybe_written if field == "possible_duplicate" else getattr(outcome, field)

    # --- within ---

    def _attached(self) -> Waits:
        waits = self._waits
        if waits is None or waits.__class__ is Awaits:
            mine = Waits()
            if waits is not None:
                mine.callbacks += waits.callbacks
            waits = self._waits = mine
        return waits

    def _awaited_by(self, awaits: Awaits) -> bool:
        with LOCK:
            if self.done():
                return False
            if self._waits is None:
                self._waits = awaits
            else:
                self._attached().callbacks.append(awaits)
            return True

    def _wait(self, timeout: float | None) -> Delivered | Failed:
        if self._origin.forked:
            return _FORKED
        condition = self._condition
        waits = self._waits
        assert waits is not None
        with condition:
            waits.blocked += 1
            try:
                answered = condition.wait_for(self.done, timeout)
            finally:
                waits.blocked -= 1
            if answered:
                outcome = self._outcome
                assert outcome is not None
                return outcome
        raise TimeoutError(f"no answer within {timeout} s for a record of stream {self.stream!r}")

    def _attempts(self, outcome: Delivered | Failed) -> tuple[Attempt, ...]:
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

    def _error(self, outcome: Failed) -> KplpyError:
        if isinstance(outcome, Unseen) and not self._origin.forked:
            with LOCK:
                if self._outcome is outcome:
                    self._outcome = outcome.look()
        key, explicit = (None, None) if self.keyless else (self.partition_key, self.explicit_hash_key)
        record = UserRecord(self.data, key, explicit)
        return error_of(outcome, self.stream, record, self._attempts(outcome), self.maybe_written)


class KeylessFuture(RecordFuture):
    """Of a record without a partition key, for which the core makes up one. What users see of it has none."""

    __slots__ = ()

    keyless = True


@fork.renew
def _renew_lock() -> None:
    global LOCK
    LOCK = threading.RLock()  # another thread may have held it
