"""The numbers that the core decides by, in seconds and bytes."""

from __future__ import annotations

from dataclasses import dataclass

from kplpy.config.options import Config
from kplpy.wire.envelope import MAX_RECORDS

# The service's limits of one shard.
SHARD_RECORDS_PER_SECOND = 1000
SHARD_BYTES_PER_SECOND = 1 << 20
# The part of a second's worth that is not used for bursts but left for requests that overtake each other: what was
# sent over 100 ms more than a second must not exceed the service's bucket when it arrives within the second.
RESERVE = 0.1

# How the rate adapts to a shard that others write to as well: limiter.py says what these follow, and scripts/rates.py
# measures what they do. The values were chosen by such sweeps, with 40 seeds a case.
# A new limiter begins at this part of its rate, with this part of its burst, and grows by so much of its rate a
# second: several that start together would be refused the rest.
START, START_INCREASE, FIRST_BURST = 0.76, 0.1, 0.28
# A decrease is DECREASE_BY_SHARE times the share of the shard above DECREASE_FROM: a producer that has more gives
# up a larger part. A flatter slope leaves the shares to luck.
DECREASE_LEAST, DECREASE_BY_SHARE, DECREASE_FROM, DECREASE_MOST = 0.11, 0.62, 0.1, 0.9
# Refusals within this many seconds of a decrease are of the same overload.
DECREASE_INTERVAL = 1.0
# After a decrease nothing is sent for so many seconds: the overload ends sooner.
DECREASE_PAUSE = 0.05
# While the first overload lasts: the part refused is taken of at least so many records, and the rate does not fall
# below FIRST_LEAST times LEAST_SCALE. It is over after SETTLED_AFTER seconds without a refusal.
FIRST_SAMPLE, FIRST_LEAST, SETTLED_AFTER = 2.9, 7, 2.1
# The increase, in shards a second: INCREASE times the share (up to INCREASE_SHARE: beyond, all gain the same) plus
# INCREASE_BASE. After INCREASE_CALM seconds without a decrease it grows with the square of the time, by
# INCREASE_FASTER; above INCREASE_KNEE of the limit it is INCREASE_ABOVE_KNEE times as fast. A slower one leaves freed
# capacity unused.
INCREASE, INCREASE_SHARE, INCREASE_BASE = 0.034, 0.3, 0.074
INCREASE_CALM, INCREASE_FASTER = 2.14, 0.85
INCREASE_KNEE, INCREASE_ABOVE_KNEE = 0.86, 0.5
# Where more than REFUSED_MUCH of some REFUSED_MEMORY records was refused, time counts for as much less. A shorter
# memory throttles eight producers less, and is often wrong about two.
REFUSED_MUCH, REFUSED_MEMORY = 0.06, 100
# Who had this part of a shard's limit within a second, and no decrease for ALONE_CALM seconds, is alone as it seems:
# the decrease is ALONE_DECREASE, and the increase ALONE_INCREASE a second. Two lock each other out where the calm is
# shorter.
NEARLY_ALL, ALONE_CALM, ALONE_DECREASE, ALONE_INCREASE = 0.915, 1.9, 0.025, 0.005
# What may be saved up while a queue backs off, in seconds' worth.
RESTED = 0.1
LEAST_SCALE = 0.01

# How long records wait for the first (or a refreshed) shard map before they travel alone.
MAP_PATIENCE = 2.0
# A map that nothing used for this long is refreshed before it is trusted: a stream that was deleted and recreated
# reuses its shard ids with other ranges.
MAP_IDLE_TRUST = 10.0
# The ranges of closed shards stay known this long, so that late answers can be judged (the KPL's figure).
CLOSED_RANGE_TTL = 60.0
# ListShards is retried as the KPL does it.
LISTING_BACKOFF_FIRST, LISTING_BACKOFF_FACTOR, LISTING_BACKOFF_MAX = 1.0, 1.5, 30.0
# A listing that is asked for because answers contradict the one before is spaced like this: ListShards may be stale.
RELISTING_BACKOFF_MAX = 5.0
# How long an aggregate on a shard that no listing shows waits for one that does, before its records are sent again.
JUDGE_PATIENCE = 10.0
# A queue whose records landed elsewhere aggregates again after so many requests in a row that its own shard took; after
# the second time, four times as many, and so on: on a service-managed stream that is but chance.
HITS_TO_AGGREGATE_AGAIN = 8
# A stream is asked for its RecordDistributionStrategy at the most this often, and up to half as long again.
STRATEGY_POLL = 60.0
# So many records in a row, each on the shard of its key, show that a stream is not (any longer) a service-managed one.
PLACEMENT_PROOF = 32
# Records without a key that go to one shard before another is chosen, where nothing is aggregated.
STICKY_RECORDS = 20
# Of so many shards the one with most room is chosen.
STICKY_CANDIDATES = 64
# Deleting a stream and creating it anew takes the service at least this long.
RECREATION_TIME = 10.0

# Exponential backoff with full jitter for throttled shards and failed requests.
BACKOFF_BASE, BACKOFF_MAX = 0.1, 2.0
# During an outage a request is sent at least this long after the one before, answered or not.
PROBE_INTERVAL = 0.5
# Access, KMS and not-found errors may be an eventual-consistency hiccup; after this they are final. The next one after
# a pause of DENIED_MEMORY has its own grace.
DENIED_GRACE = 5.0
DENIED_MEMORY = 60.0
# A record whose answers are malformed this often is given up: each attempt may have been one more copy.
MALFORMED_ATTEMPTS = 5
# Waiting records are looked through for expired ones this often at the most.
EXPIRY_INTERVAL = 0.1
# An invalid request is sent again in so many parts, and as many of those are under way at once. Of 500 records one is
# found in three rounds and some 24 requests; halves take nine rounds and 18 requests.
BISECTION_PARTS = 8
# In ordered mode the parts of an aggregate go one after the other; two, three or four take about as many requests.
BISECTION_PARTS_IN_ORDER = 4
# After so many single records in a row, and so many more that were tried one by one, it may be the request's own fault:
# it is when nothing was taken for DENIED_GRACE.
BISECTION_FAILURES = 8
# What every stream takes of one record: MaxRecordSizeInKiB is at least 1024.
LEAST_RECORD_LIMIT = 1 << 20
# UTF-8 bytes of a partition key, which has at most 256 characters.
LONGEST_KEY = 1024
# HTTP 413 makes requests smaller, down to collection_max_size's own least. They may grow again, twofold, after this.
LEAST_REQUEST_LIMIT = 52224
REQUEST_LIMIT_GROWTH = 60.0
# Queues that wait for tokens wake on a common grid (the KPL's drain interval), so that their requests travel together.
TOKEN_GRID = 0.025
# A queue with this much closed makes a request at once (the KPL's per-shard collector limit), and one queue gives at
# the most this much in its turn.
QUEUE_TURN_BYTES = 256 << 10
# With no request under way, this much closed in all queues makes one. A request costs some 2 ms of CPU at any size, but
# writers that wait for answers gain more: 1.2 times the records a second with 20,000 records of 100 B outstanding.
WORTH_SENDING = 512 << 10
# A request that is this much over its timeouts is taken as lost, whatever the HTTP client still waits for.
REQUEST_SLACK = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """A Config as the core reads it."""

    linger: float
    ttl: float  # infinite when off
    answer_timeout: float  # infinite when off; also covers records in flight
    request_timeout: float
    aggregate: bool
    aggregation_max_count: int
    aggregation_max_size: int
    first_key_outside: bool
    collection_max_count: int
    collection_max_size: int
    rate: float  # 1.0 is the shard's own limit
    fail_if_throttled: bool
    ordered: bool = False
    assumed_strategy: str | None = None  # the stream's RecordDistributionStrategy, where that cannot be learnt
    max_user_record_size: int = 1 << 20  # what put_record accepts

    @property
    def waiting_ttl(self) -> float:
        return min(self.ttl, self.answer_timeout)

    @property
    def collect_wait(self) -> float:
        """How long due aggregates wait for those of other shards that come due meanwhile (the KPL's rule)."""
        return min(0.050, 0.2 * self.linger) if self.aggregate else 0.0


def policy_of(config: Config) -> Policy:
    """The Config in the core's units: seconds, and infinite for what is switched off."""
    ttl = float("inf") if config.record_ttl_ms is None else config.record_ttl_ms / 1000
    answer_timeout = config.user_record_timeout_ms / 1000 or float("inf")
    return Policy(
        # The KPL lets a deadline lie at the expiration at the latest, which leaves no time to send the record.
        linger=min(config.record_max_buffered_time_ms / 1000, ttl / 2, answer_timeout / 2),
        ttl=ttl,
        answer_timeout=answer_timeout,
        request_timeout=(config.connect_timeout_ms + config.request_timeout_ms) / 1000,
        aggregate=config.aggregation_enabled,
        aggregation_max_count=min(config.aggregation_max_count, MAX_RECORDS),
        aggregation_max_size=config.aggregation_max_size,
        first_key_outside=config.aggregate_partition_key == "first",
        collection_max_count=config.collection_max_count,
        collection_max_size=config.collection_max_size,
        rate=config.rate_limit / 100,
        fail_if_throttled=config.fail_if_throttled,
        ordered=config.ordered,
        assumed_strategy=config.assume_distribution_strategy,
        max_user_record_size=config.max_user_record_size,
    )
