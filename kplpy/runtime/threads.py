"""The threads of one producer: a scheduler that sleeps until a stream is due, and as many senders as needed.

A thread survives every exception of its work. If the scheduler thread has died all the same, a sender or a put starts
it again. A sender that died is no longer counted. If no sender can be started, the scheduler also sends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any, Protocol

from kplpy.concurrency import ThreadMark, WakeSignal, new_rlock, outlive
from kplpy.process.threads import start_thread
from kplpy.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

NEVER = float("inf")
IDLE_SENDER = 30.0
"""Seconds without work after which a sender ends, unless it is the last one."""
JOIN_TIMEOUT = 5.0
"""Seconds that stop() waits at most for the threads that have no work."""

# What the current thread is. A put on one of kplpy's threads, of any producer, must not block.
thread_state = threading.local()
_lent = ThreadMark()
_starting = ThreadMark()


def is_kplpy_thread() -> bool:
    """Return True on a scheduler thread, a sender thread, or a callback thread, of any producer."""
    return getattr(thread_state, "is_kplpy", False)


def is_lent_thread() -> bool:
    """Return True on an application thread that does kplpy's work at the moment."""
    return _lent.is_set


def runs_kplpy_work() -> bool:
    """Return True on a thread of kplpy's, and on an application thread that does kplpy's work."""
    return is_kplpy_thread() or is_lent_thread()


def lend_thread() -> AbstractContextManager[Any]:
    """Mark the application thread as doing kplpy's work."""
    return _lent.hold()


def starting_threads() -> AbstractContextManager[Any]:
    """Mark the thread as holding WorkerThreads.lock, which the scheduler may wait for."""
    return _starting.hold()


def is_starting_threads() -> bool:
    """Return True if a signal handler or a __del__ runs while the calling thread starts others."""
    return _starting.is_set


class Sends(Protocol):
    """The work of sender threads."""

    def send_one(self) -> bool:
        """Send one request, or make one control-plane call. False: there is nothing to send."""
        ...

    def has_work(self) -> bool:
        """Return True if a stream waits for a sender."""
        ...


class Work(Protocol):
    """The work of the scheduler thread, and of the sender threads."""

    @property
    def sender(self) -> Sends: ...

    def visit_due(self) -> float:
        """Visit every stream that is due. Return when the next one is due."""
        ...

    def request_visits(self) -> None:
        """Have the scheduler visit every stream, because an error ended a turn."""
        ...


class WorkerThreads:
    """Starts, wakes and ends a producer's threads. Any thread may call it.

    No thread runs before `start_scheduler`. All threads are daemons, so that a request that hangs cannot keep the
    process alive.
    """

    def __init__(self, work: Work, max_senders: int) -> None:
        self._work = work
        self._max_senders = max_senders
        # Reentrant, because a signal handler may make the first put within another first put.
        self.lock = new_rlock()
        self.errors = RateLimitedLog(logger, "internal_errors")
        self._wake_signal = WakeSignal()  # of the scheduler
        self._sleeps_until = NEVER
        self._scheduler: threading.Thread | None = None
        self._idle: list[WakeSignal] = []  # copied without a lock; without a GIL, a deque could not be
        self._senders: set[threading.Thread] = set()
        self._starting_senders: set[threading.Thread] = set()  # of these: may have an ident, and not be alive yet
        self._ending_senders: set[threading.Thread] = set()  # no longer counted, but perhaps alive
        self._lacks_senders = False  # the last start of a sender failed
        self._callback_work: deque[Callable[[], object]] = deque()
        self._callback_thread: threading.Thread | None = None
        self._callback_signal = WakeSignal()
        self.stopping = False

    def start_scheduler(self) -> bool:
        """Start the scheduler, unless it runs. Return False if no thread can be started."""
        with self.lock:
            if self.stopping or self.is_scheduler_alive:
                return True
            # Noted before the start, which Ctrl-C may interrupt while the thread begins.
            self._scheduler = self._thread("kplpy-scheduler", self._schedule)
            return start_thread(self._scheduler)

    @property
    def is_scheduler_alive(self) -> bool:
        """Return True if the scheduler thread runs."""
        scheduler = self._scheduler
        return scheduler is not None and scheduler.is_alive()

    def wake(self) -> None:
        """Wake the scheduler, which then visits the streams that are due."""
        self._wake_signal.wake()

    def wake_by(self, when: float) -> None:
        """Wake the scheduler if it would sleep beyond `when`."""
        if when < self._sleeps_until:
            self._wake_signal.wake()

    def wake_sender(self) -> bool:
        """Wake an idle sender, or start one. If all are busy, do nothing: each looks for work before it rests.

        Return False if the scheduler must make this call instead. Only kplpy's threads start threads, because Ctrl-C
        and waiting puts cannot interrupt them.
        """
        # Only the sender itself removes its wake signal. If this thread removed it and were interrupted before the
        # wake, no thread would wake that sender again.
        if any(wake_signal.wake() for wake_signal in reversed(self._idle[:])):
            return True
        if not is_kplpy_thread():
            return False
        with self.lock:
            if self.stopping or self._count_senders() >= self._max_senders:
                return True
            sender = self._thread("kplpy-sender", self._send)
            self._starting_senders.add(sender)
            self._senders.add(sender)
        try:
            self._lacks_senders = not start_thread(sender)
        finally:
            self._starting_senders.discard(sender)
        if self._lacks_senders:
            self._senders.discard(sender)
        return True

    def run_on_callback_thread(self, work: Callable[[], object]) -> None:
        """Have the callback thread run application code, which may block. Called by the scheduler."""
        self._callback_work.append(work)
        if not (self._callback_thread is not None and self._callback_thread.is_alive()):
            caller = self._thread("kplpy-callbacks", self._run_callback_thread)
            if not start_thread(caller):
                self._run_callback_work()
                return
            self._callback_thread = caller
        self._callback_signal.wake()

    def _run_callback_thread(self, _: WakeSignal) -> bool:
        self._run_callback_work()
        self._callback_signal.wait(NEVER)
        return True

    def _run_callback_work(self) -> None:
        """Run the queued callback work. Log what an item raises, and go on. Several threads may run this at once."""
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
        """Return how many senders run, or are being started."""
        gone = {each for each in list(self._senders) if each not in self._starting_senders and not each.is_alive()}
        self._senders -= gone
        self._ending_senders = {each for each in self._ending_senders if each.is_alive()}
        return len(self._senders)

    def stop(self, busy: Callable[[], Collection[int]]) -> None:
        """End the threads, and wait until they have ended, for at most JOIN_TIMEOUT seconds.

        busy: returns the idents of the threads that are in a request or a callback. They end after it, and this call
        does not wait for them. On one of kplpy's threads it waits for none.
        """
        self.stopping = True
        self._wake_signal.wake()
        self._callback_signal.wake()
        for wake_signal in self._idle[:]:
            wake_signal.wake()
        if not is_kplpy_thread():
            self._join(busy)
        self._run_callback_work()
        self.errors.close()

    def _join(self, busy: Callable[[], Collection[int]]) -> None:
        """Wait for the threads without work. A thread that is left would stop a sub-interpreter from ending.

        CPython ends the process with "not the last thread" then.
        """
        until = time.monotonic() + JOIN_TIMEOUT
        while time.monotonic() < until:
            with self.lock:
                threads = (self._scheduler, self._callback_thread, *self._senders, *self._ending_senders)
            at_work = busy()
            idle = [each for each in threads if each is not None and each.is_alive() and each.ident not in at_work]
            if not idle:
                return
            idle[0].join(0.05)  # short, because the thread may become busy meanwhile

    def abandon(self) -> None:
        """Reset in a forked child. No thread survives there, except the one that forked, perhaps in a callback."""
        self.stopping = True
        self.lock = new_rlock()
        thread_state.is_kplpy = False
        _lent.clear()

    def _thread(self, name: str, work: Callable[[WakeSignal], bool]) -> threading.Thread:
        return threading.Thread(target=self._run_thread, args=(work, WakeSignal()), name=name, daemon=True)

    def _run_thread(self, work: Callable[[WakeSignal], bool], wake_signal: WakeSignal) -> None:
        """Run a thread of kplpy's until its work returns False or the producer stops. Exceptions do not end it."""
        thread_state.is_kplpy = True
        outlive(lambda: work(wake_signal), self._after_error, lambda: self.stopping)

    def _after_error(self, error: BaseException) -> None:
        """Have all streams visited after a thread's work raised, and log the error."""
        self._work.request_visits()
        self.log_error(error)

    def log_error(self, error: BaseException) -> None:
        """Log an error of kplpy's own work."""
        self.errors.say(f"{type(error).__name__}: {error}", error)

    def _schedule(self, _: WakeSignal) -> bool:
        if threading.current_thread() is not self._scheduler:
            # Ctrl-C interrupted this one's start, and a put began another, whose wake it may have taken.
            self._wake_signal.wake()
            return False
        self._sleeps_until = NEVER  # while awake, every wake_by sets the signal, which ends the next sleep at once
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
        with self.lock:  # so that the last two senders do not end at the same time
            if self._count_senders() > 1:
                self._ending_senders.add(threading.current_thread())
                self._senders.discard(threading.current_thread())
                return False
        return True

    def _wait_for_work(self, wake_signal: WakeSignal) -> bool:
        """Wait for work. Return False if there was none for IDLE_SENDER seconds."""
        patience = IDLE_SENDER if len(self._senders) > 1 else NEVER  # the last sender stays, and never wakes idly
        self._idle.append(wake_signal)
        try:
            # A stream may have become ready, or the producer stopped, just before the signal was added to _idle.
            if self.stopping or self._work.sender.has_work() or wake_signal.wait(patience):
                return True
        finally:
            self._idle.remove(wake_signal)
        return wake_signal.wait(0)  # a wake may have come before the removal
