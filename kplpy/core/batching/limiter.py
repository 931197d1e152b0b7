"""Limits the rate to each shard with token buckets."""

from __future__ import annotations

from kplpy.core import policy

NEVER = float("-inf")


class Bucket:
    """A token bucket that grows by `rate` tokens a second. It is brought up to date when it is asked.

    A small part of a second's worth stays in the bucket as `reserve`.

    The bucket starts with the reserve and the part `filled`, 0 to 1, of what is above it. The rest is withheld while
    the bucket fills up. A record that needs a full bucket gets the withheld tokens at once.

    A cost above the tokens that a full bucket can give needs a full bucket, as at the service. It may make the level
    negative, so that the long-run rate holds. The service's bucket learns of earlier requests somewhat later. So `full`
    is a little more than a second's worth: when this bucket is full, the service's is full too.

    full: the most tokens that the bucket holds.
    level: the tokens in the bucket at `stamp`. May be negative.
    rate: tokens a second.
    reserve: tokens that stay in the bucket.
    stamp: when the level was brought up to date.
    withheld: the tokens of a full bucket that the start held back, as far as they have not grown yet.
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
        """Return the earliest time at which the cost can be paid. Brings the level up to date."""
        if now > self.stamp:
            grown = (now - self.stamp) * self.rate
            self.level = min(self.full, self.level + grown)
            self.withheld = max(0.0, self.withheld - grown)
            self.stamp = now
        if self.withheld and cost + self.reserve > self.full:
            self.level, self.withheld = self.level + self.withheld, 0.0
        missing = min(cost + self.reserve, self.full) - self.level
        # Less than a millionth of a token is rounding, for which the caller would wake again and again.
        return now if missing <= 1e-6 else max(now, self.stamp) + missing / self.rate

    def backlog(self, cost: float, now: float, full_rate: float) -> float:
        """Return the seconds until the cost can be paid. Below 0: the tokens left beside it, over `full_rate`."""
        self.ready_at(0, now)
        missing = cost - self.level
        return missing / (self.rate if missing > 0 else full_rate)

    def set_rate(self, rate: float, now: float) -> None:
        """Change the rate. A full bucket stays full, because a large record may wait for that."""
        self.ready_at(0, now)
        was_full = self.level >= self.full
        self.rate = rate
        self.full, self.reserve = rate * (1 + policy.RESERVE), rate * 2 * policy.RESERVE
        self.level = self.full if was_full else min(self.level, self.full)

    def spend(self, pause: float = 0.0) -> None:
        """Remove the tokens above the reserve, and those of the next `pause` seconds."""
        self.level = min(self.level, self.reserve - pause * self.rate)
        self.withheld = 0.0

    def rest(self, until: float) -> None:
        """Let the bucket grow again only shortly before `until`."""
        self.stamp = max(self.stamp, until - policy.RESTED)


class Recent:
    """Sums up amounts over about a second. The second before counts less and less while the present one fills."""

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
        """Return about how much was added within the last second."""
        self.add(0, now)
        return max(self._before, self._now + self._before * (self._since + 1 - now))


class Limiter:
    """A shard's two limits: Kinesis records and bytes (data + partition key) a second, times `scale`.

    `scale` soon reaches its ceiling. If the shard throttles although the limits hold, other producers write to it too,
    and the scale adapts. A producer learns only of its own refused records, some 20 sent a second at most.

    - An increase that is much the same for all, and a decrease in proportion, lead to equal shares (AIMD: Chiu & Jain,
      1989). Here, a larger share also gives up a larger part. Near its limit, a shard refuses a sender of few records
      more often than a sender of many. The next record of the latter takes the capacity that has just become free.
    - Each overload leads to one decrease, as each round trip does in TCP (RFC 5681).
    - The increase depends on the time since the last decrease. It is slow at first, then faster and faster, as in H-TCP
      (Leith & Shorten, 2004) and beyond CUBIC's plateau (RFC 9438). So capacity that another producer leaves is in use
      within seconds. Near the limit it is slow again, so that the rate the shard took shows who is alone there.
    - If much is refused, many producers share the shard, and that time counts for less. All of them see the same, so
      their shares stay as they are.
    - Until the first overload is over, the decrease is the part that was refused, as in DCTCP (RFC 8257). Producers
      that start together get from N times the limit to about once within one or two decreases.
    - What the shard took within the last second bounds the decrease, as delivery does in BBR (Cardwell et al., 2016).
      If it took nearly all of its limit, and refused nothing for seconds, the refusal may come from the way the service
      counts (fixed windows). Then the decrease is small. If others write, the next refusal comes sooner.

    scale: the rate limit now. 1.0 is the service's limit of one shard.
    shards: the number of shards that this limiter stands for.
    """

    RECORDS_PER_SECOND = policy.SHARD_RECORDS_PER_SECOND
    """The service's limit of one shard in records."""

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

    def __init__(self, scale: float, now: float, shards: float = 1) -> None:
        self._ceiling = scale * shards
        self.scale = self._before = self._lowest = policy.START * self._ceiling
        self.shards = shards
        self._records = Bucket(self.RECORDS_PER_SECOND * self.scale, now, policy.FIRST_BURST)
        self._bytes = Bucket(policy.SHARD_BYTES_PER_SECOND * self.scale, now, policy.FIRST_BURST)
        self._records_taken, self._bytes_taken = Recent(), Recent()
        self._settled = self._alone = False  # the first overload is over; nobody else seems to write to the shard
        self._decreased_at, self._refused_at = NEVER, now
        self._sent = self._refused = 0  # records since the last decrease
        self._overload_sent = self._overload_refused = 0  # records that the last decrease was computed from
        self._refused_share = 0.0  # among about REFUSED_MEMORY records, after the first overload

    def ready_at(self, size: int, now: float) -> float:
        """Return the earliest time at which one Kinesis record of `size` bytes may be sent."""
        return max(self._records.ready_at(1, now), self._bytes.ready_at(size, now))

    def has(self, size: int, now: float) -> bool:
        """Return True if one Kinesis record of `size` bytes may certainly be sent.

        False if few tokens are left, or at the first call for this time. Then `ready_at` decides, which is slower.
        """
        records, data = self._records, self._bytes
        return (
            records.stamp >= now <= data.stamp
            and records.level >= 1 + records.reserve
            and data.level >= size + data.reserve
        )

    def backlog(self, count: int, size: int, now: float) -> float:
        """Return the seconds until `count` records, of `size` bytes in all, can be sent.

        Below 0: how much more could be sent at once, as seconds of a shard's whole limits.
        """
        self.grow(now)
        return max(
            self._records.backlog(count, now, self.RECORDS_PER_SECOND),
            self._bytes.backlog(size, now, policy.SHARD_BYTES_PER_SECOND),
        )

    def available(self, now: float) -> tuple[float, float]:
        """Return how many Kinesis records, and bytes of them, may certainly be sent. Below 0: none."""
        records, data = self._records, self._bytes
        records.ready_at(0, now)
        data.ready_at(0, now)
        return records.level - records.reserve, data.level - data.reserve

    def pay(self, size: int, count: int = 1) -> None:
        """Pay the tokens for `count` Kinesis records of `size` bytes in all."""
        self._records.level -= count
        self._bytes.level -= size
        self._sent += count

    def correct(self, size: int) -> None:
        """A record that was paid for has `size` bytes more than assumed; fewer, below 0."""
        self._bytes.level = min(self._bytes.full, self._bytes.level - size)

    def return_tokens(self, size: int) -> None:
        """Undo `pay`, because the record's request was refused as a whole and reached no shard."""
        self._records.level = min(self._records.full, self._records.level + 1)
        self._bytes.level = min(self._bytes.full, self._bytes.level + size)
        self._sent = max(0, self._sent - 1)

    def taken(self, now: float) -> float:
        """Return what the shard took within a second, as a part of its own limits. The larger of the two parts."""
        records = self._records_taken.at(now) / self.RECORDS_PER_SECOND
        return max(records, self._bytes_taken.at(now) / policy.SHARD_BYTES_PER_SECOND)

    def rest(self, until: float) -> None:
        """Save up little until `until`, when sending begins again. A burst would be refused again."""
        self._records.rest(until)
        self._bytes.rest(until)

    def accepted(self, size: int, now: float, count: int = 1) -> None:
        """The shard took `count` records of `size` bytes in all."""
        self._records_taken.add(count, now)
        self._bytes_taken.add(size, now)

    def refused(self, started: float, now: float) -> None:
        """A record of a request that was sent at `started` was throttled."""
        if started < self._decreased_at:  # sent before the decrease, so the overload was worse than known then
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
        """Count records from here on, for the next decrease."""
        if self._settled and self._sent:
            weight = min(1.0, self._sent / policy.REFUSED_MEMORY)
            self._refused_share += weight * (self._refused / self._sent - self._refused_share)
        self._overload_sent, self._overload_refused = self._sent, self._refused
        self._sent = self._refused = 0

    def _decrease(self, now: float) -> None:
        """Lower the scale by all that is known of the present overload. Never raise it."""
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
            # A burst of saved-up tokens would be refused too.
            self._records.spend()
            self._bytes.spend()

    def grow(self, now: float) -> None:
        """Bring the scale up to date."""
        if self.scale < self._ceiling:
            self._set_scale(self.scale_at(now), now)

    def scale_at(self, now: float) -> float:
        """Return the scale that `grow` would set."""
        if self.scale >= self._ceiling:
            return self.scale
        if self._decreased_at == NEVER:
            return min(self._ceiling, self._lowest + policy.START_INCREASE * self._ceiling * (now - self._refused_at))
        if self._alone:
            return min(self._ceiling, self._lowest + policy.ALONE_INCREASE * self.shards * (now - self._decreased_at))
        # The rate grows again only after the first overload.
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
        self._records.set_rate(self.RECORDS_PER_SECOND * scale, now)
        self._bytes.set_rate(policy.SHARD_BYTES_PER_SECOND * scale, now)
