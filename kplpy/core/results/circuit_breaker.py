"""Slows requests down after whole requests have failed, and decides when an error is final."""

from __future__ import annotations

from collections.abc import Callable

from kplpy.core import policy as rules
from kplpy.core.exchange import RequestError
from kplpy.core.results.retry_policy import backoff

NEVER = float("inf")


class CircuitBreaker:
    """Spaces requests by a backoff from a failed request until the next good response.

    A request does not wait for the response to the one before, because a timeout can take long.

    not_before: no request may be sent before this time.
    error: the latest error while the breaker is open, else None.
    """

    __slots__ = ("_denied_at", "_denied_since", "_failed_at", "_failures", "_random", "error", "not_before")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0
        self._failed_at = -NEVER
        self._denied_since = self._denied_at = -NEVER
        self.not_before = -NEVER
        self.error: RequestError | None = None

    @property
    def is_open(self) -> bool:
        """True from a failed request until the next good response."""
        return self._failures > 0

    def failed(self, started: float, now: float, error: RequestError) -> None:
        """A request sent at `started` failed. Failures of requests sent before the first failure count once."""
        self.error = error
        if self._failures and started < self._failed_at:
            return
        self.not_before = self._within_grace(now, now + backoff(self._failures, self._random()))
        self._failures += 1
        self._failed_at = now

    def request_sent(self, now: float) -> None:
        """A request was sent. In an outage, the next one waits, with or without a response to this one."""
        if self._failures:
            pause = max(rules.PROBE_INTERVAL, backoff(self._failures, self._random()))
            self.not_before = self._within_grace(now, now + pause)

    def close(self) -> None:
        """A request got a good response."""
        self._failures = 0
        self.error = None
        self._denied_since = self.not_before = -NEVER

    def denied(self, now: float) -> bool:
        """Count a denied request. Return True if requests were denied, or could not be made, for DENIED_GRACE."""
        if self._denied_since == -NEVER or now > self._denied_at + rules.DENIED_MEMORY:
            self._denied_since = now
        self._denied_at = now
        self.not_before = self._within_grace(now, self.not_before)
        return now >= self._denied_since + rules.DENIED_GRACE

    def _within_grace(self, now: float, at: float) -> float:
        """Return `at`, at most the end of the grace, so that the last attempt comes right then."""
        end = self._denied_since + rules.DENIED_GRACE
        return min(at, end) if now < end else at
