"""A sample of a stream's records: counts of each shard, over the same time, so that shards can be compared."""

from __future__ import annotations

from dataclasses import dataclass, field

from kplpy.core.shard_range import ShardRange
from kplpy.core.space_saving import SpaceSaving
from kplpy.doctor.calls import Answer
from kplpy.records import UserRecord

_COUNTERS = 512  # keys of a shard that are counted


@dataclass(slots=True)
class ShardSample:
    """What was read of one shard.

    records, bytes: Kinesis records, and their data and keys. user_records, user_bytes: those within, likewise.
    units, billed: PUT payload units, and bytes that an on-demand stream bills.
    seconds: the time that the sample covers.
    first, last: when the first and the last record arrived, Unix time.
    is_cut: there were more records than were read.
    problem: why the shard could not be read.
    """

    shard: ShardRange
    records: int = 0
    bytes: int = 0
    user_records: int = 0
    user_bytes: int = 0
    units: int = 0
    billed: int = 0
    seconds: float = 1.0
    first: float | None = None
    last: float | None = None
    is_cut: bool = False
    is_done: bool = False
    problem: Answer | None = None
    keys: SpaceSaving = field(default_factory=lambda: SpaceSaving(_COUNTERS))
    kept: list[UserRecord] = field(default_factory=list)

    @property
    def span(self) -> float:
        """The seconds from the first to the last record."""
        return 0.0 if self.first is None or self.last is None else self.last - self.first

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds

    @property
    def records_per_second(self) -> float:
        return self.records / self.seconds


@dataclass(slots=True)
class Sample:
    """The samples of all shards that were read.

    aggregates: Kinesis records of more than one user record. misplaced: those that the KCL drops.
    unreadable: Kinesis records that deaggregate() refused.
    """

    shards: list[ShardSample]
    open_shards: int
    aggregates: int = 0
    misplaced: int = 0
    unreadable: int = 0
    unreadable_reason: str = ""
    kept_bytes: int = 0

    @property
    def read(self) -> list[ShardSample]:
        return [each for each in self.shards if each.problem is None]

    def total(self, name: str) -> int:
        return sum(getattr(each, name) for each in self.shards)

    def per_second(self, name: str) -> float:
        """Return the whole stream's rate of an attribute, scaled up from the shards that were read."""
        if not self.read:
            return 0.0
        rates = sum(float(getattr(each, name)) / each.seconds for each in self.read)
        return rates * self.open_shards / len(self.read)
