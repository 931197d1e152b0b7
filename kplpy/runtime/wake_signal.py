"""Wakes one thread, from any thread."""

from __future__ import annotations

import threading


class WakeSignal:
    """A binary semaphore. Any thread may call wake(); one thread waits. A wake is kept until wait() returns.

    wake() is safe in signal handlers and in `__del__`, because it never waits for a lock. threading.Event and
    threading.Condition are not safe there.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> bool:
        """Set the signal. Return False if it was set already."""
        try:
            self._lock.release()
        except RuntimeError:
            return False
        return True

    def wait(self, timeout: float) -> bool:
        """Wait until the signal is set, for at most `timeout` seconds (may be infinite). Return True if it was set."""
        if timeout <= 0:
            return self._lock.acquire(blocking=False)
        return self._lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
