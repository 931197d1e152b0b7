"""The threads that sample once a second, cut windows, and hand them to the sink."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from kplpy.concurrency import outlive
from kplpy.core.gauges import Gauges
from kplpy.metrics.outlet import Outlet
from kplpy.metrics.recorder import Recorder
from kplpy.metrics.sample import Sink
from kplpy.process.threads import start_thread
from kplpy.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

SAMPLING = 1.0
"""Seconds between two samples."""


class Reporter:
    """Runs the thread kplpy-metrics, which samples and cuts windows. `Outlet` runs the thread of the sink.

    The next window grows while the sink is busy with one. So a sink that hangs delays its windows, but loses none, and
    no windows pile up behind it.

    The thread rests when all records have their outcomes and the sink has all windows. It samples again when the engine
    has work again.

    make_sink: makes the sink, on the sink's thread, for the first window. None: no window leaves the process.
    level: metrics_level of the windows.
    interval: seconds between two windows.
    """

    def __init__(
        self,
        recorder: Recorder,
        gauges: Callable[[], Gauges],
        make_sink: Callable[[], Sink] | None,
        level: str,
        interval: float,
    ) -> None:
        self._recorder = recorder
        self._gauges = gauges
        self._make_sink = make_sink
        self._level = level
        self._interval = interval
        self.errors = RateLimitedLog(logger, "metrics_not_taken")
        self._wake_event = threading.Event()  # the reporter is closed, or there is work again
        self._is_ended = False
        self._is_resting = False
        self._last_seen = (-1, -1)  # at the last sample: records accepted so far, and those without an outcome
        recorder.on_wake = self._wake
        self._cut_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._outlet: Outlet | None = None
        self._next_cut = 0.0
        self._was_idle = False
        self._has_unsent = False  # there was work since the last window was handed over

    def start(self) -> None:
        """Start the thread, at the first put. If no thread can be started, nothing is sampled or exported."""
        self._recorder.registry.begin(time.time())
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="kplpy-metrics", daemon=True)
            if start_thread(thread):
                self._thread = thread

    def close(self, timeout: float) -> None:
        """Hand over the last window and end both threads. Wait for that at most `timeout` seconds."""
        until = time.monotonic() + timeout
        self._is_ended = True
        self._wake_event.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout))
        if self._outlet is not None:
            self._outlet.join(max(0.0, until - time.monotonic()))
        self.errors.close()

    def _run(self) -> None:
        self._next_cut = time.monotonic() + self._interval
        outlive(self._turn, lambda error: self._raised("reporting", error), lambda: self._is_ended)
        try:
            self._sample()
            self._cut_for_sink(last=True)
        except BaseException as error:
            self._raised("reporting", error)
        if self._outlet is not None:
            self._outlet.end()

    def _turn(self) -> bool:
        self._wake_event.wait(SAMPLING - time.monotonic() % SAMPLING)
        self._wake_event.clear()
        idle = self._sample()
        self._has_unsent = self._has_unsent or not idle
        if time.monotonic() >= self._next_cut and self._cut_for_sink(last=False):
            self._next_cut = time.monotonic() + self._interval
            self._has_unsent = not (idle and self._was_idle)  # a window holds whole seconds: not the sample just taken
        if idle and (not self._has_unsent or self._make_sink is None) and self._rest():
            self._next_cut = time.monotonic() + self._interval
        self._was_idle = idle
        return True

    def _raised(self, doing: str, error: BaseException) -> None:
        self.errors.say(f"{doing}: {type(error).__name__}: {error}", error)

    def _wake(self) -> None:
        if self._is_resting:
            self._wake_event.set()

    def _rest(self) -> bool:
        """Wait until there is work, or until the end. Return False if there is work already."""
        self._is_resting = True  # before the gauges are read: earlier work shows in them, later work sets the event
        try:
            if self._is_ended or not self._idle(self._gauges()):
                return False
            self._wake_event.wait()
            self._wake_event.clear()
            self._recorder.registry.skip_to(time.time())
            return True
        except Exception as error:
            self._raised("resting", error)
            return False
        finally:
            self._is_resting = False

    def _idle(self, gauges: Gauges) -> bool:
        """Return True if nothing was accepted since the last sample, and all records have their outcomes."""
        return (_accepted(gauges), gauges.outstanding) == self._last_seen and not gauges.outstanding

    def _sample(self) -> bool:
        """Take a sample. Return False if there was work since the last sample, or still is."""
        try:
            gauges = self._gauges()
            self._recorder.sample(gauges, time.monotonic())
            idle = self._idle(gauges)
            self._last_seen = (_accepted(gauges), gauges.outstanding)
            return idle
        except Exception as error:
            self._raised("sampling", error)
            return False

    def hand_over(self, timeout: float) -> None:
        """Hand everything counted so far to the sink. Wait for that at most `timeout` seconds."""
        until = time.monotonic() + timeout
        if self._make_sink is None or self._thread is None or self._is_ended:
            return
        if not self._cut_lock.acquire(timeout=max(0.0, timeout)):
            return
        try:
            outlet = self._get_outlet(self._make_sink)
            if outlet.wait_until_free(max(0.0, until - time.monotonic())):
                self._sample()
                self._cut(outlet, up_to_now=True)
                outlet.wait_until_free(max(0.0, until - time.monotonic()))
        finally:
            self._cut_lock.release()

    def _cut_for_sink(self, last: bool) -> bool:
        """Cut a window and hand it over. Return False if the sink is busy."""
        if self._make_sink is None:
            return True
        if not self._cut_lock.acquire(blocking=last):
            return False  # hand_over is running
        try:
            outlet = self._get_outlet(self._make_sink)
            if not outlet.wait_until_free(None if last else 0.0):
                self.errors.say(f"the sink has been busy with one window for {outlet.busy_for():.0f} s")
                return False
            self._cut(outlet, up_to_now=last, inline=last)
            return True
        finally:
            self._cut_lock.release()

    def _get_outlet(self, make_sink: Callable[[], Sink]) -> Outlet:
        if self._outlet is None:
            self._outlet = Outlet(make_sink, self.errors)
        return self._outlet

    def _cut(self, outlet: Outlet, up_to_now: bool, inline: bool = False) -> None:
        window = self._recorder.registry.cut(self._level, time.monotonic(), time.time(), up_to_now=up_to_now)
        if window.samples:
            outlet.take(window, inline=inline)


def _accepted(gauges: Gauges) -> int:
    return sum(each.accepted for each in gauges.streams.values())
