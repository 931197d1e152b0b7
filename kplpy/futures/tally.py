"""Tally: counts the outcomes of many futures, in the order of their records."""

from __future__ import annotations

from kplpy.accelerator import compiled
from kplpy.core.outcome import Delivered
from kplpy.futures.record_future import RecordFuture


class Tally:
    """Counts the outcomes of futures that nobody else looks at. Used by one thread.

    delivered, duplicates: records that were delivered, and those of them that may be in the stream twice.
    """

    def __init__(self) -> None:
        self.delivered = self.duplicates = 0

    def count(self, futures: list[RecordFuture], first: int) -> int:
        """Count from future number `first` on. Return the number of the first one that is pending or failed."""
        number, duplicates = count_delivered(futures, first, Delivered)
        self.delivered += number - first
        self.duplicates += duplicates
        return number


@compiled
def count_delivered(futures: list[RecordFuture], first: int, delivered: type[Delivered]) -> tuple[int, int]:
    """Return the number of the first future from `first` on that is pending or failed, and the duplicates before it.

    Takes 0.05 µs for each future instead of 0.3 with result(); compiled, 0.01.
    """
    duplicates = 0
    for number in range(first, len(futures)):
        future = futures[number]
        if future._outcome.__class__ is not delivered:
            return number, duplicates
        if future.maybe_written:
            duplicates += 1
    return max(first, len(futures)), duplicates
