"""Token buckets: what a shard may still take."""

from __future__ import annotations

from kplpy.core import policy


def cbrt(x: float) -> float:
    return float(x ** (1 / 3))  # math.cbrt is newer than Python 3.10


class Bucket:
    """Grows by `rate` a second, on being asked; starts full. Of a second's worth a little is kept in `reserve`.

    A cost above the rest needs a full bucket, as at the service, and may drive it negative, so that the long-run rate
    holds. Full here is so much above a second's worth that the service's bucket, which learns of what was sent before
    somewhat later, is full too.
    """

    __slots__ = ("full", "level", "rate", "reserve", "stamp")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.level = self.full = rate * (1 + policy.RESERVE)
        self.reserve = rate * 2 * policy.RESERVE
        self.stamp = now

    def ready_at(self, cost: float, now: float) -> float:
        """The earliest time at which the cost can be taken."""
        if now > self.stamp:
            self.level = min(self.full, self.level + (now - self.stamp) * self.rate)
            self.stamp = now
        missing = min(cost + self.reserve, self.full) - self.level
        # Below a millionth of a unit it is rounding, which would have the caller wake again and again.
        return now if missing <= 1e-6 else now + missing / self.rate

    def backlog(self, cost: float, now: float, full_rate: float) -> float:
        """Seconds until the cost can be paid; below 0: what is saved up beside it, over `full_rate`."""
        self.ready_at(0, now)
        missing = cost - self.level
        return missing / (self.rate if missing > 0 else full_rate)

    def take(self, cost: float) -> None:
        self.level -= cost

    def set_rate(self, rate: float, now: float) -> None:
        self.ready_at(0, now)
        self.rate = rate
        self.full, self.reserve = rate * (1 + policy.RESERVE), rate * 2 * policy.RESERVE
        self.level = min(self.level, self.full)

    def spend(self) -> None:
        """Nothing is saved up."""
        self.level = min(self.level, self.reserve)


class Limiter:
    """A shard's two limits: Kinesis records and bytes (data + partition key) a second, times `scale`.

    `scale` starts at its ceiling. When the shard throttles although that holds, others write to it too, and it adapts.
    It decreases by the share that was refused, so that a few refusals cost little (as DCTCP does it, RFC 8257), and
    comes back as CUBIC does (RFC 9438): quickly to where it was, slowly past that, and then ever faster, so that a
    shard that is free again is used within seconds. Multiplicative decrease is what lets all who do so converge to
    equal shares (Chiu & Jain, 1989).
    """

    __slots__ = (
        "_bytes",
        "_ceiling",
        "_decreased_at",
        "_plateau",
        "_reached",
        "_records",
        "_refused",
        "_refused_at",
        "_sent",
        "_unit",
        "scale",
    )

    def __init__(self, scale: float, now: float, shards: int = 1) -> None:
        self.scale = self._ceiling = self._plateau = scale * shards
        self._unit = shards
        self._records = Bucket(policy.SHARD_RECORDS_PER_SECOND * self.scale, now)
        self._bytes = Bucket(policy.SHARD_BYTES_PER_SECOND * self.scale, now)
        self._decreased_at = self._reached = self._refused_at = float("-inf")
        self._sent = self._refused = 0  # records since the last decrease

    def ready_at(self, size: int, now: float) -> float:
        """The earliest time at which one Kinesis record of `size` bytes may be sent."""
        return max(self._records.ready_at(1, now), self._bytes.ready_at(size, now))

    def backlog(self, count: int, size: int, now: float) -> float:
        """Seconds until so many records, of so many bytes in all, can be taken.

        Below 0: what could be taken beside them at once, as seconds of a shard's whole limits.
        """
        self.grow(now)
        return max(
            self._records.backlog(count, now, policy.SHARD_RECORDS_PER_SECOND),
            self._bytes.backlog(size, now, policy.SHARD_BYTES_PER_SECOND),
        )

    def take(self, size: int) -> None:
        self._records.take(1)
        self._bytes.take(size)
        self._sent += 1

    def refused(self, started: float, now: float) -> None:
        """A record of a request of `started` was throttled. Those of requests before the last decrease say nothing."""
        if started < self._decreased_at:
            return
        self._refused += 1
        before, self._refused_at = self._refused_at, now
        if now <= self._decreased_at or (self.scale >= self._ceiling and now > before + policy.TOLERANCE):
            return
        share = self._refused / max(1.0, policy.DECREASE_SAMPLE * self.scale, self._sent)
        share = min(max(share, policy.DECREASE_LEAST), policy.DECREASE_MOST)
        floor = min(policy.LEAST_SCALE * self._unit, self._ceiling)
        plateau, self._plateau = self._plateau, self.scale
        if self.scale < plateau:  # others have come: leave them room sooner
            self._plateau *= 1 - share / 2
        self._set_scale(max(self.scale * (1 - share), floor), now)
        self._reached = now + cbrt(max(0.0, self._plateau - self.scale) / (policy.INCREASE * self._unit))
        # What is saved up would only be refused as well.
        self._records.spend()
        self._bytes.spend()
        self._decreased_at = now
        self._sent = self._refused = 0

    def grow(self, now: float) -> None:
        """Time has passed."""
        if self.scale < self._ceiling:
            self._set_scale(self.scale_at(now), now)

    def scale_at(self, now: float) -> float:
        """What `grow` would make of the scale."""
        if self.scale >= self._ceiling:
            return self.scale
        grown = self._plateau + policy.INCREASE * self._unit * (now - self._reached) ** 3
        return min(self._ceiling, grown)

    def _set_scale(self, scale: float, now: float) -> None:
        self.scale = scale
        self._records.set_rate(policy.SHARD_RECORDS_PER_SECOND * scale, now)
        self._bytes.set_rate(policy.SHARD_BYTES_PER_SECOND * scale, now)
