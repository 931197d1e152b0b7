"""The threads of one producer: a scheduler that sleeps until something is due, and senders as they are needed.

A thread survives whatever its work raises. A sender, or a put that would wake it, starts the scheduler again if it has
died, and a sender that died is no longer counted. Where no thread can be started, the scheduler sends as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from kplpy.concurrency import outlive
from kplpy.rate_limited_log import RateLimitedLog
from kplpy.runtime.wake_signal import WakeSignal

logger = logging.getLogger(__name__)

NEVER = float("inf")
# Senders beyond the first end after this long without work.
IDLE_SENDER = 30.0
JOIN_TIMEOUT = 5.0
"""Seconds that stop() waits, at most, for the threads that have no work."""

# Threads of any crew: a put from a callback on one of them must not block.
thread_state = threading.local()


def is_kplpy_thread() -> bool:
    """Return True on a scheduler, a sender, or the thread of callbacks."""
    return getattr(thread_state, "is_kplpy", False)


def is_lent_thread() -> bool:
    """Return True on an application's thread that does kplpy's work, because none of kplpy's can be started."""
    return getattr(thread_state, "is_lent", False)


def runs_kplpy_work() -> bool:
    return is_kplpy_thread() or is_lent_thread()


@contextmanager
def lend_thread() -> Iterator[None]:
    """This thread does kplpy's work meanwhile."""
    before = getattr(thread_state, "is_lent", False)
    thread_state.is_lent = True
    try:
        yield
    finally:
        thread_state.is_lent = before


@contextmanager
def starting_threads() -> Iterator[None]:
    """This thread holds the crew's lock meanwhile, which the scheduler may wait for."""
    before = is_starting_threads()
    thread_state.is_starting = True
    try:
        yield
    finally:
        thread_state.is_starting = before


def is_starting_threads() -> bool:
    """Return True if a signal handler or a __del__ runs while the calling thread starts others."""
    return getattr(thread_state, "is_starting", False)


class Sends(Protocol):
    """What senders do."""

    def send_one(self) -> bool:
        """Send one request; False: there is nothing to send."""
        ...

    def has_work(self) -> bool: ...


class Work(Protocol):
    """What the threads do."""

    @property
    def sender(self) -> Sends: ...

    def visit_due(self) -> float:
        """Look after every stream that is due; returns when to come again."""
        ...

    def request_visits(self) -> None:
        """Something raised: have the scheduler look at every stream."""
        ...


class WorkerThreads:
    """No thread runs before `begin`. All are daemons: a request that hangs must not keep the process."""

    def __init__(self, work: Work, max_senders: int) -> None:
        self._work = work
        self._max_senders = max_senders
        # Reentrant: the first put to a stream may come from a signal handler within another's.
        self.lock = threading.RLock()
        self.errors = RateLimitedLog(logger, "internal_errors")
        self._wake_signal = WakeSignal()  # the scheduler's
        self._sleeps_until = NEVER
        self._scheduler: threading.Thread | None = None
        self._idle: deque[WakeSignal] = deque()
        self._senders: set[threading.Thread] = set()
        self._ending_senders: set[threading.Thread] = set()  # no senders any more, but they may still be alive
        self._lacks_senders = False  # of threads
        self._callback_work: deque[Callable[[], object]] = deque()
        self._callback_thread: threading.Thread | None = None
        self._callback_signal = WakeSignal()
        self.stopping = False

    def start_scheduler(self) -> bool:
        """Start the scheduler, unless it runs; False when no thread can be started any more."""
        with self.lock:
            if self.stopping or self.is_scheduler_alive:
                return True
            scheduler = self._thread("kplpy-scheduler", self._schedule)
            if not _start(scheduler):
                return False
            self._scheduler = scheduler
            return True

    @property
    def is_scheduler_alive(self) -> bool:
        """Is there somebody to get things done?"""
        scheduler = self._scheduler
        return scheduler is not None and scheduler.is_alive()

    def wake(self) -> None:
        """Have the scheduler look for what is due."""
        self._wake_signal.wake()

    def wake_by(self, when: float) -> None:
        if when < self._sleeps_until:
            self._wake_signal.wake()

    def wake_sender(self) -> bool:
        """Wake an idle sender or start one; when all are busy, each looks for work before it rests.

        False: the scheduler has to call. Threads are started on our own threads only, where neither Ctrl-C nor a
        waiting put can be in the way.
        """
        # A sender takes its bell out by itself: one that was taken out and not rung would be forgotten.
        if any(wake_signal.wake() for wake_signal in reversed(list(self._idle))):
            return True
        if not is_kplpy_thread():
            return False
        with self.lock:
            if self.stopping or self._count_senders() >= self._max_senders:
                return True
            sender = self._thread("kplpy-sender", self._send)
            self._senders.add(sender)
        self._lacks_senders = not _start(sender)
        if self._lacks_senders:
            self._senders.discard(sender)
        return True

    def run_on_callback_thread(self, work: Callable[[], object]) -> None:
        """For the scheduler: have another thread run the application's own code, which may block."""
        self._callback_work.append(work)
        if not (self._callback_thread is not None and self._callback_thread.is_alive()):
            caller = self._thread("kplpy-callbacks", self._run_callback_thread)
            if not _start(caller):
                self._run_callback_work()
                return
            self._callback_thread = caller
        self._callback_signal.wake()

    def _run_callback_thread(self, _: WakeSignal) -> bool:
        self._run_callback_work()
        self._callback_signal.wait(NEVER)
        return True

    def _run_callback_work(self) -> None:
        """Another thread may run some of them at the same time. What one raises is logged; the others are run."""
        while True:
            try:
                work = self._callback_work.popleft()
            except IndexError:
                return
            try:
                work()
            except Exception as error:
                self.log_error(error)

    def _count_senders(self) -> int:
        """Those that live, or are about to."""
        gone = {each for each in list(self._senders) if each.ident is not None and not each.is_alive()}
        self._senders -= gone
        self._ending_senders = {each for each in self._ending_senders if each.is_alive()}
        return len(self._senders)

    def stop(self, busy: Callable[[], Collection[int]]) -> None:
        """End the threads, and wait until they have ended, JOIN_TIMEOUT seconds at most.

        `busy`: the idents of the threads that are in a request or a callback. Each ends with that, and is not waited
        for. Nor is anything waited for on one of the crew's own threads.
        """
        self.stopping = True
        self._wake_signal.wake()
        self._callback_signal.wake()
        for wake_signal in list(self._idle):
            wake_signal.wake()
        if not is_kplpy_thread():
            self._join(busy)
        self._run_callback_work()
        self.errors.close()

    def _join(self, busy: Callable[[], Collection[int]]) -> None:
        """A thread that outlives its producer stops a sub-interpreter from ending: "not the last thread"."""
        until = time.monotonic() + JOIN_TIMEOUT
        while time.monotonic() < until:
            with self.lock:
                threads = (self._scheduler, self._callback_thread, *self._senders, *self._ending_senders)
            at_work = busy()
            idle = [each for each in threads if each is not None and each.is_alive() and each.ident not in at_work]
            if not idle:
                return
            idle[0].join(0.05)  # it may have taken up work meanwhile

    def abandon(self) -> None:
        """In a forked child: none of the threads is here, but perhaps the one that forked, in a callback."""
        self.stopping = True
        self.lock = threading.RLock()
        thread_state.is_kplpy = thread_state.is_lent = False

    def _thread(self, name: str, work: Callable[[WakeSignal], bool]) -> threading.Thread:
        return threading.Thread(target=self._run_thread, args=(work, WakeSignal()), name=name, daemon=True)

    def _run_thread(self, work: Callable[[WakeSignal], bool], wake_signal: WakeSignal) -> None:
        """A thread's whole life: it works until there is no more work, and outlives whatever strikes it."""
        thread_state.is_kplpy = True
        outlive(lambda: work(wake_signal), self._after_error, lambda: self.stopping)

    def _after_error(self, error: BaseException) -> None:
        self._work.request_visits()
        self.log_error(error)

    def log_error(self, error: BaseException) -> None:
        """Log what kplpy's own work raised."""
        self.errors.say(f"{type(error).__name__}: {error}", error)

    def _schedule(self, _: WakeSignal) -> bool:
        self._sleeps_until = NEVER  # awake: whoever plans rings, which ends the next sleep at once
        earliest = self._work.visit_due()
        if self._lacks_senders and not self._count_senders() and self._work.sender.send_one():
            return True
        self._sleeps_until = earliest
        self._wake_signal.wait(earliest - time.monotonic())
        return True

    def _send(self, wake_signal: WakeSignal) -> bool:
        if not self.is_scheduler_alive:
            self.start_scheduler()
        if self._work.sender.send_one() or self._wait_for_work(wake_signal):
            return True
        with self.lock:  # lest the last two end at once
            if self._count_senders() > 1:
                self._ending_senders.add(threading.current_thread())
                self._senders.discard(threading.current_thread())
                return False
        return True

    def _wait_for_work(self, wake_signal: WakeSignal) -> bool:
        """Wait for work; False when there was none for long."""
        patience = IDLE_SENDER if len(self._senders) > 1 else NEVER  # the last one stays, and does not wake for nothing
        self._idle.append(wake_signal)
        try:
            # Something may have become ready, or all may have ended, just before the bell was there to be found.
            if self.stopping or self._work.sender.has_work() or wake_signal.wait(patience):
                return True
        finally:
            self._idle.remove(wake_signal)
        return wake_signal.wait(0)  # it may have been rung at the last moment


def _start(thread: threading.Thread) -> bool:
    """False when threads cannot be started: the interpreter is on its way out, or the system has no more."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True
