"""Everything counted: by second for the last minute, since the last window, and in all."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import floor

from kplpy.concurrency import new_rlock
from kplpy.metrics.frame import Frame, Update
from kplpy.metrics.sample import Window

KEPT_SECONDS = 60


class Registry:
    """Statistics of a producer, for any thread. A lock guards them.

    Callers pass the time: `now` of a monotonic clock, `wall` the Unix time of the same moment, both in seconds.
    The first call in a later second closes a second's frame, which then never changes. Windows consist of whole
    seconds, so each value is in exactly one window of a sink.
    """

    def __init__(self, granularity: str) -> None:
        self.granularity = granularity
        self.lock = new_rlock()  # reentrant: a __del__ inside a locked section may put or read metrics
        self._second = 0
        self._current = Frame()
        self._closed: deque[tuple[int, Frame]] = deque()  # (second, frame); only seconds with values
        self._since_cut = Frame()
        self._total = Frame()
        self._cut_at = 0.0  # Unix time
        self._started_at = 0.0

    def abandon(self) -> None:
        """Replace the lock in a forked child: another thread of the parent may have held it."""
        self.lock = new_rlock()

    def begin(self, wall: float) -> None:
        """Begin the first window and the totals at `wall`. Only the first call has an effect."""
        with self.lock:
            if not self._started_at:
                self._started_at = self._cut_at = wall

    def update(self, updates: Iterable[Update], now: float) -> None:
        """Count the values in the current second."""
        with self.lock:
            self._roll(now)
            self._current.update(updates)

    def cut(self, level: str, now: float, wall: float, up_to_now: bool = False) -> Window:
        """Return the window from the last cut to the last whole second; with `up_to_now`, to now."""
        with self.lock:
            self._roll(now)
            if up_to_now:
                self._close()
            frame, self._since_cut = self._since_cut, Frame()
            started_at = self._cut_at
            ended_at = wall if up_to_now else wall - (now - self._second)
            ended_at = max(started_at, ended_at)  # the system's clock may have been set
            if frame.cells:  # an empty window goes to no sink, so the next one begins where it began
                self._cut_at = ended_at
        return Window(started_at, ended_at, frame.samples(level, self.granularity))

    def skip_to(self, wall: float) -> None:
        """Begin the next window now, after a rest: everything before was cut."""
        with self.lock:
            self._cut_at = max(self._cut_at, wall - 1.0)  # a second earlier, for values that this second already has

    def window(self, seconds: int, now: float, wall: float) -> Window:
        """Return the window of the last whole seconds, 1 to KEPT_SECONDS of them."""
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
        """Return the window of everything since `begin`."""
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
