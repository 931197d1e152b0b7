"""One record that the service finds invalid spoils its whole request: halve it until that one stands alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from kplpy.core import policy as rules
from kplpy.core.aggregator import Batch, batch_of
from kplpy.core.lane import Lane


class Hunt:
    """Parts of refused requests, each to be sent as a request of its own.

    Depth first, so that single records are reached soon: when nothing but single records is refused, one after the
    other, the cause is the request's, and the hunt is over.
    """

    def __init__(self) -> None:
        self._parts: deque[list[Batch]] = deque()
        self._refused = 0  # single records in a row

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for part in self._parts for batch in part)

    def next_part(self) -> list[Batch]:
        return self._parts.popleft()

    def interrupted(self) -> None:
        """A request ended otherwise: not everything is refused as invalid."""
        self._refused = 0

    def refused(self, batches: list[Batch], conclusive: bool) -> list[Batch]:
        """The service refused these as invalid. Returns those that are to be given up.

        `conclusive`: they are all that the request held. Otherwise the cause may be one that is answered already.
        """
        if len(batches) > 1:
            middle = len(batches) // 2
            self._parts.extendleft([batches[middle:], batches[:middle]])
            return []
        only = batches[0]
        if only.aggregated:
            middle = len(only.items) // 2
            halves = [batch_of(only.lane, only.items[:middle]), batch_of(only.lane, only.items[middle:])]
            self._parts.extendleft([[halves[1]], [halves[0]]])
            return []
        if not conclusive:
            self._parts.appendleft([only])
            return []
        self._refused += 1
        return [only, *self.take_all()] if self._refused >= rules.HUNT_FAILURES else [only]

    def peek(self) -> list[Batch]:
        """What next_part() would return."""
        return self._parts[0]

    def take_all(self) -> list[Batch]:
        batches = list(self)
        self._parts.clear()
        return batches

    def take_of(self, lane: Lane) -> list[Batch]:
        """Leave out what is of this lane, and return it."""
        taken = [batch for batch in self if batch.lane is lane]
        if taken:
            self.sift(lambda batch: None if batch.lane is lane else batch)
        return taken

    def sift(self, keep: Callable[[Batch], Batch | None]) -> None:
        """Replace each waiting batch by what `keep` leaves of it."""
        parts = [[kept for batch in part if (kept := keep(batch)) is not None] for part in self._parts]
        self._parts = deque(part for part in parts if part)
