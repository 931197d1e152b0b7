"""The latest error and the latest throttling of a producer, for Producer.health()."""

from __future__ import annotations

import time

THROTTLED_FOR = 10.0
"""Seconds for which a producer counts as throttled after a shard refused a record for its limits."""


class RecentErrors:
    """Written by senders, read from any thread, without a lock: each field is replaced as a whole."""

    def __init__(self) -> None:
        self._error: tuple[str, float] | None = None  # text, and when by time.monotonic()
        self._throttled_at = float("-inf")

    def note(self, stream: str, reason: str) -> None:
        """A request or a listing failed, or a record was given up."""
        self._error = (f"{stream}: {reason}", time.monotonic())

    def throttled(self) -> None:
        """A shard refused a record for its limits."""
        self._throttled_at = time.monotonic()

    def latest(self, now: float) -> tuple[str | None, float | None, bool]:
        """The latest error, its age in milliseconds, and whether the producer counts as throttled."""
        throttled = now - self._throttled_at < THROTTLED_FOR
        if self._error is None:
            return None, None, throttled
        text, at = self._error
        return text, max(0.0, now - at) * 1000, throttled
