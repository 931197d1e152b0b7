"""Waking one thread, from anywhere."""

from __future__ import annotations

import threading


class WakeSignal:
    """A binary semaphore: ring() is remembered until wait() returns.

    Ringing takes no lock that a holder could be interrupted in, so it is safe in signal handlers and in __del__;
    threading.Event and Condition are not.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> bool:
        """False: it rang already."""
        try:
            self._lock.release()
        except RuntimeError:
            return False
        return True

    def wait(self, timeout: float) -> bool:
        """Wait until it rings, at most `timeout` seconds (infinite allowed)."""
        if timeout <= 0:
            return self._lock.acquire(blocking=False)
        return self._lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
