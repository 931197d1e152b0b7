"""Saying a repeated thing once an interval, with its count."""

from __future__ import annotations

import logging
import threading
import time

from kplpy import forks

INTERVAL = 30.0


class Repeats:
    """Logs the first of its kind at once, then at most one line each 30 s that says how many there were.

    `say` may come from anywhere, a __del__ included, so its lock is reentrant.
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self.lock = threading.RLock()
        self._page = forks.page()
        self._count = 0
        self._latest = ""
        self._said_at = float("-inf")

    @property
    def forked(self) -> bool:
        """Was it made in a parent process? Then the parent says it: here it is silent."""
        return not self._page[0]

    def say(self, detail: str, error: BaseException | None = None) -> None:
        """`error`: its traceback goes along when this is the one that is logged."""
        if self.forked:
            return  # and the lock may be held by a thread that is not here
        with self.lock:
            self._count += 1
            self._latest = detail
            now = time.monotonic()
            if now - self._said_at < INTERVAL:
                return
            self._said_at = now
            line = self._line()
        self._logger.error(line, exc_info=error)

    def close(self) -> None:
        """Say what is left unsaid."""
        if self.forked:
            return
        with self.lock:
            line = self._line() if self._count else ""
        if line:
            self._logger.error(line)

    def _line(self) -> str:
        count, self._count = self._count, 0
        return f"{count} {self._what}; the latest: {self._latest}"
