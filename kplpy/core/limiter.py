"""Token buckets: what a shard may still take."""

from __future__ import annotations

from kplpy.core import policy


class Bucket:
    """Grows by `rate` a second up to nearly a second's worth, on being asked; starts full.

    A cost above the whole capacity needs a full bucket and drives it negative, so that the long-run rate holds.
    """

    __slots__ = ("capacity", "level", "rate", "stamp")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.level = self.capacity = rate * policy.BURST
        self.stamp = now

    def ready_at(self, cost: float, now: float) -> float:
        """The earliest time at which the cost can be taken."""
        if now > self.stamp:
            self.level = min(self.capacity, self.level + (now - self.stamp) * self.rate)
            self.stamp = now
        missing = min(cost, self.capacity) - self.level
        # Below a millionth of a unit it is rounding, which would have the caller wake again and again.
        return now if missing <= 1e-6 else now + missing / self.rate

    def take(self, cost: float) -> None:
        self.level -= cost

    def set_rate(self, rate: float, now: float) -> None:
        self.ready_at(0, now)
        self.rate = rate
        self.capacity = rate * policy.BURST
        self.level = min(self.level, self.capacity)


class Limiter:
    """A shard's two limits: Kinesis records and bytes (data + partition key) a second, times `scale`."""

    __slots__ = ("_bytes", "_records")

    def __init__(self, scale: float, now: float) -> None:
        self._records = Bucket(policy.SHARD_RECORDS_PER_SECOND * scale, now)
        self._bytes = Bucket(policy.SHARD_BYTES_PER_SECOND * scale, now)

    def ready_at(self, size: int, now: float) -> float:
        """The earliest time at which one Kinesis record of `size` bytes may be sent."""
        return max(self._records.ready_at(1, now), self._bytes.ready_at(size, now))

    def take(self, size: int) -> None:
        self._records.take(1)
        self._bytes.take(size)

    def set_scale(self, scale: float, now: float) -> None:
        self._records.set_rate(policy.SHARD_RECORDS_PER_SECOND * scale, now)
        self._bytes.set_rate(policy.SHARD_BYTES_PER_SECOND * scale, now)
