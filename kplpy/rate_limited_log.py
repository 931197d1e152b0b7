"""Logs a repeated event at most once an interval, with its count and its streams."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from kplpy.concurrency import new_rlock
from kplpy.logs import EVENTS, log
from kplpy.process import fork

INTERVAL = 30.0
"""Seconds between two lines of one event."""
NEVER = float("inf")
MAX_CODES = 50
"""Error codes with lines of their own. A broken endpoint may give any number of codes; the others share one line."""

Remind = Callable[[float], object]
"""Called with the seconds after which `report` is to be called."""


class RateLimitedLog:
    """Logs one kind of event at most once in 30 s.

    The first event is logged at once, later ones together when the interval has passed. The line has these fields, if
    the event's message shows them:

    count: events since the last line.
    latest: the detail of the latest event.
    stream: the latest event's stream, and the number of other streams.

    `say` may be called on any thread and in a __del__, so the lock is reentrant. Events that are held back are logged
    by `report`, by a later `say`, or by `close`.
    """

    def __init__(
        self, logger: logging.Logger, event: str, remind: Remind | None = None, lock: Any | None = None
    ) -> None:
        self._logger = logger
        self._event = event
        self._remind = remind
        self.lock = new_rlock() if lock is None else lock
        self._page = fork.page()
        self._count = 0
        self._streams: set[str] = set()
        self._latest: dict[str, object] = {}
        self._logged_at = -NEVER

    @property
    def forked(self) -> bool:
        """Return True in a forked child of the process that made this object. Only the parent logs."""
        return not self._page[0]

    def say(
        self, detail: str = "", error: BaseException | None = None, times: int = 1, stream: str = "", **fields: object
    ) -> None:
        """Count `times` more events, and log them if the interval has passed.

        error: its traceback is logged, if this event is logged now.
        """
        if self.forked:
            return  # the lock may be held by a thread that this process does not have
        with self.lock:
            first = not self._count
            self._count += times
            self._latest = {"latest": detail, "stream": stream, **fields}
            self._streams.add(stream)
            wait = self._logged_at + INTERVAL - time.monotonic()
            fields = self._take() if wait <= 0 else {}
        if fields:
            log(self._logger, self._event, fields, error)
        elif first and self._remind is not None:
            self._remind(wait)

    def report(self) -> float:
        """Log the events that were held back, if it is time. Return the seconds until the next call, or infinity."""
        if not self._count or self.forked:
            return NEVER
        with self.lock:
            wait = self._logged_at + INTERVAL - time.monotonic()
            if not self._count or wait > 0:
                return wait if self._count else NEVER
            fields = self._take()
        log(self._logger, self._event, fields)
        return NEVER

    def close(self) -> None:
        """Log the events that were held back."""
        if self.forked:
            return
        with self.lock:
            fields = self._take() if self._count else {}
        if fields:
            log(self._logger, self._event, fields)

    def _take(self) -> dict[str, object]:
        """Return the fields of a line for all events so far, and start to count again. Under the lock."""
        self._logged_at = time.monotonic()
        others = len(self._streams - {self._latest["stream"]})
        fields = {**self._latest, "count": self._count, "stream": and_others(str(self._latest["stream"]), others)}
        self._count = 0
        self._streams = set()
        return {name: fields[name] for name in EVENTS[self._event].fields}


class Causes:
    """Logs failed requests, one line an interval for each error code."""

    def __init__(self, logger: logging.Logger, remind: Remind, lock: Any) -> None:
        self._logger = logger
        self._remind = remind
        self._lock = lock
        self._page = fork.page()
        self._by_code: dict[str, RateLimitedLog] = {}

    def say(self, stream: str, operation: str, code: str, reason: str) -> None:
        """Count a failed request of the stream, and log it if the interval has passed."""
        if not self._page[0]:
            return  # in a forked child: see RateLimitedLog
        with self._lock:
            known = code if code in self._by_code or len(self._by_code) < MAX_CODES else ""
            if known not in self._by_code:
                self._by_code[known] = RateLimitedLog(self._logger, "requests_failed", self._remind, self._lock)
            repeats = self._by_code[known]
        repeats.say(stream=stream, operation=operation, code=code, reason=reason)

    def report(self) -> float:
        """Do as RateLimitedLog.report, for all error codes."""
        return min((each.report() for each in list(self._by_code.values())), default=NEVER)

    def close(self) -> None:
        """Log the failed requests that were held back."""
        for each in list(self._by_code.values()):
            each.close()


def and_others(stream: str, others: int) -> str:
    """Return the stream's name with the number of other streams."""
    return f"{stream} and {others} more stream{'' if others == 1 else 's'}" if others else stream
