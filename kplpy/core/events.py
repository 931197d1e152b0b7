"""What happened, and how things stand, for whoever counts it. The core decides nothing by any of this."""

from __future__ import annotations

from dataclasses import dataclass, field

from kplpy.core.aggregator import Batch
from kplpy.core.request import Request
from kplpy.core.retry import Exchange


@dataclass(slots=True)
class Events:
    """Since they were taken last. Beside them there are the completions.

    exchanges: requests and their answers; one whose answer makes no sense, or never came, has an error. misplaced:
    batches that the service took, and that are sent again because of where they landed.
    """

    exchanges: list[tuple[Request, Exchange]] = field(default_factory=list)
    misplaced: list[Batch] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.exchanges or self.misplaced)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a stream stands at a moment. `oldest`: when its oldest unanswered record arrived, infinite without any;
    `scales`: the rate of each open shard by its id, 1.0 being the shard's own limit."""

    outstanding: int
    oldest: float
    scales: dict[str, float]
