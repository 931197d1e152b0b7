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
        return now if missing <= 1e-6 else max(now, self.stamp) + missing / self.rate

    def backlog(self, cost: float, now: float, full_rate: float) -> float:
        """Seconds until the cost can be paid; below 0: what is saved up beside it, over `full_rate`."""
        self.ready_at(0, now)
        missing = cost - self.level
        return missing / (self.rate if missing > 0 else full_rate)

    def set_rate(self, rate: float, now: float) -> None:
        self.ready_at(0, now)
        self.rate = rate
        self.full, self.reserve = rate * (1 + policy.RESERVE), rate * 2 * policy.RESERVE
        self.level = min(self.level, self.full)

    def spend(self) -> None:
        """Nothing is saved up."""
        self.level = min(self.level, self.reserve)

    def rest(self, until: float) -> None:
        """It grows again only shortly before `until`."""
        self.stamp = max(self.stamp, until - policy.RESTED)


class Recent:
    """About how much there was within a second: the second before counts while the present one fills."""

    __slots__ = ("_before", "_now", "_since")

    def __init__(self) -> None:
        self._before = self._now = 0
        self._since = float("-inf")

    def add(self, amount: int, now: float) -> None:
        if now >= self._since + 1:
            follows = now < self._since + 2
            self._before = self._now if follows else 0
            self._since = self._since + 1 if follows else now
            self._now = 0
        self._now += amount

    def at(self, now: float) -> float:
        self.add(0, now)
        return max(self._before, self._now + self._before * (self._since + 1 - now))


class Limiter:
    """A shard's two limits: Kinesis records and bytes (data + partition key) a second, times `scale`.

    `scale` starts at its ceiling. When the shard throttles although that holds, others write to it too, and it adapts.
    It decreases by the share that was refused (as DCTCP does it, RFC 8257), but never by so little that refusals go on,
    and comes back as CUBIC does (RFC 9438): quickly to where it was, slowly past that, and then ever faster, so that a
    shard that is free again is used within seconds. Multiplicative decrease is what lets all who do so converge to
    equal shares (Chiu & Jain, 1989).

    What the shard took within the last second bounds the decrease, as delivery does in BBR (Cardwell et al., 2016): if
    that was nearly all of its limit, there is nobody to make room for, and a refusal is the service's way of counting.
    """

    __slots__ = (
        "_bytes",
        "_bytes_taken",
        "_ceiling",
        "_decreased_at",
        "_plateau",
        "_reached",
        "_records",
        "_records_taken",
        "_refused",
        "_sent",
        "scale",
        "shards",
    )

    def __init__(self, scale: float, now: float, shards: int = 1) -> None:
        self.scale = self._ceiling = self._plateau = scale * shards
        self.shards = shards
        self._records = Bucket(policy.SHARD_RECORDS_PER_SECOND * self.scale, now)
        self._bytes = Bucket(policy.SHARD_BYTES_PER_SECOND * self.scale, now)
        self._records_taken, self._bytes_taken = Recent(), Recent()
        self._decreased_at = self._reached = float("-inf")
        self._sent = self._refused = 0  # records since the last decrease

    def ready_at(self, size: int, now: float) -> float:
        """The earliest time at which one Kinesis record of `size` bytes may be sent."""
        return max(self._records.ready_at(1, now), self._bytes.ready_at(size, now))

    def has(self, size: int, now: float) -> bool:
        """May one Kinesis record of `size` bytes be sent, beyond doubt?

        Told sooner than by ready_at, to which it leaves what is nearly used up, and the first question at this time.
        """
        records, data = self._records, self._bytes
        return (
            records.stamp >= now <= data.stamp
            and records.level >= 1 + records.reserve
            and data.level >= size + data.reserve
        )

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
        self._records.level -= 1
        self._bytes.level -= size
        self._sent += 1

    def give_back(self, size: int) -> None:
        """A record that was paid for reached no shard: its request was refused as a whole."""
        self._records.level = min(self._records.full, self._records.level + 1)
        self._bytes.level = min(self._bytes.full, self._bytes.level + size)
        self._sent = max(0, self._sent - 1)

    def taken(self, now: float) -> float:
        """What the shard took within a second, of its own limits, whichever is nearer."""
        records = self._records_taken.at(now) / policy.SHARD_RECORDS_PER_SECOND
        return max(records, self._bytes_taken.at(now) / policy.SHARD_BYTES_PER_SECOND)

    def rest(self, until: float) -> None:
        """Nothing is sent before `until`, and little saved up meanwhile: as a burst it would be refused again."""
        self._records.rest(until)
        self._bytes.rest(until)

    def accepted(self, size: int, now: float, count: int = 1) -> None:
        """The shard took records of `size` bytes in all."""
        self._records_taken.add(count, now)
        self._bytes_taken.add(size, now)

    def refused(self, started: float, now: float) -> None:
        """A record of a request of `started` was throttled. Those of requests before the last decrease say nothing."""
        if started < self._decreased_at:
            return
        self._refused += 1
        if now <= self._decreased_at:
            return
        share = self._refused / max(1.0, policy.DECREASE_SAMPLE * self.scale, self._sent)
        share = min(max(share, policy.DECREASE_LEAST), policy.DECREASE_MOST)
        before = self.scale
        self._set_scale(max(before * (1 - share), min(before, self._floor(now))), now)
        # Lower than the last time: others have come, and are left room sooner.
        self._plateau = before if before >= self._plateau else (before + self.scale) / 2
        self._reached = now + cbrt(max(0.0, self._plateau - self.scale) / (policy.INCREASE * self.shards))
        # What is saved up would only be refused as well.
        self._records.spend()
        self._bytes.spend()
        self._decreased_at = now
        self._sent = self._refused = 0

    def _floor(self, now: float) -> float:
        taken = max(
            self._records_taken.at(now) / policy.SHARD_RECORDS_PER_SECOND,
            self._bytes_taken.at(now) / policy.SHARD_BYTES_PER_SECOND,
        )
        return (
            (policy.NEARLY_ALL_KEPT * taken)
            if taken > policy.NEARLY_ALL * self.shards
            else policy.LEAST_SCALE * self.shards
        )

    def grow(self, now: float) -> None:
        """Time has passed."""
        if self.scale < self._ceiling:
            self._set_scale(self.scale_at(now), now)

    def scale_at(self, now: float) -> float:
        """What `grow` would make of the scale."""
        if self.scale >= self._ceiling:
            return self.scale
        grown = self._plateau + policy.INCREASE * self.shards * (now - self._reached) ** 3
        return min(self._ceiling, grown)

    def _set_scale(self, scale: float, now: float) -> None:
        self.scale = scale
        self._records.set_rate(policy.SHARD_RECORDS_PER_SECOND * scale, now)
        self._bytes.set_rate(policy.SHARD_BYTES_PER_SECOND * scale, now)
