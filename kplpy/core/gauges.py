"""How a stream and a producer stand, for metrics and health. The core decides nothing by it."""

from __future__ import annotations

from dataclasses import dataclass


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
