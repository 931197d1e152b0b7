"""What happened, and how things stand, for whoever counts it. The core decides nothing by any of this."""

from __future__ import annotations

from dataclasses import dataclass, field

from kplpy.core.batching.batch import Batch
from kplpy.core.batching.request import Request
from kplpy.core.results.retry_policy import Exchange


@dataclass(slots=True)
class Events:
    """Since they were taken last. Beside them there are the completions.

    exchanges: requests, their answers, and how many entries these refuse; one whose answer makes no sense, or never
    came, has an error. misplaced: batches that the service took, and that are sent again because of where they landed.
    """

    exchanges: list[tuple[Request, Exchange, int]] = field(default_factory=list)
    misplaced: list[Batch] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.exchanges or self.misplaced)


@dataclass(frozen=True, slots=True)
class ShardUse:
    """Of an open shard's own limit, which is 1.0: the rate that it is sent at the most, and what it took within a
    second, in records or bytes, whichever is more."""

    scale: float
    taken: float


@dataclass(frozen=True, slots=True)
class StreamGauges:
    """How a stream stands. `accepted`: its records so far; `outstanding`: those without an answer; `oldest`: when the
    oldest of them arrived, infinite without any; `shards` by their ids."""

    accepted: int
    outstanding: int
    oldest: float
    shards: dict[str, ShardUse]


@dataclass(frozen=True, slots=True)
class Gauges:
    """How a producer stands: its streams by the names or ARNs that they are put by, and the room that is taken."""

    streams: dict[str, StreamGauges]
    records: int
    bytes: int
