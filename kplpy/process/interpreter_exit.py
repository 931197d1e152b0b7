"""Delivers what was put before the process ends, and renews the producers in forked children.

Covers the exit of the interpreter and of the child processes that skip atexit.
"""

from __future__ import annotations

import atexit

# boto3 imports this module, which cannot be imported any more once the interpreter exits.
import concurrent.futures.thread  # noqa: F401
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from kplpy.process import fork, uwsgi


class ExitParticipant(Protocol):
    """What this module calls of a producer."""

    def _begin_exit(self) -> None: ...

    def _exit(self, began: float) -> None: ...

    def _renew_in_child(self) -> None: ...


_all: weakref.WeakSet[ExitParticipant] = weakref.WeakSet()
# Producers with records that are not closed. Kept, so that their records outlive the last reference to the producer.
_started: set[ExitParticipant] = set()
_exit_began: float | None = None
_watched: set[str] = set()  # the modules of _EXITS that have kplpy's hook in this process


def watch(producer: ExitParticipant) -> None:
    """Have each forked child give the producer a new engine. Called when the producer is made."""
    _all.add(producer)


def keep(producer: ExitParticipant) -> bool:
    """Have the producer deliver at the interpreter's exit. Called at its first put.

    Returns False if kplpy cannot run threads here.
    """
    if _exit_began is not None:
        return False
    _started.add(producer)
    _watch_exits_without_atexit()
    return uwsgi.lets_threads_run()


def threads_may_run() -> bool:
    """Return True if kplpy can run threads: before the interpreter's exit, and where uWSGI allows them."""
    return _exit_began is None and uwsgi.lets_threads_run()


def forget(producer: ExitParticipant) -> None:
    """Do not deliver this producer's records at exit: it is closed."""
    _started.discard(producer)


def exit_began() -> float | None:
    """Return when the interpreter's exit began (time.monotonic()), or None.

    From then on each put delivers before it returns.
    """
    return _exit_began


def deliver_all(*_: Any, **__: Any) -> None:
    """Deliver all that was put, because the process is about to end."""
    global _exit_began
    fork.check()
    if _exit_began is None:
        _exit_began = time.monotonic()
    producers = list(_started)
    for producer in producers:  # all begin at once, so that one that cannot deliver takes no time from the others
        producer._begin_exit()
    for producer in producers:
        producer._exit(_exit_began)


def _watch_exits_without_atexit() -> None:
    """Add hooks for processes that skip atexit.

    These are the children of multiprocessing, of process pools and of billiard, and those of Celery's pool.
    """
    for module, hook in _EXITS.items():
        if module in sys.modules and module not in _watched:
            _watched.add(module)
            hook(sys.modules[module])


def _watch_multiprocessing(process: Any) -> None:
    if process.parent_process() is not None:
        from multiprocessing import util

        util.Finalize(None, deliver_all, exitpriority=0)


def _watch_billiard(process: Any) -> None:
    if process.current_process()._parent_pid is not None:
        from importlib import import_module

        import_module("billiard.util").Finalize(None, deliver_all, exitpriority=0)
        _watch_billiards_pool(import_module("billiard.pool").Worker)


def _watch_billiards_pool(worker: Any) -> None:
    """Deliver before a child of billiard's pool ends with os._exit, which skips every finalizer."""
    do_exit = getattr(worker, "_do_exit", None)
    if do_exit is None:
        return

    def deliver_first(self: Any, *args: Any) -> None:
        on_exit = self.on_exit

        def on_exit_and_deliver(*args: Any) -> None:
            if on_exit is not None:
                on_exit(*args)
            deliver_all()

        self.on_exit = on_exit_and_deliver
        do_exit(self, *args)

    worker._do_exit = deliver_first


def _watch_celery(signals: Any) -> None:
    # The children of Celery's pool end with os._exit, right after this signal. The signal is public, unlike billiard's
    # _do_exit.
    signals.worker_process_shutdown.connect(deliver_all, weak=False)


_EXITS: dict[str, Callable[[Any], None]] = {
    "multiprocessing.process": _watch_multiprocessing,
    "billiard.process": _watch_billiard,
    "celery.signals": _watch_celery,
}


@fork.call_in_child
def _renew_producers() -> None:
    global _exit_began
    _exit_began = None
    _watched.clear()
    _started.clear()
    for producer in list(_all):
        producer._renew_in_child()


# atexit calls the first function last. urllib3's pools close their sockets in finalizers, which do not work any more
# after weakref's own exit function has run. A first finalizer registers that function before kplpy's.
weakref.finalize(deliver_all, lambda: None)
atexit.register(deliver_all)
