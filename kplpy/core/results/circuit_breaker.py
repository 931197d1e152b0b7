"""Failures of whole requests: when the next one may ask whether it is over, and when to stop hoping."""

from __future__ import annotations

from collections.abc import Callable

from kplpy.core import policy as rules
from kplpy.core.exchange import RequestError
from kplpy.core.results.retry_policy import backoff

NEVER = float("inf")


class CircuitBreaker:
    """After a failed request the stream sends one at a time, each a backoff after the last; a good answer ends it.

    The next one does not wait for the answer of the one before: that may be a timeout away.
    """

    __slots__ = ("_denied_at", "_denied_since", "_failed_at", "_failures", "_random", "error", "not_before")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0
        self._failed_at = -NEVER
        self._denied_since = self._denied_at = -NEVER
        self.not_before = -NEVER
        self.error: RequestError | None = None  # the latest, while it lasts

    @property
    def is_open(self) -> bool:
        return self._failures > 0

    def failed(self, started: float, now: float, error: RequestError) -> None:
        """A request sent at `started` failed. Several sent before the first failure are one step."""
        self.error = error
        if self._failures and started < self._failed_at:
            return
        self.not_before = self._within_grace(now, now + backoff(self._failures, self._random()))
        self._failures += 1
        self._failed_at = now

    def request_sent(self, now: float) -> None:
        """A request goes out; if there is an outage, the next one waits, whether or not this one is answered."""
        if self._failures:
            pause = max(rules.PROBE_INTERVAL, backoff(self._failures, self._random()))
            self.not_before = self._within_grace(now, now + pause)

    def close(self) -> None:
        """A request was answered."""
        self._failures = 0
        self.error = None
        self._denied_since = self.not_before = -NEVER

    def denied(self, now: float) -> bool:
        """Return True if requests have been denied, or could not be made, for longer than a hiccup lasts."""
        if self._denied_since == -NEVER or now > self._denied_at + rules.DENIED_MEMORY:
            self._denied_since = now
        self._denied_at = now
        self.not_before = self._within_grace(now, self.not_before)
        return now >= self._denied_since + rules.DENIED_GRACE

    def _within_grace(self, now: float, at: float) -> float:
        """Return the end of the grace if `at` is later, so that the last attempt comes right then."""
        end = self._denied_since + rules.DENIED_GRACE
        return min(at, end) if now < end else at
