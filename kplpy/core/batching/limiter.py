"""Token buckets: what a shard may still take."""

from __future__ import annotations

from kplpy.core import policy

NEVER = float("-inf")


class Bucket:
    """Grows by `rate` a second, on being asked. Of a second's worth a little is kept in `reserve`.

    It starts with the reserve and `filled` of what is above it, 0 to 1. The rest is withheld while the bucket fills up.
    A record that needs a full bucket gets the rest at once.

    A cost above the rest needs a full bucket, as at the service, and may drive it negative, so that the long-run rate
    holds. Full here is so much above a second's worth that the service's bucket, which learns of what was sent before
    somewhat later, is full too.
    """

    __slots__ = ("full", "level", "rate", "reserve", "stamp", "withheld")

    def __init__(self, rate: float, now: float, filled: float = 1.0) -> None:
        self.rate = rate
        self.full = rate * (1 + policy.RESERVE)
        self.reserve = rate * 2 * policy.RESERVE
        self.level = self.reserve + filled * (self.full - self.reserve)
        self.withheld = self.full - self.level
        self.stamp = now

    def ready_at(self, cost: float, now: float) -> float:
        """The earliest time at which the cost can be taken."""
        if now > self.stamp:
            grown = (now - self.stamp) * self.rate
            self.level = min(self.full, self.level + grown)
            self.withheld = max(0.0, self.withheld - grown)
            self.stamp = now
        if self.withheld and cost + self.reserve > self.full:
            self.level, self.withheld = self.level + self.withheld, 0.0
        missing = min(cost + self.reserve, self.full) - self.level
        # Below a millionth of a unit it is rounding, which would have the caller wake again and again.
        return now if missing <= 1e-6 else max(now, self.stamp) + missing / self.rate

    def backlog(self, cost: float, now: float, full_rate: float) -> float:
        """Seconds until the cost can be paid; below 0: what is saved up beside it, over `full_rate`."""
        self.ready_at(0, now)
        missing = cost - self.level
        return missing / (self.rate if missing > 0 else full_rate)

    def set_rate(self, rate: float, now: float) -> None:
        """A bucket that was full is full at the new rate too: a large record waits for that."""
        self.ready_at(0, now)
        was_full = self.level >= self.full
        self.rate = rate
        self.full, self.reserve = rate * (1 + policy.RESERVE), rate * 2 * policy.RESERVE
        self.level = self.full if was_full else min(self.level, self.full)

    def spend(self, pause: float = 0.0) -> None:
        """Nothing is saved up, and nothing can be taken for `pause` seconds."""
        self.level = min(self.level, self.reserve - pause * self.rate)
        self.withheld = 0.0

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

    `scale` soon reaches its ceiling. When the shard throttles although the limits hold, others write to it too, and it
    adapts. The service tells each producer only of its own refused records, some 20 sent a second at most.

    - Equal shares come of an increase that is much the same for all and a decrease in proportion (AIMD: Chiu & Jain,
      1989). Here the decrease is also the larger part the larger the share: near its limit a shard refuses a sender of
      few records more often than one of many, because the latter's next record takes what has just become free.
    - There is one decrease for each overload, as TCP has one for each round trip (RFC 5681).
    - The increase is a function of the time since the last decrease, slow at first, then faster and faster, as in H-TCP
      (Leith & Shorten, 2004) and beyond CUBIC's plateau (RFC 9438): what another leaves is in use within seconds.
      The last part, near the limit, is slow again, so that what the shard took tells who is alone there.
    - Where much is refused, many share: that time then counts for less. All who share the shard see the same, so it
      changes nobody's part of it.
    - Until the first overload is over, the decrease is the part that was refused, as in DCTCP (RFC 8257): producers
      that start together get from N times the limit to about once within one or two decreases.
    - What the shard took within the last second bounds the decrease, as delivery does in BBR (Cardwell et al., 2016):
      if that was nearly all of its limit, and nothing was refused for seconds, the refusal may be the service's way of
      counting (fixed windows), and the decrease is small. Where others write, the next refusal comes sooner.
    """

    __slots__ = (
        "_alone",
        "_before",
        "_bytes",
        "_bytes_taken",
        "_ceiling",
        "_decreased_at",
        "_lowest",
        "_overload_refused",
        "_overload_sent",
        "_records",
        "_records_taken",
        "_refused",
        "_refused_at",
        "_refused_share",
        "_sent",
        "_settled",
        "scale",
        "shards",
    )

    def __init__(self, scale: float, now: float, shards: int = 1) -> None:
        self._ceiling = scale * shards
        self.scale = self._before = self._lowest = policy.START * self._ceiling
        self.shards = shards
        self._records = Bucket(policy.SHARD_RECORDS_PER_SECOND * self.scale, now, policy.FIRST_BURST)
        self._bytes = Bucket(policy.SHARD_BYTES_PER_SECOND * self.scale, now, policy.FIRST_BURST)
        self._records_taken, self._bytes_taken = Recent(), Recent()
        self._settled = self._alone = False  # is the first overload over; does nobody else seem to write to the shard
        self._decreased_at, self._refused_at = NEVER, now
        self._sent = self._refused = 0  # records since the last decrease
        self._overload_sent = self._overload_refused = 0  # records that the last decrease was reckoned from
        self._refused_share = 0.0  # of some REFUSED_MEMORY records, once the first overload is over

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

    def pay(self, size: int) -> None:
        self._records.level -= 1
        self._bytes.level -= size
        self._sent += 1

    def return_tokens(self, size: int) -> None:
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
        """A record of a request that was sent at `started` was throttled."""
        if started < self._decreased_at:  # sent before the decrease: the overload was worse than known then
            self._overload_refused += 1
            self._decrease(now)
            return
        self.grow(now)
        if started - self._refused_at > policy.SETTLED_AFTER:
            self._settled = True
        self._refused_at = now
        self._refused += 1
        if (self._settled or self._alone) and started < self._decreased_at + policy.DECREASE_INTERVAL:
            return
        calm = self._settled and now - self._decreased_at > policy.ALONE_CALM
        self._alone = calm and self.taken(now) > policy.NEARLY_ALL * self.shards
        self._before, self._decreased_at = self.scale, now
        self._begin_count()
        self._decrease(now)
        if self._settled and not self._alone:
            self._records.spend(policy.DECREASE_PAUSE)
            self._bytes.spend(policy.DECREASE_PAUSE)

    def _begin_count(self) -> None:
        if self._settled and self._sent:
            weight = min(1.0, self._sent / policy.REFUSED_MEMORY)
            self._refused_share += weight * (self._refused / self._sent - self._refused_share)
        self._overload_sent, self._overload_refused = self._sent, self._refused
        self._sent = self._refused = 0

    def _decrease(self, now: float) -> None:
        """Set the scale by all that is known of the present overload, if that is lower than it is."""
        share = min(1.0, self._before / self.shards)
        part = max(policy.DECREASE_LEAST, policy.DECREASE_BY_SHARE * (share - policy.DECREASE_FROM))
        least = policy.LEAST_SCALE * self.shards
        if self._alone:
            part = policy.ALONE_DECREASE
        elif not self._settled:
            least *= policy.FIRST_LEAST
            refused = self._overload_refused / max(policy.FIRST_SAMPLE, self._overload_sent)
            part = min(max(part, refused), policy.DECREASE_MOST)
        scale = max(self._before * (1 - part), min(self._before, least))
        if scale < self.scale:
            self._lowest = scale
            self._set_scale(scale, now)
            # What is saved up would only be refused as well.
            self._records.spend()
            self._bytes.spend()

    def grow(self, now: float) -> None:
        """Time has passed."""
        if self.scale < self._ceiling:
            self._set_scale(self.scale_at(now), now)

    def scale_at(self, now: float) -> float:
        """What `grow` would make of the scale."""
        if self.scale >= self._ceiling:
            return self.scale
        if self._decreased_at == NEVER:
            return min(self._ceiling, self._lowest + policy.START_INCREASE * self._ceiling * (now - self._refused_at))
        if self._alone:
            return min(self._ceiling, self._lowest + policy.ALONE_INCREASE * self.shards * (now - self._decreased_at))
        # The first overload is to end before the rate grows again.
        calm = max(0.0, now - (self._decreased_at if self._settled else self._refused_at + policy.SETTLED_AFTER))
        slower = policy.REFUSED_MUCH / max(policy.REFUSED_MUCH, self._refused_share)
        calm *= slower
        over = max(0.0, calm - policy.INCREASE_CALM)
        share = min(self._lowest / self.shards, policy.INCREASE_SHARE) + policy.INCREASE_BASE
        gained = policy.INCREASE * share * self.shards * (calm + policy.INCREASE_FASTER * over**3)
        knee = policy.INCREASE_KNEE * self.shards
        scale = self._lowest + gained
        if self._lowest < knee < scale:
            scale = knee + policy.INCREASE_ABOVE_KNEE * (scale - knee)
        return min(self._ceiling, scale)

    def _set_scale(self, scale: float, now: float) -> None:
        self.scale = scale
        self._records.set_rate(policy.SHARD_RECORDS_PER_SECOND * scale, now)
        self._bytes.set_rate(policy.SHARD_BYTES_PER_SECOND * scale, now)
