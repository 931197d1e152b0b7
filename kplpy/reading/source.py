"""What a reader needs of a way to read a shard: polling with GetRecords, or enhanced fan-out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kplpy.reading.position import Position
from kplpy.reading.shards import Shard

READ_SPACING = 0.2
"""Seconds between two reads of a shard: the service allows 5 reads a second to all readers of a shard together."""
_MAX_BACKOFF = 8.0
_GIVE_UP_CHILDREN = 6
# Other readers of the shard, an earlier subscription of five seconds (ResourceInUse), or an old iterator cause them.
_EXPECTED = frozenset(
    "ProvisionedThroughputExceededException LimitExceededException KMSThrottlingException ThrottlingException "
    "ExpiredIteratorException ResourceInUseException".split()
)


class NotYetError(Exception):
    """The service's response is incomplete, and another attempt may be complete."""


@dataclass(frozen=True, slots=True)
class Page:
    """The result of one read of a shard.

    records: Kinesis records, as in a response.
    after: the position after them. None: as before.
    at_end: the shard is closed, and these are its last records. children: the shards that follow it.
    listing: all shards, if the children have another parent too.
    is_caught_up: no records were left after these at the time of the response.
    wait: seconds until the next read.
    """

    records: Sequence[Mapping[str, Any]] = ()
    after: Position | None = None
    at_end: bool = False
    children: Sequence[Shard] = ()
    listing: Sequence[Shard] = ()
    is_caught_up: bool = False
    wait: float = 0.0


@dataclass(slots=True, eq=False)
class ShardReading:
    """The state of reading one shard. One thread at a time has it: a worker during a read, else the reader's.

    place: the source's: the next iterator, or the events of a subscription. None: to be requested.
    failures: since the last response.
    is_done: the shard was read to its latest record, and the reader does not follow.
    is_in_flight: a worker reads it, or the result was not taken.
    begun_at: when the last read began, as time.monotonic() counts.
    """

    shard: Shard
    position: Position
    place: Any = field(default=None, repr=False)
    failures: int = 0
    is_caught_up: bool = False
    is_done: bool = False
    is_in_flight: bool = False
    begun_at: float = 0.0

    def backoff(self) -> float:
        """Count a failure. Return seconds until the next attempt, random and growing to 8 s."""
        self.failures += 1
        ceiling = min(_MAX_BACKOFF, READ_SPACING * 2.0 ** min(self.failures, 10))
        return READ_SPACING + random.random() * (ceiling - READ_SPACING)

    def check_children(self, children: Sequence[Shard]) -> None:
        """Raise NotYetError if a closed shard has no children; accept that after some attempts."""
        if not children and self.failures < _GIVE_UP_CHILDREN:
            raise NotYetError(f"{self.shard.id} is closed, but the service names no shards that follow it")


class Source(Protocol):
    """A way to read shards. Worker threads call it, one a shard at a time.

    pushes: a read that has its place brings new records as they come. False: a read finds those that came before it.
    """

    pushes: bool

    def threads_for(self, shards: int) -> int:
        """Return the number of threads that read so many shards."""

    def begin(self, reading: ShardReading, at_latest: bool = False) -> None:
        """Request the place where reading begins: the reading's position, or behind the latest record."""

    def read(self, reading: ShardReading) -> Page:
        """Return the next page. Requests the place if there is none."""

    def release(self, reading: ShardReading) -> None:
        """Give up the place. Called for each shard at the end, while no thread reads it."""

    def close(self) -> None:
        """Have read() return soon, as far as that is possible."""


def size_of(records: Iterable[Mapping[str, Any]]) -> int:
    """Return the bytes of Kinesis records as the service counts them: data and partition keys."""
    return sum(len(each["Data"]) + len(each.get("PartitionKey") or "") for each in records)


def error_code(error: BaseException) -> str:
    """Return the service's code of a boto error, or an empty text."""
    response: Any = getattr(error, "response", None)  # None after a broken connection
    return str((response or {}).get("Error", {}).get("Code", ""))


def is_expected(error: BaseException) -> bool:
    """Return True for a temporary error of normal operation, which is not logged."""
    return error_code(error) in _EXPECTED


def is_temporary(error: BaseException) -> bool:
    """Return True if a retry can help: after throttling, a failure of the service, or a broken connection."""
    from botocore import eventstream
    from botocore import exceptions as boto
    from urllib3 import exceptions as urllib3

    if isinstance(error, NotYetError) or is_expected(error):
        return True
    if isinstance(error, boto.ClientError):  # EventStreamError too, which has no status
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= 500 or error_code(error) in ("InternalFailure", "InternalFailureException")
    # A subscription's connection is read without botocore, so urllib3's errors come as they are.
    broken = (boto.HTTPClientError, boto.ConnectionError, urllib3.HTTPError, eventstream.ParserError)
    return isinstance(error, broken) and not isinstance(error, boto.SSLError)
