"""A local socket that gives a producer's state to `kplpy top`."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

from kplpy.concurrency import outlive
from kplpy.logs import log
from kplpy.process.threads import start_thread
from kplpy.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

READER_TIMEOUT = 2.0
"""Seconds that a reader may take."""


class StatsSocket:
    """A Unix socket at `<path>.<process id>`, for this user only.

    Each connection gets what `snapshot` returns, and is closed. One thread waits in accept(), and works only when
    a reader connects. The file appears when the socket accepts connections, so a file that refuses is a dead process's.

    snapshot: returns the state as bytes; called on the socket's thread.
    """

    def __init__(self, path: str, snapshot: Callable[[], bytes]) -> None:
        self._path = f"{path}.{os.getpid()}"
        self._snapshot = snapshot
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._is_ended = False
        self._errors = RateLimitedLog(logger, "internal_errors")

    def start(self) -> None:
        """Start, at the first put. A failure to make the socket or its thread is logged; records go on."""
        if self._listener is not None or self._is_ended:
            return
        new_path = f"{self._path}.new"
        try:
            if os.path.lexists(new_path):  # left by a process of the same id that was killed at this point
                os.unlink(new_path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener = listener
            listener.bind(new_path)
            os.chmod(new_path, 0o600)
            listener.listen()
            thread = threading.Thread(target=self._serve, args=(listener,), name="kplpy-stats", daemon=True)
            if not start_thread(thread):
                raise RuntimeError("no thread can be started")
            self._thread = thread
            os.rename(new_path, self._path)
        except (OSError, AttributeError, RuntimeError) as error:  # no Unix sockets; or the interpreter is exiting
            log(logger, "stats_not_offered", {"path": self._path, "reason": f"{type(error).__name__}: {error}"})
            self.close()

    def close(self) -> None:
        """Remove the file and end the thread. Waits at most READER_TIMEOUT for a connected reader."""
        self._is_ended = True
        if self._listener is None:
            return
        self._errors.close()
        for name in (self._path, f"{self._path}.new"):
            try:
                os.unlink(name)
            except OSError:
                pass
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # ends accept()
        except OSError:
            pass
        self._listener.close()
        self._listener = None
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(READER_TIMEOUT)  # a reader may be connected

    def abandon(self) -> None:
        """Close this copy of the socket in a forked child: the parent's socket must be dead when the parent is."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._is_ended = True

    def _serve(self, listener: socket.socket) -> None:
        outlive(lambda: self._serve_one(listener), self._raised, lambda: self._is_ended)

    def _serve_one(self, listener: socket.socket) -> bool:
        try:
            reader, _ = listener.accept()
        except OSError:
            return False
        with reader:
            try:
                reader.settimeout(READER_TIMEOUT)
                reader.sendall(self._snapshot())
            except OSError:  # the reader went away
                pass
        return True

    def _raised(self, error: BaseException) -> None:
        self._errors.say(f"sending the state: {type(error).__name__}: {error}", error)
