"""Logging a repeated thing once an interval, with its count and its streams."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from kplpy.logs import EVENTS, log
from kplpy.process import fork

INTERVAL = 30.0
NEVER = float("inf")
MOST_CAUSES = 50
"""Different codes that are logged apart; the codes of a broken endpoint may be without end."""

Remind = Callable[[float], object]
"""Has `report` called in so many seconds."""


class RateLimitedLog:
    """Logs one event: the first at once, then at most one line each 30 s for all that came since.

    The line has the event's fields out of: `count`, how many there were; `latest`, the latest one's detail; `stream`,
    the latest one's, and how many other streams there were. `say` may come from anywhere, a __del__ included, so the
    lock is reentrant. What it holds back is logged by `report`, by the next `say`, or by `close`.
    """

    def __init__(
        self, logger: logging.Logger, event: str, remind: Remind | None = None, lock: Any | None = None
    ) -> None:
        self._logger = logger
        self._event = event
        self._remind = remind
        self.lock = threading.RLock() if lock is None else lock
        self._page = fork.page()
        self._count = 0
        self._streams: set[str] = set()
        self._latest: dict[str, object] = {}
        self._said_at = -NEVER

    @property
    def forked(self) -> bool:
        """Return True in a child of the process that made it. The parent logs; the child is silent."""
        return not self._page[0]

    def say(
        self, detail: str = "", error: BaseException | None = None, times: int = 1, stream: str = "", **fields: object
    ) -> None:
        """Count one more, `times` over. error: its traceback is logged with it, if it is the one that is logged now."""
        if self.forked:
            return  # and the lock may be held by a thread that is not here
        with self.lock:
            first = not self._count
            self._count += times
            self._latest = {"latest": detail, "stream": stream, **fields}
            self._streams.add(stream)
            wait = self._said_at + INTERVAL - time.monotonic()
            fields = self._take() if wait <= 0 else {}
        if fields:
            log(self._logger, self._event, fields, error)
        elif first and self._remind is not None:
            self._remind(wait)

    def report(self) -> float:
        """Log what was held back for long enough; returns in how many seconds to call again, or infinity."""
        if not self._count or self.forked:
            return NEVER
        with self.lock:
            wait = self._said_at + INTERVAL - time.monotonic()
            if not self._count or wait > 0:
                return wait if self._count else NEVER
            fields = self._take()
        log(self._logger, self._event, fields)
        return NEVER

    def close(self) -> None:
        """Log what was held back."""
        if self.forked:
            return
        with self.lock:
            fields = self._take() if self._count else {}
        if fields:
            log(self._logger, self._event, fields)

    def _take(self) -> dict[str, object]:
        self._said_at = time.monotonic()
        others = len(self._streams - {self._latest["stream"]})
        fields = {**self._latest, "count": self._count, "stream": and_others(str(self._latest["stream"]), others)}
        self._count = 0
        self._streams = set()
        return {name: fields[name] for name in EVENTS[self._event].fields}


class Causes:
    """Logs failed requests, one line an interval for each error code, however many streams and requests it fails."""

    def __init__(self, logger: logging.Logger, remind: Remind, lock: Any) -> None:
        self._logger = logger
        self._remind = remind
        self._lock = lock
        self._page = fork.page()
        self._by_code: dict[str, RateLimitedLog] = {}

    def say(self, stream: str, operation: str, code: str, reason: str) -> None:
        """A request of the stream failed."""
        if not self._page[0]:
            return  # in a forked child: see RateLimitedLog
        with self._lock:
            known = code if code in self._by_code or len(self._by_code) < MOST_CAUSES else ""
            if known not in self._by_code:
                self._by_code[known] = RateLimitedLog(self._logger, "requests_failed", self._remind, self._lock)
            repeats = self._by_code[known]
        repeats.say(stream=stream, operation=operation, code=code, reason=reason)

    def report(self) -> float:
        """As RateLimitedLog.report, for all of them."""
        return min((each.report() for each in list(self._by_code.values())), default=NEVER)

    def close(self) -> None:
        for each in list(self._by_code.values()):
            each.close()


def and_others(stream: str, others: int) -> str:
    """The stream's name, and how many more there are."""
    return f"{stream} and {others} more stream{'' if others == 1 else 's'}" if others else stream
