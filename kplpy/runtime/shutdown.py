"""How a producer ends: close(), the interpreter's exit, and delivery where no thread can be started."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from kplpy.errors import FlushTimeoutError
from kplpy.logs import log
from kplpy.process import interpreter_exit
from kplpy.runtime.backpressure import Backpressure
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.engine import Engine
from kplpy.runtime.flush import FlushWait
from kplpy.runtime.stream import Stream
from kplpy.runtime.threads import JOIN_TIMEOUT, is_lent_thread

logger = logging.getLogger("kplpy.producer")


class Shutdown:
    """Ends one engine. Called on application threads, and in callbacks.

    timeout: seconds, close_timeout_ms. hurry: told how many seconds requests may take from now on.
    end_extras: called once the engine has stopped, with the seconds that are left.
    asked: close() was called, not only the interpreter's exit.
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
        self._lock = threading.RLock()  # reentrant, because a signal handler may close within it
        self._ending_thread: int | None = None  # the thread that holds the lock
        self._close_thread: threading.Thread | None = None  # closes where the caller could not wait
        self._is_delivering = False

    def close(self) -> None:
        """Deliver what was accepted, within the timeout; then fail what is left, and stop.

        Where the caller cannot wait, another thread does it, or this thread once its work for kplpy is done.
        """
        self.close_requested = True
        if self._is_ending_thread():
            return
        if not self._backpressure.must_not_wait():
            self.end()
            if self._close_thread is not None:  # it was closed in a callback before
                self._close_thread.join(JOIN_TIMEOUT)
        elif not is_lent_thread() and (self._close_thread is None or not self._close_thread.is_alive()):
            # On a lent thread _end_if_requested closes, once the work is done for which the thread was lent.
            try:
                close_thread = threading.Thread(target=self.end, name="kplpy-close", daemon=True)
                close_thread.start()
                self._close_thread = close_thread
            except RuntimeError:
                pass  # the interpreter's exit has begun, and ends this producer too

    def _is_ending_thread(self) -> bool:
        """Return True on the thread that is ending the producer."""
        return self._ending_thread == threading.get_ident()

    def end(self, began: float | None = None) -> None:
        """Deliver, give up, stop. began: since when delivery is waited for, on the monotonic clock; None: from now."""
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
            # Callbacks may put meanwhile.
            while self.flush(self._all(), max(0.0, deadline - time.monotonic())):
                if time.monotonic() >= deadline:
                    raise FlushTimeoutError("callbacks put without end", 1)
        except FlushTimeoutError:
            self._give_up(f"the producer was closed, and {self._timeout:g} s were not enough to deliver it", began)
        except BaseException:  # Ctrl-C, which asks for no more patience
            self._give_up("the producer was being closed, and that was interrupted", began)
            raise
        finally:
            self._engine.stop()
            self._end_extras(deadline - time.monotonic())

    def _all(self) -> list[Stream]:
        return list(self._engine.streams.values())

    def _give_up(self, why: str, began: float) -> None:
        """Fail what has no outcome. began: since when its delivery was waited for."""
        waited = round(time.monotonic() - began, 1)  # callbacks of the records that fail may take longer
        lost = self._engine.give_up(why)
        if lost:
            log(logger, "closed_with_undelivered", {"records": lost, "seconds": waited})
        elif unsettled := self._engine.run_on_scheduler(self._engine.status.unsettled):
            log(logger, "closed_with_callbacks", {"records": unsettled, "seconds": waited})

    # --- flushing, which may have to be done on this thread ---

    def flush(self, streams: list[Stream], timeout: float | None) -> int:
        """Wait until the streams' accepted records have an outcome; return how many there were to wait for.

        timeout: seconds, or None for no limit. Raises FlushTimeoutError.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        done = threading.Event()
        wait = FlushWait(self._engine, streams, done.set)
        if not wait.ended:
            self._ensure_progress(wait, deadline)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            done.wait(left if left is None else min(left, threading.TIMEOUT_MAX))
        wait.finish(timeout)
        return wait.total

    def _ensure_progress(self, wait: FlushWait, deadline: float | None) -> None:
        """Do the work on this thread if no other can be started, as at the interpreter's exit."""
        if not self._engine.ensure_threads():
            until = float("inf") if deadline is None else deadline
            self._hurry(until - time.monotonic())
            self._engine.scheduler.run_inline(until, lambda: wait.ended)
            self._end_if_requested()

    def deliver_inline(self) -> None:
        """Send what is put before the put returns, because no thread can be started."""
        if self._is_delivering or self._backpressure.must_not_wait():
            return  # a put within another put, which delivers this record too
        self._is_delivering = True
        try:
            began = interpreter_exit.exit_began()
            until = (time.monotonic() if began is None else began) + self._timeout
            self._hurry(until - time.monotonic())
            wait = FlushWait(self._engine, self._all(), lambda: None)
            self._engine.scheduler.run_inline(until, lambda: wait.ended)
            if not interpreter_exit.threads_may_run() and not wait.ended:  # no thread would come back to it
                why = "uWSGI lets no thread run here" if began is None else "the process is ending"
                self._give_up(f"{why}, and {self._timeout:g} s were not enough to deliver it", until - self._timeout)
        finally:
            self._is_delivering = False
        self._end_if_requested()

    def _end_if_requested(self) -> None:
        """Close after this thread has done kplpy's work and run callbacks, if one of these closed the producer."""
        if self.close_requested and not self._engine.stopping and not self._is_ending_thread():
            self.end()
