"""How threads wait for each other, and the main loop of kplpy's threads, which goes on after any exception."""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from kplpy.errors import KplpyError

REST = 0.1
"""Seconds that a thread waits after its work raised, so that a lasting error does not keep a core busy."""
LOOK_AGAIN = 1.0
"""Seconds after which a waiting thread looks whether it still must wait. An error, as of memory, may cost a wake."""

WITH_MAY_KEEP_LOCKS = sys.version_info[:2] == (3, 14)
"""True where an exception of a signal handler may leave the lock of a `with` statement held: python/cpython#148874."""


class SoundLock(_thread.RLock):  # type: ignore[misc]  # CPython lets it have subclasses
    """A reentrant lock that is released, or never taken, wherever a signal handler raises. For Python 3.12 and later.

    In Python 3.14 the handler may run between a call of `__enter__` that is in C and the `with` block. This one is in
    Python, and has a `try` of its own. `__exit__` is in C, so that no handler runs between the block and the release.
    A `with` takes 0.04 µs longer than RLock's.
    """

    __slots__ = ()

    def __enter__(self) -> bool:  # type: ignore[override]
        held: int = self._recursion_count()  # type: ignore[attr-defined]  # by the calling thread
        try:
            return self.acquire()
        except BaseException:
            if self._recursion_count() > held:  # type: ignore[attr-defined]
                self.release()
            raise


def new_lock() -> threading.Lock:
    """Return a lock for `with` statements of application threads, too. On Python 3.14 it is reentrant."""
    return cast("threading.Lock", SoundLock()) if WITH_MAY_KEEP_LOCKS else threading.Lock()


def new_rlock() -> threading.RLock:
    """Return a reentrant lock for `with` statements of application threads, too."""
    return SoundLock() if WITH_MAY_KEEP_LOCKS else threading.RLock()


def has_gil() -> bool:
    """Return False in a free-threaded build, which may run threads in parallel.

    sys._is_gil_enabled() is also True while any thread imports an extension module, and False afterwards.
    """
    return "free-threading" not in sys.version


def check_threads_allowed() -> None:
    """Raise KplpyError in a sub-interpreter whose configuration forbids daemon threads (Python 3.12 and later).

    Threads that are not daemons would keep the interpreter, whose end waits for them, from closing its producers.
    """
    try:
        threading.Thread(daemon=True)
    except RuntimeError as error:
        raise KplpyError(
            f"kplpy cannot run in this sub-interpreter, because its threads are daemons: {error}; use it in the main "
            f"interpreter, or make the sub-interpreter with the legacy configuration, which shares the GIL"
        ) from error


def outlive(turn: Callable[[], bool], recover: Callable[[BaseException], object], ended: Callable[[], bool]) -> None:
    """Call `turn` until it returns False or `ended` returns True. Any thread's main function.

    recover: called with what `turn` raised, after REST seconds. It may raise as well.
    """
    raised: BaseException | None = None
    while True:
        try:
            if ended():
                return
            if raised is not None:
                time.sleep(REST)
                recover(raised)
                raised = None
            if not turn():
                return
        except BaseException as error:
            raised = error


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

    def wait_until(self, has_happened: Callable[[], bool], timeout: float | None) -> bool:
        """Block until `has_happened` returns True, at most `timeout` seconds. Return what it returned last.

        timeout: None: no limit. The thread that makes it happen calls wake() afterwards.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while not has_happened():
            left = deadline - time.monotonic()
            if not self.wait(min(left, LOOK_AGAIN)) and left <= 0:
                return has_happened()
        return True


class ThreadMark(threading.local):
    """A mark on the calling thread, for what a signal handler or a `__del__` must know that interrupts it.

    The mark is a lock of the thread's own: an exception of a signal handler cannot come between the lock and its `with`
    (see new_lock). A generator with @contextmanager is worse. Interrupted there, it keeps its mark for as long
    as the exception's traceback has it, and so in the `except` block that handles Ctrl-C.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove the mark, in a forked child. The `with` block that set it may still end."""
        self._lock = new_lock()

    @property
    def is_set(self) -> bool:
        """True within a `with` block of this thread."""
        return self._lock.locked()

    def hold(self) -> AbstractContextManager[Any]:
        """Mark the thread during a `with` block. Blocks may be nested."""
        return _NOTHING if self._lock.locked() else self._lock


_NOTHING = nullcontext()


class WaitingThreads(list[WakeSignal]):
    """The threads that wait until one thing has happened.

    An exception of a signal handler may end a wait at any moment. It leaves no lock held. threading.Condition and
    threading.Event have Python code between their lock and its `with`, where such an exception leaves the lock held.
    """

    __slots__ = ()

    def wait_until(self, has_happened: Callable[[], bool], timeout: float | None) -> bool:
        """Block until `has_happened` returns True, at most `timeout` seconds. Return what it returned last.

        timeout: None: no limit. The thread that makes it happen calls wake_all() afterwards.
        """
        if has_happened():
            return True
        signal = WakeSignal()
        try:
            self.append(signal)
            return signal.wait_until(has_happened, timeout)
        finally:
            if signal in self:
                self.remove(signal)

    def wake_all(self) -> None:
        """Have all waiting threads look again."""
        for signal in self[:]:
            signal.wake()
