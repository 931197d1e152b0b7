"""The threads that look and tell: one samples every second and cuts windows, one hands them to the sink."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from kplpy.concurrency import outlive
from kplpy.core.gauges import Gauges
from kplpy.metrics.recorder import Recorder
from kplpy.metrics.sample import Sink, Window
from kplpy.process import fork
from kplpy.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

_making = fork.WholeSection()  # a sink's package is imported then

SAMPLING = 1.0
"""Seconds between two samples."""


class Reporter:
    """`make_sink` is called when there is a first window to hand over, on the thread that does so; None: nothing is.

    While a sink is at a window, the next one goes on growing. So nothing is lost and nothing piles up behind a sink
    that hangs, and that costs nothing but what it was to carry.

    Once everything is answered and told, it rests until the engine has work again: seconds without anything have no
    samples.
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
        self._called = threading.Event()  # it ended, or there is work again
        self._ended = False
        self._resting = False
        self._before = (-1, -1)  # at the last sample: records accepted so far, and of these outstanding
        recorder.when_awake = self._awake
        self._telling = threading.Lock()
        self._thread: threading.Thread | None = None
        self._outlet: _Outlet | None = None
        self._next_cut = 0.0
        self._was_idle = False
        self._untold = False  # something was done since the last window was handed over

    def start(self) -> None:
        """With the first put. Where no thread can be started nothing is sampled or told."""
        self._recorder.registry.begin(time.time())
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="kplpy-metrics", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is on its way out, or the system has no more threads
                return
            self._thread = thread

    def close(self, timeout: float) -> None:
        """Hand over the last window. Wait for that, and for the end of both threads, at most `timeout` seconds."""
        until = time.monotonic() + timeout
        self._ended = True
        self._called.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout))
        if self._outlet is not None:
            self._outlet.join(max(0.0, until - time.monotonic()))
        self.errors.close()

    def _run(self) -> None:
        self._next_cut = time.monotonic() + self._interval
        outlive(self._turn, lambda error: self._raised("reporting", error), lambda: self._ended)
        try:
            self._sample()
            self._tell(last=True)
        except BaseException as error:
            self._raised("reporting", error)
        if self._outlet is not None:
            self._outlet.end()

    def _turn(self) -> bool:
        self._called.wait(SAMPLING - time.monotonic() % SAMPLING)
        self._called.clear()
        idle = self._sample()
        self._untold = self._untold or not idle
        if time.monotonic() >= self._next_cut and self._tell(last=False):
            self._next_cut = time.monotonic() + self._interval
            self._untold = not (idle and self._was_idle)  # a window holds whole seconds: not the sample just taken
        if idle and (not self._untold or self._make_sink is None) and self._rest():
            self._next_cut = time.monotonic() + self._interval
        self._was_idle = idle
        return True

    def _raised(self, doing: str, error: BaseException) -> None:
        self.errors.say(f"{doing}: {type(error).__name__}: {error}", error)

    def _awake(self) -> None:
        if self._resting:
            self._called.set()

    def _rest(self) -> bool:
        """Until there is work, or the end; False: there is some already."""
        self._resting = True  # first: what came before is seen in the gauges, what comes after calls
        try:
            if self._ended or not self._idle(self._gauges()):
                return False
            self._called.wait()
            self._called.clear()
            self._recorder.registry.rested(time.time())
            return True
        except Exception as error:
            self._raised("resting", error)
            return False
        finally:
            self._resting = False

    def _idle(self, gauges: Gauges) -> bool:
        """Nothing since the last sample, nor to come."""
        return (_accepted(gauges), gauges.records) == self._before and not gauges.records

    def _sample(self) -> bool:
        """False: something was done since the last sample, or is to be done."""
        try:
            gauges = self._gauges()
            self._recorder.sample(gauges, time.monotonic())
            idle = self._idle(gauges)
            self._before = (_accepted(gauges), gauges.records)
            return idle
        except Exception as error:
            self._raised("sampling", error)
            return False

    def hand_over(self, timeout: float) -> None:
        """Let the sink have all that has been counted, and wait for that `timeout` seconds at the most."""
        until = time.monotonic() + timeout
        if self._make_sink is None or self._thread is None or self._ended:
            return
        if not self._telling.acquire(timeout=max(0.0, timeout)):
            return
        try:
            outlet = self._the_outlet(self._make_sink)
            if outlet.wait_until_free(max(0.0, until - time.monotonic())):
                self._sample()
                self._cut(outlet, all_of_it=True)
                outlet.wait_until_free(max(0.0, until - time.monotonic()))
        finally:
            self._telling.release()

    def _tell(self, last: bool) -> bool:
        """Hand over what there is; False: the sink is busy."""
        if self._make_sink is None:
            return True
        if not self._telling.acquire(blocking=last):
            return False  # hand_over is at it
        try:
            outlet = self._the_outlet(self._make_sink)
            if not outlet.wait_until_free(None if last else 0.0):
                self.errors.say(f"the sink has been busy with one window for {outlet.busy_for():.0f} s")
                return False
            self._cut(outlet, all_of_it=last, here=last)
            return True
        finally:
            self._telling.release()

    def _the_outlet(self, make_sink: Callable[[], Sink]) -> _Outlet:
        if self._outlet is None:
            self._outlet = _Outlet(make_sink, self.errors)
        return self._outlet

    def _cut(self, outlet: _Outlet, all_of_it: bool, here: bool = False) -> None:
        window = self._recorder.registry.cut(self._level, time.monotonic(), time.time(), all_of_it=all_of_it)
        if window.samples:
            outlet.take(window, here=here)


def _accepted(gauges: Gauges) -> int:
    return sum(each.accepted for each in gauges.streams.values())


class _Outlet:
    """The thread of the sink."""

    def __init__(self, make_sink: Callable[[], Sink], errors: RateLimitedLog) -> None:
        self._make_sink = make_sink
        self._errors = errors
        self._sink: Sink | None = None
        self._changed = threading.Condition()
        self._window: Window | None = None
        self._since = 0.0
        self._ended = False
        self._thread: threading.Thread | None = None

    def busy_for(self) -> float:
        return time.monotonic() - self._since

    def wait_until_free(self, timeout: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._window is None, timeout)

    def take(self, window: Window, here: bool) -> None:
        """`here`: no thread is to be started for it, as at the interpreter's end."""
        if here and self._thread is None:
            self._emit(window)
            return
        with self._changed:
            self._window, self._since = window, time.monotonic()
            self._changed.notify_all()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="kplpy-metrics-sink", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._finish(window)
                return
            self._thread = thread
        if here:
            self.wait_until_free(None)

    def end(self) -> None:
        """Once it is free."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, unless this is the thread: a sink may close the producer."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        outlive(self._turn, self._raised, lambda: False)

    def _turn(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._window is not None or self._ended)
            window = self._window
        if window is None:
            return False
        self._finish(window)
        return True

    def _finish(self, window: Window) -> None:
        self._emit(window)
        with self._changed:
            self._window = None
            self._changed.notify_all()

    def _emit(self, window: Window) -> None:
        try:
            if self._sink is None:
                with _making:
                    self._sink = self._make_sink()
            self._sink.emit(window)
        except BaseException as error:  # a sink may be the user's
            self._raised(error)

    def _raised(self, error: BaseException) -> None:
        self._errors.say(f"{type(error).__name__}: {error}", None if _says_all(error) else error)


def _says_all(error: BaseException) -> bool:
    """Does its message tell what somebody could mend? A traceback through botocore adds nothing to that."""
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, (BotoCoreError, ClientError, ConnectionError))
