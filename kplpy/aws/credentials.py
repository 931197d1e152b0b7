"""Renews a session's credentials when the service refuses them, and its locks after a fork.

botocore refreshes credentials before they expire. It does not notice a revoked token or a rewritten file. It has no
public API to refresh them, so kplpy uses its private names where they exist.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Any

from kplpy.logs import log
from kplpy.process import fork

logger = logging.getLogger(__name__)

# Sources that botocore reads once. Their credentials may have changed since.
_READ_ONCE = frozenset({"env", "shared-credentials-file", "config-file"})

# They log a traceback for each failed fetch of credentials, about 40 lines with SSO, and then raise.
_LOGGERS = ("botocore.credentials", "botocore.tokens")

_used: weakref.WeakSet[Any] = weakref.WeakSet()


def withhold_tracebacks() -> None:
    """Keep botocore from logging what it raises on kplpy's threads: retries would bury the line with the cause."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_worth_logging)  # repeated calls add it once


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Return False for a failed mandatory refresh, which botocore (1.40 to 1.44) logs and then raises."""
    return record.args != ("mandatory",) or not str(record.threadName).startswith("kplpy-")


def remember(session: Any) -> None:
    """Note a session whose clients are in use, for its locks after a fork."""
    _used.add(session)


def renew(session: Any) -> dict[str, str]:
    """Fetch the session's credentials again, from the source that they came from.

    Returns arguments for the next client: the credentials, if they were read again, else nothing. A failure is logged.
    """
    credentials = session.get_credentials()
    if credentials is None:
        return {}
    lock, refresh = getattr(credentials, "_refresh_lock", None), getattr(credentials, "_protected_refresh", None)
    if lock is not None and refresh is not None:
        try:
            with lock:
                refresh(is_mandatory=False)
        except Exception as error:  # the next request reports the cause
            log(logger, "credentials_not_fetched", {"reason": f"{type(error).__name__}: {error}"})
        return {}
    if credentials.method not in _READ_ONCE:
        return {}
    fresh = getattr(session, "_session", session).get_component("credential_provider").load_credentials()
    if fresh is None or fresh.method != credentials.method:
        return {}  # the source is gone; another source may have another identity, which the user did not choose
    frozen = fresh.get_frozen_credentials()
    given = {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
    return given | ({"aws_session_token": frozen.token} if frozen.token else {})


@fork.call_in_child
def _renew_locks() -> None:
    """Replace refresh locks in a forked child: a thread of the parent that held one is not here to release it."""
    for session in list(_used):
        credentials: Any = getattr(getattr(session, "_session", session), "_credentials", None)
        if hasattr(credentials, "_refresh_lock"):
            credentials._refresh_lock = threading.Lock()
