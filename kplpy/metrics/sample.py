"""What a window of metrics is made of, and what takes one in.

A `Sample` is CloudWatch's StatisticSet: the registry keeps nothing finer, but for the histograms that percentiles are
read from. Every sink gets the same windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Unit = Literal["Count", "Bytes", "Milliseconds", "Seconds", "Percent", "Bytes/Second", "Count/Second"]
Dimensions = tuple[tuple[str, str], ...]
"""(name, value) in the KPL's order: ErrorCode, StreamName, ShardId. Empty: over everything."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric of one set of dimensions within one window."""

    name: str
    unit: Unit
    dimensions: Dimensions
    count: int
    """How many values; never 0."""
    total: float
    """Their sum."""
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured from one moment to another, in seconds since the epoch. Windows do not overlap."""

    started_at: float
    ended_at: float
    samples: tuple[Sample, ...]


class Sink(Protocol):
    """Takes windows to where somebody looks at them. Called from one thread of its own, one window at a time.

    What it raises is logged once an interval and costs nothing but this window.
    """

    def emit(self, window: Window) -> None: ...
