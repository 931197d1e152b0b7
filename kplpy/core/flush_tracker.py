"""Counts the records that each flush still waits for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from kplpy.core.record import PendingRecord


class FlushTracker:
    """Counts the outstanding records below each flush's mark.

    A flush waits for all records whose number is below its mark. The marks are ascending. Each mark has one count: the
    outstanding records between the mark before it and itself. Without a flush there is nothing to count.
    """

    __slots__ = ("_counts", "_marks")

    def __init__(self) -> None:
        self._marks: list[int] = []
        self._counts: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._marks)

    def add_mark(self, mark: int, outstanding: int) -> None:
        """Count the records below `mark`. outstanding: all records that are accepted and not settled."""
        below = outstanding - sum(self._counts)
        if below > 0:
            self._marks.append(mark)
            self._counts.append(below)

    def settled(self, items: Iterable[PendingRecord]) -> None:
        """Take the records, whose futures are resolved, out of the counts."""
        marks, counts = self._marks, self._counts
        if not marks:
            return
        for item in items:
            part = bisect_right(marks, item.number)
            if part < len(counts):
                counts[part] -= 1
        while counts and counts[0] <= 0:
            del counts[0], marks[0]

    def left(self, mark: int) -> int:
        """Return how many records accepted before the flush with this mark are outstanding."""
        return sum(count for each, count in zip(self._marks, self._counts, strict=True) if each <= mark)
