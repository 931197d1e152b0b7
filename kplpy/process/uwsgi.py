"""uWSGI, whose first process may not run threads of ours.

It forks its workers in C, as a rule without Python's hooks. A thread that wants the GIL at that moment leaves its wish
in the child, where nobody is left to take it: the child waits for ever, before it comes to any Python. So there each
put sends for itself, and nothing is left to be inherited.
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


def lets_threads_run() -> bool:
    """May this process have threads of ours? True outside uWSGI."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if not hasattr(uwsgi, "worker_id"):  # not uWSGI, or somebody's stand-in for it
        return True
    if not getattr(uwsgi, "has_threads", True):
        _warn_once()
        return False
    if uwsgi.worker_id() or uwsgi.mule_id() or uwsgi.i_am_the_spooler():
        return True
    # The option makes it run the hooks, but not for mules and spoolers.
    options = uwsgi.opt
    hooks = options.get("py-call-uwsgi-fork-hooks", b"0")
    return (hooks is True or hooks.lower() not in _FALSE) and not {"mule", "mules", "farm", "spooler"} & options.keys()


def _warn_once() -> None:
    global _warned
    if not _warned:
        _warned = True
        log(logger, "uwsgi_without_threads", {"process": os.getpid()})
