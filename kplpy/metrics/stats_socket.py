"""A local socket at which a producer tells how it stands, to whoever connects: `kplpy top`."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

from kplpy.concurrency import outlive
from kplpy.logs import log
from kplpy.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that a reader may take."""


class StatsSocket:
    """At `<path>.<process id>`, for this user only. Each connection gets what `tell` returns, and is closed.

    Its one thread waits in accept() and does nothing while nobody looks. The file appears only once it can be connected
    to, so that one which refuses is known to be a dead process's.
    """

    def __init__(self, path: str, tell: Callable[[], bytes]) -> None:
        self._path = f"{path}.{os.getpid()}"
        self._tell = tell
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._ended = False
        self._errors = RateLimitedLog(logger, "internal_errors")

    def start(self) -> None:
        """With the first put. Where there can be no socket, or no thread, that is logged, and records go on."""
        if self._listener is not None or self._ended:
            return
        unready = f"{self._path}.new"
        try:
            if os.path.lexists(unready):  # of a process that was killed here, with our id
                os.unlink(unready)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener = listener
            listener.bind(unready)
            os.chmod(unready, 0o600)
            listener.listen()
            thread = threading.Thread(target=self._serve, args=(listener,), name="kplpy-stats", daemon=True)
            thread.start()
            self._thread = thread
            os.rename(unready, self._path)
        except (OSError, AttributeError, RuntimeError) as error:  # no Unix sockets; the interpreter is on its way out
            log(logger, "stats_not_offered", {"path": self._path, "reason": f"{type(error).__name__}: {error}"})
            self.close()

    def close(self) -> None:
        self._ended = True
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
            self._thread.join(PATIENCE)  # a reader may be connected

    def abandon(self) -> None:
        """In a forked child: the socket is the parent's, and must be seen to be dead when that is."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._ended = True

    def _serve(self, listener: socket.socket) -> None:
        outlive(lambda: self._serve_one(listener), self._raised, lambda: self._ended)

    def _serve_one(self, listener: socket.socket) -> bool:
        try:
            reader, _ = listener.accept()
        except OSError:
            return False
        with reader:
            try:
                reader.settimeout(PATIENCE)
                reader.sendall(self._tell())
            except OSError:  # the reader went away
                pass
        return True

    def _raised(self, error: BaseException) -> None:
        self._errors.say(f"telling how it stands: {type(error).__name__}: {error}", error)
