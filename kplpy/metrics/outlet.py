"""Outlet: a sink and its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from kplpy.concurrency import outlive
from kplpy.metrics.sample import Sink, Window
from kplpy.process import fork
from kplpy.process.threads import start_thread
from kplpy.rate_limited_log import RateLimitedLog

_import_section = fork.NoForkSection()  # making a sink imports its package


class Outlet:
    """The sink and its thread kplpy-metrics-sink, which takes one window at a time."""

    def __init__(self, make_sink: Callable[[], Sink], errors: RateLimitedLog) -> None:
        self._make_sink = make_sink
        self._errors = errors
        self._sink: Sink | None = None
        self._changed = threading.Condition()
        self._window: Window | None = None
        self._busy_since = 0.0
        self._is_ended = False
        self._thread: threading.Thread | None = None

    def busy_for(self) -> float:
        return time.monotonic() - self._busy_since

    def wait_until_free(self, timeout: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._window is None, timeout)

    def take(self, window: Window, inline: bool) -> None:
        """Give the sink a window.

        inline: start no thread, and return when the sink is done with it, as at the interpreter's exit.
        """
        if inline and self._thread is None:
            self._emit(window)
            return
        with self._changed:
            self._window, self._busy_since = window, time.monotonic()
            self._changed.notify_all()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="kplpy-metrics-sink", daemon=True)
            if not start_thread(thread):
                self._finish(window)
                return
            self._thread = thread
        if inline:
            self.wait_until_free(None)

    def end(self) -> None:
        """End the thread when the sink is free."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, unless this is the thread: a sink may close the producer."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        outlive(self._turn, self._raised, lambda: False)

    def _turn(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._window is not None or self._is_ended)
            window = self._window
        if window is None:
            return False
        self._finish(window)
        return True

    def _finish(self, window: Window) -> None:
        self._emit(window)
        with self._changed:
            self._window = None
            self._changed.notify_all()

    def _emit(self, window: Window) -> None:
        try:
            if self._sink is None:
                with _import_section:
                    self._sink = self._make_sink()
            self._sink.emit(window)
        except BaseException as error:  # the sink may be the user's code
            self._raised(error)

    def _raised(self, error: BaseException) -> None:
        self._errors.say(f"{type(error).__name__}: {error}", None if _names_cause(error) else error)


def _names_cause(error: BaseException) -> bool:
    """Return True if the message names the cause: a traceback through botocore adds nothing to that."""
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, (BotoCoreError, ClientError, ConnectionError))
