"""The process around the producers: its exit, in all the ways that processes have of ending, and forks."""

from __future__ import annotations

import atexit

# boto3 imports this module, which cannot be imported once the interpreter is on its way out.
import concurrent.futures.thread  # noqa: F401
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from kplpy.process import fork, uwsgi


class ExitParticipant(Protocol):
    """What lifecycle asks of a producer."""

    def _begin_exit(self) -> None: ...

    def _exit(self, began: float) -> None: ...

    def _renew_in_child(self) -> None: ...


_all: weakref.WeakSet[ExitParticipant] = weakref.WeakSet()
# Producers that were put to and not closed: their records must survive the last reference to the producer.
_started: set[ExitParticipant] = set()
_exit_began: float | None = None
_watched: set[str] = set()  # the other ways to exit that we have hooked into, in this process


def watch(producer: ExitParticipant) -> None:
    """From its construction: a forked child gives the producer a new engine."""
    _all.add(producer)


def keep(producer: ExitParticipant) -> bool:
    """From its first put: the producer delivers at the interpreter's exit. False: it must do without threads."""
    if _exit_began is not None:
        return False
    _started.add(producer)
    _watch_exits_without_atexit()
    return uwsgi.lets_threads_run()


def threads_may_run() -> bool:
    return _exit_began is None and uwsgi.lets_threads_run()


def forget(producer: ExitParticipant) -> None:
    """It is closed."""
    _started.discard(producer)


def exit_began() -> float | None:
    """When the exit began, by time.monotonic(); from then on each put delivers before it returns."""
    return _exit_began


def deliver_all(*_: Any, **__: Any) -> None:
    """The process is about to end: deliver all that was put."""
    global _exit_began
    fork.check()
    if _exit_began is None:
        _exit_began = time.monotonic()
    producers = list(_started)
    for producer in producers:  # all of them at once, so that one that cannot deliver takes no time from the others
        producer._begin_exit()
    for producer in producers:
        producer._exit(_exit_began)


def _watch_exits_without_atexit() -> None:
    """Children of multiprocessing and of process pools, billiard's, and Celery's pool skip atexit."""
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
    """Its children end with os._exit, past every finalizer."""
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
    # The children of its pool end with os._exit, right after this signal, which is public; billiard's way there is not.
    signals.worker_process_shutdown.connect(deliver_all, weak=False)


_EXITS: dict[str, Callable[[Any], None]] = {
    "multiprocessing.process": _watch_multiprocessing,
    "billiard.process": _watch_billiard,
    "celery.signals": _watch_celery,
}


@fork.renew
def _renew_producers() -> None:
    global _exit_began
    _exit_began = None
    _watched.clear()
    _started.clear()
    for producer in list(_all):
        producer._renew_in_child()


# What atexit is told first it calls last. urllib3's pools close their sockets in finalizers, and none of those works
# any more once weakref's own exit has run: it is to be registered (by the first finalizer) before ours.
weakref.finalize(deliver_all, lambda: None)
atexit.register(deliver_all)
