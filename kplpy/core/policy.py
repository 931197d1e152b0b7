"""The core's constants, and a Config in the core's units: seconds and bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kplpy.config.options import Config
from kplpy.config.rules import DELIVERY_RECORD_BYTES, DELIVERY_REQUEST_BYTES
from kplpy.wire.envelope import MAX_RECORDS

# The service's limits of one shard.
SHARD_RECORDS_PER_SECOND = 1000
SHARD_BYTES_PER_SECOND = 1 << 20
# Requests can overtake each other: what was sent within 1.1 s may arrive within one second. So that the service's
# bucket holds it, bursts leave this part of a second's worth unused.
RESERVE = 0.1

# How the rate adapts to a shard that others write to as well. limiter.py has the principles, and scripts/rates.py
# measures the effects. The values were chosen by such sweeps, with 40 seeds a case.
# A new limiter begins with this part of its rate and this part of its burst. It grows by this part of its rate a
# second. If several producers start together, more would be refused.
START, START_INCREASE, FIRST_BURST = 0.76, 0.1, 0.28
# A decrease is DECREASE_BY_SHARE times the producer's share of the shard above DECREASE_FROM. So a producer with a
# larger share gives up a larger part. With a flatter slope, luck decides the shares.
DECREASE_LEAST, DECREASE_BY_SHARE, DECREASE_FROM, DECREASE_MOST = 0.11, 0.62, 0.1, 0.9
# Refusals within this many seconds of a decrease belong to the same overload.
DECREASE_INTERVAL = 1.0
# After a decrease nothing is sent for this many seconds, so that the overload ends sooner.
DECREASE_PAUSE = 0.05
# During the first overload, the refused part is computed from at least FIRST_SAMPLE records, and the rate does not fall
# below FIRST_LEAST times LEAST_SCALE. The overload is over after SETTLED_AFTER seconds without a refusal.
FIRST_SAMPLE, FIRST_LEAST, SETTLED_AFTER = 2.9, 7, 2.1
# The increase, in shards a second, is INCREASE times the share plus INCREASE_BASE. Shares above INCREASE_SHARE gain no
# more. After INCREASE_CALM seconds without a decrease it grows with the square of the time, by INCREASE_FASTER. Above
# INCREASE_KNEE of the limit it is INCREASE_ABOVE_KNEE times as fast. A slower increase leaves freed capacity unused.
INCREASE, INCREASE_SHARE, INCREASE_BASE = 0.034, 0.3, 0.074
INCREASE_CALM, INCREASE_FASTER = 2.14, 0.85
INCREASE_KNEE, INCREASE_ABOVE_KNEE = 0.86, 0.5
# If more than REFUSED_MUCH of about REFUSED_MEMORY records were refused, the time counts for less, in proportion. With
# a shorter memory, eight producers are throttled less, but for two it is often wrong.
REFUSED_MUCH, REFUSED_MEMORY = 0.06, 100
# A producer seems to be alone on a shard if it had NEARLY_ALL of the limit within a second, and no decrease for
# ALONE_CALM seconds. Its decrease is ALONE_DECREASE, and its increase ALONE_INCREASE a second. With a shorter
# ALONE_CALM, two producers lock each other out.
NEARLY_ALL, ALONE_CALM, ALONE_DECREASE, ALONE_INCREASE = 0.915, 1.9, 0.025, 0.005
# How much a bucket may fill up while its queue backs off, in seconds' worth.
RESTED = 0.1
# The rate never falls below this part of the shard's limit.
LEAST_SCALE = 0.01

# A delivery stream's quotas are unknown, and in these proportions. The unit is the smallest default: 1 MiB/s and
# 100,000 records/s (https://docs.aws.amazon.com/firehose/latest/dev/limits.html). The rate starts as for a shard,
# doubles each second until the first refusal, and stops doubling at QUOTA_MOST units.
QUOTA_RECORDS_PER_SECOND, QUOTA_MOST = 100_000, 256

# How long records wait for the first shard map, or a refreshed one, before they travel alone.
MAP_PATIENCE = 2.0
# A map that was unused for this long is refreshed before it is trusted. A stream that was deleted and recreated has the
# same shard ids with other ranges.
MAP_IDLE_TRUST = 10.0
# The ranges of closed shards stay known this long, so that late responses can be judged (the KPL's figure).
CLOSED_RANGE_TTL = 60.0
# ListShards is retried as the KPL does it.
LISTING_BACKOFF_FIRST, LISTING_BACKOFF_FACTOR, LISTING_BACKOFF_MAX = 1.0, 1.5, 30.0
# The longest pause before a listing that is requested because responses contradict the last one. ListShards may be
# stale.
RELISTING_BACKOFF_MAX = 5.0
# An aggregate may land on a shard that no listing shows. It waits this long for such a listing, then is sent again.
JUDGE_PATIENCE = 10.0
# A queue whose records landed on other shards stops aggregating. It aggregates again after this many batches in a row
# on its own shard. Each further time takes four times as many, because on a service-managed stream a hit is chance.
HITS_TO_AGGREGATE_AGAIN = 8
# The shortest pause between two DescribeStreamSummary requests; up to half of it is added at random.
STRATEGY_POLL = 60.0
# This many records in a row, each on the shard of its key, show that the keys place the records.
PLACEMENT_PROOF = 32
# Without aggregation, this many records without a key go to one shard before the next is chosen.
STICKY_RECORDS = 20
# The shard that can take most is chosen among this many.
STICKY_CANDIDATES = 64
# The service takes at least this long to delete a stream and create it again.
RECREATION_TIME = 10.0

# Exponential backoff with full jitter for throttled shards and failed requests.
BACKOFF_BASE, BACKOFF_MAX = 0.1, 2.0
# The shortest pause between two requests during an outage. The second does not wait for the response to the first.
PROBE_INTERVAL = 0.5
# Access, KMS and not-found errors may be an eventual-consistency hiccup. They are final after DENIED_GRACE. An error
# after a pause of DENIED_MEMORY has its own grace.
DENIED_GRACE = 5.0
DENIED_MEMORY = 60.0
# A record fails after this many malformed responses, because each attempt may have written one more copy.
MALFORMED_ATTEMPTS = 5
# The shortest pause between two searches for expired records.
EXPIRY_INTERVAL = 0.1
# An invalid request is sent again in this many parts, all in flight at once. One invalid record of 500 is found in
# three rounds and about 24 requests. Halves would take nine rounds and 18 requests.
BISECTION_PARTS = 8
# In ordered mode the parts of an aggregate go one after the other. Two, three or four take about as many requests.
BISECTION_PARTS_IN_ORDER = 4
# If this many single records in a row are invalid, the request itself may be the cause. Then records are tried one by
# one. If this many of them are invalid too, and nothing was accepted for DENIED_GRACE, the request is the cause.
BISECTION_FAILURES = 8
# Every stream takes Kinesis records of this size, because MaxRecordSizeInKiB is at least 1024.
LEAST_RECORD_LIMIT = 1 << 20
# The most UTF-8 bytes in a partition key, which has at most 256 characters.
LONGEST_KEY = 1024
# HTTP 413 makes requests smaller, down to the least collection_max_size. After REQUEST_LIMIT_GROWTH they double.
LEAST_REQUEST_LIMIT = 52224
REQUEST_LIMIT_GROWTH = 60.0
# Queues that wait for tokens wake on a common grid (the KPL's drain interval), so that one request serves several.
TOKEN_GRID = 0.025
# A request is due at once when one queue has closed this much (the KPL's per-shard collector limit). In each turn, a
# queue gives a request at most this much.
QUEUE_TURN_BYTES = 256 << 10
# Without a request in flight, this much closed in all queues is worth one. A request costs about 2 ms of CPU at any
# size. Writers that wait for outcomes gain more: 1.2 times the records a second with 20,000 records of 100 B
# outstanding.
WORTH_SENDING = 512 << 10
# A request is given up as lost this long after all its timeouts. The HTTP client may still wait for its response.
REQUEST_SLACK = 1.0
# A request holds at most this many times collection_max_size of uncompressed data.
UNCOMPRESSED_REQUEST = 2
# A shard queue whose batches save less than COMPRESSION_LEAST_SAVED of their bytes stops compressing. It tries one
# batch in COMPRESSION_PAUSE_FIRST, then in twice as many each time, up to COMPRESSION_PAUSE_MOST.
COMPRESSION_LEAST_SAVED, COMPRESSION_PAUSE_FIRST, COMPRESSION_PAUSE_MOST = 0.05, 4, 64
# A blocked queue that gets this many bytes' worth of tokens back may send sooner than it was to wake.
TOKENS_WORTH_WAKING = 10_000
# JSON events of 230 B in batches of 50 KB: zstd 1 makes them 3.3 times smaller, at 400 MB/s, and zstd 3 no smaller, at
# 260. gzip 1 makes them 2.7 times smaller, at 100 MB/s, and gzip 6 3.0 times, at 50.
DEFAULT_LEVEL = 1
# The weight of a request's ratio in the average of the requests before it.
COMPRESSION_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Compression:
    """How batches are compressed.

    codec, level: as in wire/compressed.py.
    min_size: a Kinesis record with less data is not compressed.
    """

    codec: Literal["gzip", "zstd"]
    level: int
    min_size: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A Config in the core's units: seconds, bytes, and infinite for what is switched off.

    linger: how long a record waits for others at most.
    ttl: how long a record waits to be sent at most.
    answer_timeout: user_record_timeout_ms. As ttl, but also covers records in flight.
    request_timeout: connect and request timeouts together.
    aggregate, aggregation_max_count, aggregation_max_size, aggregate_single_records: as in Config.
    first_key_outside: an aggregate's partition key is its first record's, instead of "a".
    collection_max_count, collection_max_size: as in Config.
    rate: rate_limit; 1.0 is the shard's own limit.
    fail_if_throttled, ordered: as in Config.
    assumed_strategy: the stream's RecordDistributionStrategy until kplpy learns it. None: partition keys.
    max_user_record_size: the largest record that put_record accepts.
    compression: None if nothing is compressed.
    has_shards: True for a stream. False for a delivery stream, whose aggregates are joined records: see
        batching/joined.py.
    """

    linger: float
    ttl: float
    answer_timeout: float
    request_timeout: float
    aggregate: bool
    aggregation_max_count: int
    aggregation_max_size: int
    first_key_outside: bool
    collection_max_count: int
    collection_max_size: int
    rate: float
    fail_if_throttled: bool
    ordered: bool = False
    assumed_strategy: str | None = None
    max_user_record_size: int = 1 << 20
    compression: Compression | None = None
    aggregate_single_records: bool = False
    has_shards: bool = True

    @property
    def waiting_ttl(self) -> float:
        return min(self.ttl, self.answer_timeout)

    @property
    def collect_wait(self) -> float:
        """How long due aggregates wait for those of other shards that become due meanwhile (the KPL's rule)."""
        return min(0.050, 0.2 * self.linger) if self.aggregate else 0.0


def policy_of(config: Config) -> Policy:
    """Return the Config as a Policy."""
    ttl = float("inf") if config.record_ttl_ms is None else config.record_ttl_ms / 1000
    answer_timeout = config.user_record_timeout_ms / 1000 or float("inf")
    return Policy(
        # The KPL allows a deadline as late as the expiry, which leaves no time to send the record.
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
        compression=_compression_of(config),
        aggregate_single_records=config.aggregate_single_records,
    )


def delivery_policy_of(config: Config) -> Policy:
    """Return the Config as the Policy of a delivery stream. Options of shards, aggregates and order do not apply."""
    return replace(
        policy_of(config),
        aggregate=config.joined_record_size > 0,
        aggregation_max_size=config.joined_record_size,
        first_key_outside=False,
        collection_max_size=min(config.collection_max_size, DELIVERY_REQUEST_BYTES),
        rate=1.0,
        ordered=False,
        assumed_strategy=None,
        max_user_record_size=min(config.max_user_record_size, DELIVERY_RECORD_BYTES),
        compression=None,
        aggregate_single_records=False,
        has_shards=False,
    )


def _compression_of(config: Config) -> Compression | None:
    if config.compression == "none":
        return None
    return Compression(config.compression, config.compression_level or DEFAULT_LEVEL, config.compression_min_size)
