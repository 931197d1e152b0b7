"""Ends a producer: close(), the interpreter's exit, and delivery if no thread can be started."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from kplpy.concurrency import WakeSignal, new_rlock
from kplpy.errors import FlushTimeoutError
from kplpy.logs import log
from kplpy.process import interpreter_exit
from kplpy.process.threads import start_thread
from kplpy.runtime.backpressure import Backpressure
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.engine import Engine
from kplpy.runtime.flush import FlushWait, count_accepted
from kplpy.runtime.stream import Stream
from kplpy.runtime.threads import JOIN_TIMEOUT, is_lent_thread

logger = logging.getLogger("kplpy.producer")


class Shutdown:
    """Called on application threads, and in callbacks. Ends one engine.

    timeout: close_timeout_ms in seconds.
    hurry: called with the seconds that requests may take from now on.
    end_extras: called once the engine has stopped, with the seconds that are left.
    close_requested: True if close() was called, and not only the interpreter's exit has begun.
    """

    def __init__(
        self,
        engine: Engine,
        buffer: Buffer,
        backpressure: Backpressure,
        timeout: float,
        hurry: Callable[[float], object],
        end_extras: Callable[[float], object],
        close_requested: bool,
    ) -> None:
        self._engine = engine
        self._buffer = buffer
        self._backpressure = backpressure
        self._timeout = timeout
        self._hurry = hurry
        self._end_extras = end_extras
        self.close_requested = close_requested
        self._lock = new_rlock()  # reentrant, because a signal handler may call close()
        self._ending_thread: int | None = None  # ident of the thread that holds the lock
        self._close_thread: threading.Thread | None = None  # closes if the caller could not wait
        self._is_delivering = False

    def close(self) -> None:
        """Deliver the accepted records within the timeout, fail the rest, and stop.

        If the caller cannot wait, another thread closes, or this thread once its work for kplpy is done.
        """
        self.close_requested = True
        if self._is_ending_thread():
            return
        if not self._backpressure.must_not_wait():
            self.end()
            if self._close_thread is not None:  # a callback closed before
                self._close_thread.join(JOIN_TIMEOUT)
        elif not is_lent_thread() and (self._close_thread is None or not self._close_thread.is_alive()):
            # On an application thread that does kplpy's work, _end_if_requested closes once that work is done.
            close_thread = threading.Thread(target=self.end, name="kplpy-close", daemon=True)
            if start_thread(close_thread):  # else the interpreter's exit has begun, and ends this producer too
                self._close_thread = close_thread

    def _is_ending_thread(self) -> bool:
        """Return True on the thread that ends the producer."""
        return self._ending_thread == threading.get_ident()

    def end(self, began: float | None = None) -> None:
        """Deliver, give up the rest, and stop.

        began: when the timeout began, by time.monotonic(); None: now.
        """
        with self._lock:
            self._ending_thread = threading.get_ident()
            try:
                self._end(time.monotonic() if began is None else began)
            finally:
                self._ending_thread = None

    def _end(self, began: float) -> None:
        self._buffer.close()
        deadline = began + self._timeout
        try:
            # Repeated, because callbacks may put meanwhile. A flush that found nothing may have begun on one stream
            # before a callback put to it, and on the callback's stream after the callback had ended.
            while True:
                accepted = count_accepted(self._all())
                left = self.flush(self._all(), max(0.0, deadline - time.monotonic()))
                if not left and accepted == count_accepted(self._all()):
                    break
                if time.monotonic() >= deadline:
                    raise FlushTimeoutError("callbacks put records without end", 1)
        except FlushTimeoutError:
            self._give_up(f"the producer was closed, and {self._timeout:g} s were not enough to deliver it", began)
        except BaseException:  # Ctrl-C: the user does not want to wait
            self._give_up("the producer was being closed, and that was interrupted", began)
            raise
        finally:
            self._engine.stop()
            self._end_extras(deadline - time.monotonic())

    def _all(self) -> list[Stream]:
        return list(self._engine.streams.values())

    def _give_up(self, why: str, began: float) -> None:
        """Fail the records without an outcome, and log how many. began: when the timeout began."""
        waited = round(time.monotonic() - began, 1)  # before give_up, because callbacks of failed records may take time
        lost = self._engine.give_up(why)
        if lost:
            log(logger, "closed_with_undelivered", {"records": lost, "seconds": waited})
        elif unsettled := self._engine.run_on_scheduler(self._engine.status.unsettled):
            log(logger, "closed_with_callbacks", {"records": unsettled, "seconds": waited})

    # --- flushing, and delivery on the calling thread ---

    def flush(self, streams: list[Stream], timeout: float | None) -> int:
        """Wait until the streams' accepted records have an outcome. Return how many records that were.

        timeout: seconds; None: no limit. Raises FlushTimeoutError.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        done = WakeSignal()
        wait = FlushWait(self._engine, streams, done.wake)
        if not wait.ended:
            self._ensure_progress(wait, deadline)
            done.wait_until(lambda: wait.ended, deadline - time.monotonic())
        wait.finish(timeout)
        return wait.total

    def _ensure_progress(self, wait: FlushWait, deadline: float) -> None:
        """Do the work on this thread if no thread can be started, as at the interpreter's exit."""
        if not self._engine.ensure_threads():
            self._hurry(deadline - time.monotonic())
            self._engine.scheduler.run_inline(deadline, lambda: wait.ended)
            self._end_if_requested()

    def deliver_inline(self) -> None:
        """Deliver the staged records before the put returns, because no thread can be started."""
        if self._is_delivering or self._backpressure.must_not_wait():
            return  # this put interrupted another one, which delivers this record too
        self._is_delivering = True
        try:
            began = interpreter_exit.exit_began()
            until = (time.monotonic() if began is None else began) + self._timeout
            self._hurry(until - time.monotonic())
            wait = FlushWait(self._engine, self._all(), lambda: None)
            self._engine.scheduler.run_inline(until, lambda: wait.ended)
            if not interpreter_exit.threads_may_run() and not wait.ended:  # no thread would deliver the rest later
                why = "uWSGI lets no thread run here" if began is None else "the process is ending"
                self._give_up(f"{why}, and {self._timeout:g} s were not enough to deliver it", until - self._timeout)
        finally:
            self._is_delivering = False
        self._end_if_requested()

    def _end_if_requested(self) -> None:
        """Close if a callback on this thread called close() while the thread did kplpy's work."""
        if self.close_requested and not self._engine.stopping and not self._is_ending_thread():
            self.end()
