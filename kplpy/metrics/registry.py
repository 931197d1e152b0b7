"""What has been counted: second by second for the last minute, since the last window, and in all."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from math import floor

from kplpy.metrics.frame import Frame, Update
from kplpy.metrics.sample import Window

KEPT_SECONDS = 60


class Registry:
    """Told the time (`now`, by a monotonic clock) and the Unix time that it corresponds to (`wall`) by its callers.

    A second's frame is closed by whatever comes first in a later second, and then never changes. Windows are made of
    whole seconds, so that each value is in exactly one window of a row.
    """

    def __init__(self, granularity: str) -> None:
        self.granularity = granularity
        self.lock = threading.RLock()  # reentrant: a __del__ may put, and look, in the midst of a section
        self._second = 0
        self._current = Frame()
        self._closed: deque[tuple[int, Frame]] = deque()  # only seconds in which something was counted
        self._since_cut = Frame()
        self._total = Frame()
        self._cut_at = 0.0  # Unix time
        self._started_at = 0.0

    def abandon(self) -> None:
        """In a forked child: another thread may have held the lock."""
        self.lock = threading.RLock()

    def begin(self, wall: float) -> None:
        """The first window begins here, and so do the totals."""
        with self.lock:
            if not self._started_at:
                self._started_at = self._cut_at = wall

    def update(self, updates: Iterable[Update], now: float) -> None:
        with self.lock:
            self._roll(now)
            self._current.update(updates)

    def cut(self, level: str, now: float, wall: float, all_of_it: bool = False) -> Window:
        """The window from the last cut to the last whole second; with `all_of_it`, to now."""
        with self.lock:
            self._roll(now)
            if all_of_it:
                self._close()
            frame, self._since_cut = self._since_cut, Frame()
            started_at = self._cut_at
            ended_at = wall if all_of_it else wall - (now - self._second)
            ended_at = max(started_at, ended_at)  # the system's clock may have been set
            if frame.cells:  # an empty window is told to nobody: within a second, say, that was cut already
                self._cut_at = ended_at
        return Window(started_at, ended_at, frame.samples(level, self.granularity))

    def rested(self, wall: float) -> None:
        """Nothing happened up to now, and all before was cut: the next window begins here."""
        with self.lock:
            self._cut_at = max(self._cut_at, wall - 1.0)  # a second, for what has been counted in this one already

    def window(self, seconds: int, now: float, wall: float) -> Window:
        """The last whole seconds, 1 to KEPT_SECONDS of them."""
        with self.lock:
            self._roll(now)
            end = self._second
            frames = [frame for second, frame in self._closed if second >= end - seconds]
        whole = Frame()
        for frame in frames:
            whole.merge(frame)
        ended_at = wall - (now - end)
        return Window(ended_at - seconds, ended_at, whole.samples("detailed", self.granularity))

    def total(self, wall: float) -> Window:
        """Everything so far."""
        whole = Frame()
        with self.lock:
            whole.merge(self._total)
            whole.merge(self._current)
        return Window(self._started_at or wall, wall, whole.samples("detailed", self.granularity))

    def _roll(self, now: float) -> None:
        second = floor(now)
        if second > self._second:
            self._close()
            self._second = second
            while self._closed and self._closed[0][0] < second - KEPT_SECONDS:
                self._closed.popleft()

    def _close(self) -> None:
        if not self._current.cells:
            return
        frame, self._current = self._current, Frame()
        self._since_cut.merge(frame)
        self._total.merge(frame)
        self._closed.append((self._second, frame))
