"""Limits the rate to a delivery stream, whose quota only its refusals show."""

from __future__ import annotations

from kplpy.core import policy
from kplpy.core.batching.limiter import NEVER, Limiter


class QuotaLimiter(Limiter):
    """A Limiter without a known limit.

    Quotas differ between regions, and AWS raises them on request. No API reports a delivery stream's quota. So the rate
    doubles each second until the first refusal, as in TCP's slow start. After that `shards`, the quota in units of
    1 MiB/s and 100,000 records/s, is the most that was taken within a second around a refusal, and at least 1. The rate
    decreases and increases as for that many shards. It may grow beyond them, because other producers may have been
    sending at the time, and the quota may have been raised.
    """

    __slots__ = ()

    RECORDS_PER_SECOND = policy.QUOTA_RECORDS_PER_SECOND
    """One unit in records."""

    def __init__(self, now: float) -> None:
        super().__init__(1.0, now)
        self._ceiling = policy.QUOTA_MOST

    def refused(self, started: float, now: float) -> None:
        """A record of a request that was sent at `started` was throttled."""
        is_first = self._decreased_at == NEVER
        self.shards = max(self.shards, self.taken(now))
        if is_first:
            # Doubling was too fast. Go on from what was taken, which is not far from the quota: it is no overload of
            # many producers that start together.
            self._lowest = min(self.scale_at(now), self.shards)
            self._refused_at, self._settled, self._ceiling = now, True, float("inf")
        super().refused(started, now)

    def scale_at(self, now: float) -> float:
        """Return the scale that `grow` would set."""
        if self._decreased_at != NEVER:
            return super().scale_at(now)
        return min(self._ceiling, self._lowest * 2 ** min(now - self._refused_at, 32))
