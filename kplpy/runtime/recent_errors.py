"""A producer's latest error and latest throttling, for Producer.health()."""

from __future__ import annotations

import time

THROTTLED_FOR = 10.0
"""Seconds for which a producer counts as throttled after a shard throttled a record."""


class RecentErrors:
    """Written by kplpy's threads, read by any thread, without a lock: each field is replaced as a whole."""

    def __init__(self) -> None:
        self._error: tuple[str, float] | None = None  # text, and time.monotonic()
        self._throttled_at = float("-inf")

    def note(self, stream: str, reason: str) -> None:
        """Keep the error of a failed request, listing or record."""
        self._error = (f"{stream}: {reason}", time.monotonic())

    def throttled(self) -> None:
        """Note that a shard throttled a record."""
        self._throttled_at = time.monotonic()

    def latest(self, now: float) -> tuple[str | None, float | None, bool]:
        """Return the latest error, its age in milliseconds, and whether the producer counts as throttled."""
        throttled = now - self._throttled_at < THROTTLED_FOR
        if self._error is None:
            return None, None, throttled
        text, at = self._error
        return text, max(0.0, now - at) * 1000, throttled
