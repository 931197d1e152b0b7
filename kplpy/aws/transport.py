"""One botocore client of one service, and the exchange of one request for its response."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from kplpy.aws import errors
from kplpy.aws.client import load
from kplpy.aws.credentials import renew
from kplpy.aws.endpoint import is_regional
from kplpy.aws.put_call import Operation, PutCall
from kplpy.concurrency import new_lock
from kplpy.config.options import Config
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.results.retry_policy import needs_fresh_credentials
from kplpy.process import fork

if TYPE_CHECKING:
    from botocore.client import ClientMeta

    from kplpy.aws.put_calls import PutCalls

T = TypeVar("T")

# Held during imports, so that no fork happens then.
_loading = fork.NoForkSection()
# One thread encodes at a time: several would only take the GIL from each other and from the threads that put.
_encoding = new_lock()

# Seconds without a request after which connections are closed. The service, or a device on the way, may have dropped
# them silently, above all while the process was frozen. A request sent on a dropped connection is lost, and it is not
# known whether its records were written.
STALE = 30.0
# Seconds between two attempts to fetch credentials again that the service refuses.
RENEWAL_INTERVAL = 5.0


@fork.call_in_child
def _renew_lock() -> None:
    global _encoding
    _encoding = new_lock()


class ServiceTransport(ABC):
    """Sends requests of records to one service, for any thread. The first call makes the client, on its own thread.

    operation: the operation that puts records.
    """

    operation: ClassVar[Operation]

    def __init__(self, config: Config) -> None:
        self._config = config
        self._calls: PutCalls | None = None
        self._meta: ClientMeta | None = None  # of the latest client, even if closed
        self._lock = new_lock()
        self._used = (time.monotonic(), time.time())  # monotonic and wall clock: a freeze shows in one or both
        self._refused_at = float("-inf")
        self._needs_renewal = False  # the next client needs credentials fetched again
        self._is_hurried = False
        if "uwsgi" in sys.modules:  # its fork skips Python's hooks and may follow at once
            _load()

    @abstractmethod
    def _make_client(self, config: Config, credentials: Mapping[str, str]) -> Any:
        """Make the client. credentials: arguments that replace the session's credentials."""

    def connect(self) -> RequestError | None:
        """Make the client if there is none. Return the error if that fails."""
        try:
            self._connected()
        except Exception as failure:
            return errors.classify(failure)
        return None

    @property
    def was_used(self) -> bool:
        """True once a client was made."""
        return self._meta is not None

    def is_regional(self) -> bool:
        """Return True if the client uses AWS's own endpoint of its region. Makes the client if there is none."""
        return is_regional(self._config, self._meta or self._connected().client.meta, self.operation.service)

    # --- requests ---

    def _exchange(
        self, request: Request, send: Callable[[PutCalls, PutCall], Sequence[dict[str, str]] | None]
    ) -> Exchange:
        """Send the request, on a sender thread. A failure is in the Exchange; nothing is raised.

        send: calls `_put`, and returns the entries of the response. None: there are none.
        """
        started, wall = time.monotonic(), time.time()
        request.wall = wall
        entries: Sequence[dict[str, str]] | None = None
        error: RequestError | None = None
        calls: PutCalls | None = None
        call = PutCall(request)
        try:
            calls = self._connected()
            entries = send(calls, call)
        except Exception as failure:
            error = errors.classify(failure, call.may_have_arrived(failure))
            if needs_fresh_credentials(error.code):
                self._discard(calls)
        finally:
            call.forget()
            self._used = (time.monotonic(), time.time())
        return Exchange(started, time.monotonic(), wall, entries, error)

    @staticmethod
    def _put(
        calls: PutCalls, call: PutCall, place: dict[str, str], encode: Callable[[], bytes], in_cbor: bool = False
    ) -> dict[str, Any]:
        """Make the call with this body, and return the response.

        place: the stream's name or ARN, as an argument of botocore's client.
        """
        with _encoding:
            call.set_body(encode(), in_cbor)
        return calls.make(call, place)

    def _ask(self, ask: Callable[[Any], T]) -> T | RequestError:
        """Call the control plane with the client. Return the result, or the error."""
        calls: PutCalls | None = None
        try:
            calls = self._connected()
            return ask(calls.client)
        except Exception as failure:
            error = errors.classify(failure)
            if needs_fresh_credentials(error.code):
                self._discard(calls)
            return error

    # --- the client ---

    def hurry(self, seconds: float) -> None:
        """Shorten the timeouts of later requests to `seconds`, if they are longer.

        Each request then closes its connection, because at the interpreter's exit no thread may be left to do it.
        """
        self._is_hurried = True
        limit = max(100, int(min(seconds, 300) * 1000))
        if limit < max(self._config.connect_timeout_ms, self._config.request_timeout_ms):
            self._config = replace(
                self._config,
                connect_timeout_ms=min(limit, self._config.connect_timeout_ms),
                request_timeout_ms=min(limit, self._config.request_timeout_ms),
            )
            self.close()

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            calls, self._calls = self._calls, None
        if calls is not None:
            calls.client.close()

    def _connected(self) -> PutCalls:
        with self._lock:
            now, before = (time.monotonic(), time.time()), self._used
            self._used = now
            if self._calls is None:
                session = self._config.session
                credentials = renew(session) if self._needs_renewal and session is not None else {}
                self._needs_renewal = False
                calls_of = _load()
                client = self._make_client(self._config, credentials)
                self._calls = calls_of(client, self.operation, session, self._keep_or_close)
                self._meta = client.meta
            elif max(now[0] - before[0], now[1] - before[1]) > STALE:
                self._calls.client.close()  # closes its connections; requests open new ones
            return self._calls

    def _keep_or_close(self, request: Any, **_: Any) -> None:
        if self._is_hurried:  # set after signing, because a proxy may drop the header
            request.headers["Connection"] = "close"

    def _discard(self, calls: PutCalls | None) -> None:
        """Drop a client whose credentials the service refuses. The next request makes a new one."""
        with self._lock:
            now = time.monotonic()
            if self._calls is not calls or calls is None or now - self._refused_at < RENEWAL_INTERVAL:
                return
            self._calls, self._needs_renewal, self._refused_at = None, True, now
        calls.client.close()


def _load() -> type[PutCalls]:
    """Import everything that a request needs. Only senders call this, because botocore's client takes long."""
    with _loading:
        load()
        from kplpy.aws.put_calls import PutCalls

        return PutCalls
