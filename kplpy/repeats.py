"""Saying a repeated thing once an interval, with its count."""

from __future__ import annotations

import logging
import threading
import time

from kplpy import forks
from kplpy.log_events import log

INTERVAL = 30.0


class Repeats:
    """Logs an event with a count: the first at once, then at most one line each 30 s that says how many there were.

    `say` may come from anywhere, a __del__ included, so its lock is reentrant.
    """

    def __init__(self, logger: logging.Logger, event: str) -> None:
        self._logger = logger
        self._event = event
        self.lock = threading.RLock()
        self._page = forks.page()
        self._count = 0
        self._latest: dict[str, object] = {}
        self._said_at = float("-inf")

    @property
    def forked(self) -> bool:
        """Was it made in a parent process? Then the parent says it: here it is silent."""
        return not self._page[0]

    def say(self, detail: str, error: BaseException | None = None, times: int = 1, **fields: object) -> None:
        """`error`: its traceback goes along when this is the one that is logged, as the event's `fields` do."""
        if self.forked:
            return  # and the lock may be held by a thread that is not here
        with self.lock:
            self._count += times
            self._latest = {"latest": detail, **fields}
            now = time.monotonic()
            if now - self._said_at < INTERVAL:
                return
            self._said_at = now
            fields = self._take()
        log(self._logger, self._event, fields, error)

    def close(self) -> None:
        """Say what is left unsaid."""
        if self.forked:
            return
        with self.lock:
            fields = self._take()
        if fields["count"]:
            log(self._logger, self._event, fields)

    def _take(self) -> dict[str, object]:
        count, self._count = self._count, 0
        return {"count": count, **self._latest}
