"""What happened in a pipeline, for the metrics. The core does not read it."""

from __future__ import annotations

from dataclasses import dataclass, field

from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch
from kplpy.core.exchange import Exchange


@dataclass(slots=True)
class Events:
    """Requests and misplaced batches since the last `take_events`. Completions are separate.

    exchanges: each request, its exchange, and how many of its entries were refused. An exchange without a usable
    response has an error.
    misplaced: batches that were written, but are sent again because of the shard on which they landed.
    """

    exchanges: list[tuple[Request, Exchange, int]] = field(default_factory=list)
    misplaced: list[Batch] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.exchanges or self.misplaced)
