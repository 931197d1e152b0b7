"""The user's session when the service says that its credentials have expired, and after a fork.

botocore refreshes what it knows to end; a token that was revoked, or a file that was rewritten, it does not notice.
Where botocore offers nothing public for that, its private names are used if they are there.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Any

from kplpy.logs import log
from kplpy.process import fork

logger = logging.getLogger(__name__)

# Credentials that botocore reads once, and that somebody may have written anew since.
_READ_ONCE = frozenset({"env", "shared-credentials-file", "config-file"})

# They log a traceback for each failing fetch of credentials, some 40 lines with SSO, and then raise.
_LOGGERS = ("botocore.credentials", "botocore.tokens")

_used: weakref.WeakSet[Any] = weakref.WeakSet()


def withhold_tracebacks() -> None:
    """Have botocore not log what it raises on kplpy's threads: retries would bury the line that names the cause."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_news)  # once, however often it is called


def _is_news(record: logging.LogRecord) -> bool:
    """Return False for a mandatory refresh that failed, which botocore (1.40 to 1.44) raises after it has logged it."""
    return record.args != ("mandatory",) or not str(record.threadName).startswith("kplpy-")


def remember(session: Any) -> None:
    """A session whose clients are in use."""
    _used.add(session)


def renewed(session: Any) -> dict[str, str]:
    """Have the session's credentials fetched again by whoever made them.

    Returns arguments for making the next client: those that were read again, or none.
    """
    credentials = session.get_credentials()
    if credentials is None:
        return {}
    lock, refresh = getattr(credentials, "_refresh_lock", None), getattr(credentials, "_protected_refresh", None)
    if lock is not None and refresh is not None:
        try:
            with lock:
                refresh(is_mandatory=False)
        except Exception as error:  # the next request tells what is wrong
            log(logger, "credentials_not_fetched", {"reason": f"{type(error).__name__}: {error}"})
        return {}
    if credentials.method not in _READ_ONCE:
        return {}
    fresh = getattr(session, "_session", session).get_component("credential_provider").load_credentials()
    if fresh is None or fresh.method != credentials.method:
        return {}  # the source has gone: another one's identity is not what the user chose
    frozen = fresh.get_frozen_credentials()
    given = {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
    return given | ({"aws_session_token": frozen.token} if frozen.token else {})


@fork.renew
def _renew_locks() -> None:
    """Another thread of the parent may have been refreshing: its lock would be held here for ever."""
    for session in list(_used):
        credentials: Any = getattr(getattr(session, "_session", session), "_credentials", None)
        if hasattr(credentials, "_refresh_lock"):
            credentials._refresh_lock = threading.Lock()
