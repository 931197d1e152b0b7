"""The threads of one producer: a scheduler that sleeps until something is due, and senders as they are needed.

They outlive whatever their work raises, and look after each other: a sender starts the scheduler again should it have
died, and a sender that died is no longer counted. Where no thread can be started, the scheduler sends as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from kplpy.repeats import Repeats
from kplpy.runtime.bell import Bell

logger = logging.getLogger(__name__)

NEVER = float("inf")
# Senders beyond the first end after this long without work.
IDLE_SENDER = 30.0
# A thread whose work raised takes a rest, lest an error that stays keep a core busy.
REST = 0.1

# Threads of any crew: a put from a callback on one of them must not block.
own_threads = threading.local()


def on_own_thread() -> bool:
    return getattr(own_threads, "is_one", False)


def does_our_work() -> bool:
    """Also on a thread of the user's that sends for want of ours."""
    return on_own_thread() or getattr(own_threads, "lent", False)


@contextmanager
def lend_thread() -> Iterator[None]:
    """This thread does our work meanwhile."""
    before = getattr(own_threads, "lent", False)
    own_threads.lent = True
    try:
        yield
    finally:
        own_threads.lent = before


class Work(Protocol):
    """What the threads do."""

    def visit_due(self) -> float:
        """Look after every stream that is due; returns when to come again."""
        ...

    def send_one(self) -> bool:
        """Send one request; False: there is nothing to send."""
        ...

    def has_work(self) -> bool: ...


class Crew:
    """No thread runs before `begin`. All are daemons: a request that hangs must not keep the process."""

    def __init__(self, work: Work, max_senders: int) -> None:
        self._work = work
        self._max_senders = max_senders
        # Reentrant: the first put to a stream may come from a signal handler within another's.
        self.lock = threading.RLock()
        self.errors = Repeats(logger, "internal_errors")
        self._bell = Bell()  # the scheduler's
        self._sleeps_until = NEVER
        self._scheduler: threading.Thread | None = None
        self._idle: deque[Bell] = deque()
        self._senders = 0
        self._short = False  # of threads
        self.stopping = False

    def begin(self) -> bool:
        """Start the scheduler, unless it runs; False when no thread can be started any more."""
        with self.lock:
            if self.stopping or self.alive:
                return True
            self._scheduler = self._start("kplpy-scheduler", self._schedule)
            return self._scheduler is not None

    @property
    def alive(self) -> bool:
        """Is there somebody to get things done?"""
        scheduler = self._scheduler
        return scheduler is not None and scheduler.is_alive()

    def ring(self) -> None:
        """Have the scheduler look for what is due."""
        self._bell.ring()

    def wake_by(self, when: float) -> None:
        if when < self._sleeps_until:
            self._bell.ring()

    def call_sender(self) -> bool:
        """Wake an idle sender or start one; when all are busy, each looks for work before it rests.

        False: the scheduler has to call. Threads are started on our own threads only, where neither Ctrl-C nor a
        waiting put can be in the way.
        """
        try:
            self._idle.pop().ring()
            return True
        except IndexError:
            pass
        if not on_own_thread():
            return False
        with self.lock:
            if self._senders >= self._max_senders or self.stopping:
                return True
            self._senders += 1
        if self._start("kplpy-sender", self._send) is None:
            with self.lock:
                self._senders -= 1
            self._short = True
        else:
            self._short = False
        return True

    def stop(self) -> None:
        """End the threads. One that is in a request ends with it."""
        self.stopping = True
        self._bell.ring()
        while self._idle:
            try:
                self._idle.pop().ring()
            except IndexError:
                break
        scheduler = self._scheduler
        # A scheduler that had to send may be in a request.
        if scheduler is not None and scheduler is not threading.current_thread() and not self._short:
            scheduler.join(1.0)
        self.errors.close()

    def abandon(self) -> None:
        """In a forked child: none of the threads is here, but perhaps the one that forked, in a callback."""
        self.stopping = True
        self.lock = threading.RLock()
        own_threads.is_one = own_threads.lent = False

    def _start(self, name: str, target: object) -> threading.Thread | None:
        """None when threads cannot be started: the interpreter is on its way out, or the system has no more."""
        thread = threading.Thread(target=target, name=name, daemon=True)  # type: ignore[arg-type]
        try:
            thread.start()
        except RuntimeError:
            return None
        return thread

    def _schedule(self) -> None:
        own_threads.is_one = True
        while not self.stopping:
            self._sleeps_until = NEVER  # awake: whoever plans rings, which ends the next sleep at once
            try:
                earliest = self._work.visit_due()
                if self._short and not self._senders and self._work.send_one():
                    continue
            except BaseException as error:
                earliest = self._stumbled(error)
            self._sleeps_until = earliest
            self._bell.wait(earliest - time.monotonic())

    def _send(self) -> None:
        own_threads.is_one = True
        bell = Bell()
        try:
            while not self.stopping:
                if not self.alive:
                    self.begin()
                try:
                    if self._work.send_one():
                        continue
                except BaseException as error:
                    self._stumbled(error)
                    bell.wait(REST)
                    continue
                if not self._rest(bell):
                    return
        finally:
            with self.lock:
                self._senders -= 1

    def _rest(self, bell: Bell) -> bool:
        """Wait for work; False when there was none for long, and there are other senders."""
        self._idle.append(bell)
        patience = IDLE_SENDER if self._senders > 1 else NEVER  # the last one stays, and does not wake for nothing
        # Something may have become ready, or all may have ended, just before the bell was there to be found.
        if not self.stopping and not self._work.has_work() and (bell.wait(patience) or self.stopping):
            return True
        try:
            self._idle.remove(bell)
        except ValueError:
            bell.wait(NEVER)  # it was taken, and is being rung
            return True
        return self._work.has_work() or self._senders == 1

    def _stumbled(self, error: BaseException) -> float:
        self.errors.say(f"{type(error).__name__}: {error}", error)
        return time.monotonic() + REST
