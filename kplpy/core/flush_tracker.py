"""Flush accounting: how many of the records accepted before each flush are not answered."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from kplpy.core.record import PendingRecord


class FlushTracker:
    """Acceptance numbers below which a flush waits, ascending, and how many records of each part are outstanding.

    A part is what lies between two marks. Costs nothing while nobody flushes.
    """

    __slots__ = ("_counts", "_marks")

    def __init__(self) -> None:
        self._marks: list[int] = []
        self._counts: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._marks)

    def add_mark(self, mark: int, outstanding: int) -> None:
        """Records below `mark` are to be waited for; `outstanding` counts all that are accepted and unanswered."""
        below = outstanding - sum(self._counts)
        if below > 0:
            self._marks.append(mark)
            self._counts.append(below)

    def settled(self, items: Iterable[PendingRecord]) -> None:
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
        """How many records accepted before the flush with this mark are outstanding."""
        return sum(count for each, count in zip(self._marks, self._counts, strict=True) if each <= mark)
