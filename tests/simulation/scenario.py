"""A scenario is all that one history consists of, drawn from a seed: configuration, load, faults and reshards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from kplpy.core.policy import Compression, Policy

NEVER = float("inf")
MAX_HASH = (1 << 128) - 1

# Kinds of faults of PutRecords requests; World._fault_of() makes them.
PUT_FAULTS = (
    "entry_throttled",
    "entry_internal",
    "internal",
    "unavailable",
    "request_throttled",
    "limit_exceeded",
    "kms_throttled",
    "kms_disabled",
    "access_denied",
    "expired_token",
    "not_found",
    "poison",
    "refused",
    "cut_before",
    "cut_after",
    "cut_answer",
    "late",
    "never",
    "empty",
    "garbage",
    "wrong_length",
    "malformed",
    "all_malformed",
    "all_invalid",
)
LISTING_FAULTS = ("listing_denied", "listing_fails", "listing_stale", "listing_gap")
FAULTS = PUT_FAULTS + LISTING_FAULTS
# Faults that last for the whole window of their Trouble.
WINDOWED = (*LISTING_FAULTS, "access_denied", "kms_disabled", "not_found", "all_malformed")
# A record above MaxRecordSizeInKiB, a proxy that answers large requests with HTTP 413, changes of MaxRecordSizeInKiB.
SIZE_EVENTS = ("oversized", "too_large", "raise_size", "lower_size")

Change = Literal["split", "merge", "count", "recreate", "auto", "user", "raise_size", "lower_size"]


@dataclass(frozen=True)
class Trouble:
    """A window of time, in seconds, in which each request has a fault with this probability."""

    kind: str
    start: float
    end: float
    probability: float
    place: int | None = None  # only requests with records for the open shard at this index, modulo the open shards

    def at(self, second: float) -> bool:
        return self.start <= second < self.end


@dataclass(frozen=True)
class Load:
    """The records that are put from time 0 on.

    pattern: steady, bursts (all records at a few moments) or pauses (15 s without records between)
    """

    records: int
    seconds: float
    pattern: Literal["steady", "bursts", "pauses"]
    sizes: tuple[int, int]
    large_share: float  # share of records of up to 300 KB
    keys: Literal["uniform", "skewed", "hot"]
    explicit_share: float
    keyless_share: float
    oversize: bool  # one record is above the stream's limit
    batch: int  # records accepted at once, at most
    headers_share: float = 0.0
    oversized: int = 0  # this many records, spread over the time, are above the stream's limit

    @property
    def expected_bytes(self) -> float:
        return 1 + self.records * (sum(self.sizes) / 2 + self.large_share * 175_000)


@dataclass(frozen=True)
class Scenario:
    seed: int
    policy: Policy
    load: Load
    troubles: tuple[Trouble, ...]
    changes: tuple[tuple[float, Change], ...]
    shards: int
    on_demand: bool  # the stream has four shards, and may be switched to AUTO and back
    strategy_known: bool  # the producer can learn the distribution strategy
    senders: int
    latency: tuple[float, float]
    capacity: float  # the shards' limits divided by those that the producer knows; other producers use the rest
    windows: bool  # the service counts in fixed windows instead of token buckets
    updating: float  # seconds that a reshard takes
    flushes: tuple[float, ...]
    room_calls: tuple[float, ...]  # when make_room() is called
    inflight_bytes: float
    gives_up_at: float  # the producer is closed at this second; infinite: never
    noise: float = 0.0  # the part of a record's data that does not compress, at most
    front_bytes: float = NEVER  # during the trouble "too_large", larger requests are answered with HTTP 413

    def troubled_by(self, *kinds: str) -> bool:
        return any(trouble.kind.startswith(kinds) for trouble in self.troubles)

    @property
    def budget(self) -> float:
        """The most bytes of the load: twice what one shard accepts in that time, and at most 6 MB."""
        return min(6e6, 2 * self.load.seconds * self.capacity * min(1.0, self.policy.rate) * (1 << 20))

    @property
    def calm(self) -> bool:
        """True if nothing goes wrong, and the service accepts as much as the producer's rate limit allows."""
        return not self.troubles and not self.changes and self.capacity >= self.policy.rate and not self.windows

    @property
    def limited_alone(self) -> bool:
        """True if the service throttles only what this producer sends above the limits that it knows."""
        steady = self.capacity >= self.policy.rate and not self.windows and not self.changes
        return steady and not self.troubled_by("entry_throttled")

    def without_trouble(self, at: int) -> Scenario:
        return replace(self, troubles=self.troubles[:at] + self.troubles[at + 1 :])

    def without_change(self, at: int) -> Scenario:
        return replace(self, changes=self.changes[:at] + self.changes[at + 1 :])


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    random = Random(seed)
    seconds = random.uniform(60, 100)
    on_demand = random.random() < 0.2
    policy, troubles, changes = _policy(random), _troubles(random, seconds), _changes(random, seconds, on_demand)
    capacity = random.choice((1.0, 1.0, 1.0, 0.3, 0.05))
    if capacity < 1 and random.random() < 0.5:
        policy = replace(policy, rate=capacity)  # the producer knows its small share
    calm = random.random() < 0.1
    if calm:  # nothing goes wrong, so everything must go well
        troubles, changes, capacity = (), (), random.choice((0.05, 1.0))
        policy = replace(policy, rate=capacity, linger=random.choice((policy.linger, min(5.0, policy.ttl / 2))))
    load = _load(random, seconds)
    if policy.ordered and not calm:
        policy, load, troubles, changes = _disorderly(random, policy, load, troubles, changes)
    for at, change in changes:
        if change == "recreate" and random.random() < 0.5:  # the producer does not learn that the stream was deleted
            troubles += (Trouble(random.choice(("refused", "cut_before")), at - 0.5, at + 15.0, 1.0),)
    sizes = Random(seed * 7 + 6)  # a separate Random, so that the rest of the scenario does not depend on it
    load = replace(load, oversized=sizes.choice((0, 0, 0, 5, 20)))
    headers = Random(f"headers {seed}")
    load = replace(load, headers_share=headers.choice((0.0, 0.0, 0.02, 0.3, 1.0)))
    policy = replace(policy, aggregate_single_records=headers.random() < 0.1)
    if not calm:
        troubles, changes = _size_troubles(sizes, seconds, troubles, changes)
    compressing = Random(seed * 7 + 9)  # separate, as above
    if compressing.random() < 1 / 3:
        policy = replace(policy, compression=_compression(compressing))
        if compressing.random() < 0.3:
            on_demand, changes = True, tuple(sorted([*changes, (compressing.uniform(0, seconds / 2), "auto")]))
    return Scenario(
        seed=seed,
        policy=policy,
        load=load,
        troubles=troubles,
        changes=changes,
        shards=random.choice((1, 1, 2, 2, 3, 4, 4, 8)),
        on_demand=on_demand,
        strategy_known=random.random() < 0.75,
        senders=random.choice((1, 2, 4, 8)),
        latency=random.choice(((0.005, 0.05), (0.005, 0.05), (0.02, 0.3), (0.001, 0.005))),
        capacity=capacity,
        windows=random.random() < 0.2 and not calm,
        updating=random.choice((0.0, 0.5, 3.0, 10.0)),
        flushes=tuple(sorted(random.uniform(0, seconds) for _ in range(random.choice((0, 0, 1, 3))))),
        room_calls=tuple(random.uniform(0, seconds) for _ in range(random.choice((0, 0, 2)))),
        inflight_bytes=random.choice((NEVER, NEVER, 200_000.0)),
        gives_up_at=random.uniform(10, 30) if random.random() < 0.06 else NEVER,
        noise=compressing.choice((0.0, 0.2, 0.2, 1.0, 2.0)),
        front_bytes=sizes.choice((10_000, 60_000, 200_000)),
    )


def _compression(random: Random) -> Compression:
    codec: Literal["gzip", "zstd"] = random.choice(("gzip", "zstd"))
    return Compression(codec, random.choice((1, 3)), random.choice((1, 256, 2_000)))


def _size_troubles(
    random: Random, seconds: float, troubles: tuple[Trouble, ...], changes: tuple[tuple[float, Change], ...]
) -> tuple[tuple[Trouble, ...], tuple[tuple[float, Change], ...]]:
    if random.random() < 0.3:
        start = random.uniform(0, seconds * 0.6)
        troubles += (Trouble("too_large", start, random.choice((start + random.uniform(1, 25), seconds)), 1.0),)
    if random.random() < 0.25:
        kinds: tuple[Change, ...] = random.choice((("raise_size",), ("raise_size", "lower_size")))
        moments = sorted(random.uniform(0, seconds * 0.8) for _ in kinds)
        changes = tuple(sorted([*changes, *zip(moments, kinds, strict=True)]))
    return troubles, changes


def _policy(random: Random) -> Policy:
    ttl = random.choice((0.5, 2.0, 5.0, 30.0, 30.0, 30.0, NEVER))
    linger = min(random.choice((0.1, 0.1, 0.1, 0.0, 1.0, 5.0)), ttl / 2)  # policy_of() has the same bound
    aggregate = random.random() < 0.85
    return Policy(
        linger=linger,
        ttl=ttl,
        answer_timeout=random.choice((NEVER, NEVER, NEVER, NEVER, 3.0, 20.0)),
        request_timeout=random.choice((1.0, 3.0, 12.0)),
        aggregate=aggregate,
        aggregation_max_count=random.choice((1 << 32, 1 << 32, 1 << 32, 10, 2)),
        aggregation_max_size=random.choice((51_200, 51_200, 51_200, 2_000, 400_000)),
        first_key_outside=random.random() < 0.2,
        collection_max_count=random.choice((500, 500, 500, 20, 1)),
        collection_max_size=random.choice((5 << 20, 5 << 20, 10 << 20, 60_000)),
        rate=random.choice((1.0, 1.0, 1.0, 1.5, 0.5)),
        fail_if_throttled=random.random() < 0.07,
        ordered=random.random() < 0.25,
    )


def _disorderly(
    random: Random,
    policy: Policy,
    load: Load,
    troubles: tuple[Trouble, ...],
    changes: tuple[tuple[float, Change], ...],
) -> tuple[Policy, Load, tuple[Trouble, ...], tuple[tuple[float, Change], ...]]:
    """Add what can upset the order of a few keys' records: backlogs, entries that fail, and reshards."""
    policy = replace(policy, aggregation_max_size=random.choice((2_000, 10_000, 51_200)))
    load = replace(
        load, keys=random.choice(("skewed", "hot")), pattern="bursts", keyless_share=random.choice((0.0, 0.0, 0.3))
    )
    kind = random.choice(("entry_internal", "entry_throttled", "cut_before", "poison", "cut_after"))
    troubles += (Trouble(kind, 0.0, load.seconds, random.choice((0.1, 0.3))),)
    kinds: list[Change] = [random.choice(("split", "merge")) for _ in range(random.choice((0, 3, 10)))]
    reshards = [(random.uniform(0, load.seconds), each) for each in kinds]
    return policy, load, troubles, tuple(sorted([*changes, *reshards]))


def _load(random: Random, seconds: float) -> Load:
    records = int(random.choice((600, 600, 800, 1200, 2500)) * random.uniform(0.7, 1.3))
    sizes = random.choice(((0, 200), (0, 200), (500, 1500), (900, 1100), (2_000, 20_000), (0, 60_000)))
    large = random.choice((0.0, 0.0, 0.02, 0.05))
    return Load(
        records=records,
        seconds=seconds,
        pattern=random.choice(("steady", "steady", "bursts", "bursts", "pauses")),
        sizes=sizes,
        large_share=large,
        keys=random.choice(("uniform", "uniform", "skewed", "hot")),
        explicit_share=random.choice((0.0, 0.0, 0.3, 1.0)),
        keyless_share=random.choice((0.0, 0.0, 0.0, 0.3, 1.0)),
        oversize=random.random() < 0.08,
        batch=random.choice((1, 5, 50)),
    )


def _troubles(random: Random, seconds: float) -> tuple[Trouble, ...]:
    troubles = []
    for kind in random.sample(FAULTS, random.choice((0, 1, 4, 5, 6, 7))):
        start = random.uniform(0, seconds * 0.6)
        place = random.randrange(8) if kind in PUT_FAULTS and random.random() < 0.25 else None
        if kind in WINDOWED:
            long = 40.0 if kind.startswith("listing") else 12.0
            troubles.append(Trouble(kind, max(0.0, start - 3), start + random.uniform(0.5, long), 1.0, place))
        elif kind == "all_invalid":
            troubles.append(Trouble(kind, start, start + random.uniform(0.5, 5), 1.0))
        elif random.random() < 0.3:  # an outage
            troubles.append(Trouble(kind, start, start + random.uniform(1, 25), 1.0, place))
        else:
            troubles.append(Trouble(kind, start, seconds, random.choice((0.05, 0.2, 0.5)), place))
    return tuple(troubles)


def _changes(random: Random, seconds: float, on_demand: bool) -> tuple[tuple[float, Change], ...]:
    kinds: list[Change] = []
    if random.random() < 0.5:
        kinds = [random.choice(("split", "merge", "split", "merge", "count")) for _ in range(random.choice((1, 2, 5)))]
    if on_demand:
        kinds += [random.choice(("auto", "auto", "user")) for _ in range(random.choice((0, 1, 2, 3)))]
    if random.random() < 0.2:
        kinds.append("recreate")
    return tuple(sorted((random.uniform(0, seconds), kind) for kind in kinds))
