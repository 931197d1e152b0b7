"""Decides whether kplpy may run threads under uWSGI. In uWSGI's first process it may not.

uWSGI forks its workers in C, usually without Python's hooks. A thread that asks for the GIL at that moment leaves its
request in the child, where no thread can withdraw it. The child then waits for ever, before it runs any Python. So in
that process each put sends its own record, and a child inherits nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from kplpy.logs import log

logger = logging.getLogger(__name__)

_FALSE = {b"false", b"off", b"no", b"0"}
_warned = False


def is_here() -> bool:
    """Return True in a process of uWSGI. Other modules of this name are not taken for it."""
    return hasattr(sys.modules.get("uwsgi"), "worker_id")


def lets_threads_run() -> bool:
    """Return True if kplpy may run threads in this process. Outside uWSGI it may."""
    if not is_here():
        return True
    uwsgi: Any = sys.modules["uwsgi"]
    if not getattr(uwsgi, "has_threads", True):
        _warn_once()
        return False
    if uwsgi.worker_id() or uwsgi.mule_id() or uwsgi.i_am_the_spooler():
        return True
    # With this option uWSGI runs Python's fork hooks, except for mules and spoolers.
    options = uwsgi.opt
    hooks = options.get("py-call-uwsgi-fork-hooks", b"0")
    return (hooks is True or hooks.lower() not in _FALSE) and not {"mule", "mules", "farm", "spooler"} & options.keys()


def _warn_once() -> None:
    global _warned
    if not _warned:
        _warned = True
        log(logger, "uwsgi_without_threads", {"process": os.getpid()})
