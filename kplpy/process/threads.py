"""Starts kplpy's threads. Under uWSGI they take no signals."""

from __future__ import annotations

import signal
import threading

from kplpy.process import uwsgi

# uWSGI's handlers of these signals end, reload or suspend a process.
_HANDLED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTSTP")


def start_thread(thread: threading.Thread) -> bool:
    """Start the thread. Return False if it cannot start: the interpreter exits, or the system has no more threads.

    uWSGI's signal handlers are C functions, which run on the thread that takes the signal. They run Python's exit
    functions there, and so would wait for a lock that this thread holds. The thread inherits a mask, so that another
    thread of the process takes the signals: the one that waits for requests.
    """
    mask: set[int] | None = None
    if uwsgi.is_here():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in _HANDLED})
    try:
        thread.start()
    except RuntimeError:
        return False
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return True
