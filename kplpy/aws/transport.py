"""One botocore client of one service, and the exchange of one request for its response."""

from __future__ import annotations

import json
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from botocore.exceptions import ClientError

from kplpy.aws import errors
from kplpy.aws.causes import FOR_CREDENTIALS
from kplpy.aws.client import load
from kplpy.aws.credentials import renew
from kplpy.aws.endpoint import is_regional
from kplpy.aws.sent_body import SentBody
from kplpy.config.options import Config
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.results.retry_policy import needs_fresh_credentials
from kplpy.process import fork

if TYPE_CHECKING:
    from botocore.client import ClientMeta

T = TypeVar("T")

# Of each sender thread: the body for the handler that replaces botocore's, its content type (None: JSON), its request,
# and its SentBody once the body is signed. botocore serialises its own body before a handler can replace it.
_sending = threading.local()
# One thread encodes at a time: several would only take the GIL from each other and from the threads that put.
_encoding = threading.Lock()

CBOR = "application/x-amz-cbor-1.1"

# Seconds without a request after which connections are closed. The service, or a device on the way, may have dropped
# them silently, above all while the process was frozen. A request sent on a dropped connection is lost, and it is not
# known whether its records were written.
STALE = 30.0
# Seconds between two attempts to fetch credentials again that the service refuses.
RENEWAL_INTERVAL = 5.0


@fork.call_in_child
def _renew_lock() -> None:
    global _encoding
    _encoding = threading.Lock()


def _replace_body(params: dict[str, Any], **_: Any) -> None:
    params["body"] = _sending.body
    if _sending.content_type is not None:
        params["headers"]["Content-Type"] = _sending.content_type


def _read_cbor(body: bytes) -> Any:
    from kplpy.aws.kinesis.request_cbor import read

    return read(body)


class ServiceTransport(ABC):
    """Sends requests of records to one service, for any thread. The first call makes the client, on its own thread.

    service: botocore's name of the service.
    operation: the operation that puts records.
    members: the members of its response that kplpy reads itself.
    """

    service: ClassVar[str]
    operation: ClassVar[str]
    members: ClassVar[tuple[str, ...]]

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client: Any = None
        self._meta: ClientMeta | None = None  # of the latest client, even if closed
        self._lock = threading.Lock()
        self._used = (time.monotonic(), time.time())  # monotonic and wall clock: a freeze shows in one or both
        self._refused_at = float("-inf")
        self._needs_renewal = False  # the next client needs credentials fetched again
        self._is_hurried = False
        if "uwsgi" in sys.modules:  # its fork skips Python's hooks and may follow at once
            load()

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
        return is_regional(self._config, self._meta or self._connected().meta, self.service)

    # --- requests ---

    def _exchange(self, request: Request, send: Callable[[Any], list[dict[str, str]] | None]) -> Exchange:
        """Send the request, on a sender thread. A failure is in the Exchange; nothing is raised.

        send: calls `_put` with the client, and returns the entries of the response. None: there are none.
        """
        started, wall = time.monotonic(), time.time()
        request.wall = wall
        entries: list[dict[str, str]] | None = None
        error: RequestError | None = None
        client: Any = None
        _sending.request, _sending.sent_body = request, None
        try:
            client = self._connected()
            entries = send(client)
        except Exception as failure:
            error = errors.classify(failure, may_have_arrived(request, failure))
            if needs_fresh_credentials(error.code):
                self._discard(client)
        finally:
            _sending.body = b""
            _sending.request = _sending.sent_body = None
            self._used = (time.monotonic(), time.time())
        return Exchange(started, time.monotonic(), wall, entries, error)

    def _put(self, call: Callable[[], Any], encode: Callable[[], bytes], content_type: str | None = None) -> Any:
        """Call the operation with this body in place of botocore's, and return the response.

        content_type: of the body; None: JSON.
        """
        _sending.content_type = content_type
        _sending.sent_body = None
        with _encoding:
            _sending.body = encode()
        return call()

    def _ask(self, ask: Callable[[Any], T]) -> T | RequestError:
        """Call the control plane with the client. Return the result, or the error."""
        client: Any = None
        try:
            client = self._connected()
            return ask(client)
        except Exception as failure:
            error = errors.classify(failure)
            if needs_fresh_credentials(error.code):
                self._discard(client)
            return error

    # --- handlers ---

    def _track_body(self, request: Any, event_name: str, **_: Any) -> None:
        """Wrap the body in a SentBody, after all other before-send handlers.

        Stubs among them respond, and expect bytes.
        """
        if event_name.endswith(f".{self.operation}"):
            request.body = _sending.sent_body = SentBody(request.body, _sending.request)

    def _parse_response(
        self, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
    ) -> None:
        """Parse the entries in place of botocore, which takes 0.7 of 2.1 ms of CPU for 500 of them, and knows no CBOR.

        botocore's parser trusts the types. Here they stay as sent, and read_entries checks them.
        """
        in_cbor = str(response_dict["headers"].get("Content-Type")).startswith(CBOR)
        accepted = response_dict["status_code"] == 200
        if not accepted and not in_cbor:
            return
        try:
            response = _read_cbor(response_dict["body"]) if in_cbor else json.loads(response_dict["body"])
        except ValueError:
            return  # botocore's own error says more
        if not isinstance(response, dict):
            return
        if accepted:
            customized_response_dict.update({member: response.get(member) for member in self.members})
            response_dict["body"] = b"{}"
        elif in_cbor:
            response_dict["body"] = json.dumps(response, default=repr).encode()

    def _keep_or_close(self, request: Any, **_: Any) -> None:
        if self._is_hurried:  # set after signing, because a proxy may drop the header
            request.headers["Connection"] = "close"

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
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Any:
        with self._lock:
            now, before = (time.monotonic(), time.time()), self._used
            self._used = now
            if self._client is None:
                session = self._config.session
                credentials = renew(session) if self._needs_renewal and session is not None else {}
                self._needs_renewal = False
                client = self._make_client(self._config, credentials)
                events, service = client.meta.events, self.service
                events.register(f"before-call.{service}.{self.operation}", _replace_body)
                events.register(f"before-parse.{service}.{self.operation}", self._parse_response)
                events.register(f"before-send.{service}", self._keep_or_close)
                events.register_last("before-send", self._track_body)
                self._client, self._meta = client, client.meta
            elif max(now[0] - before[0], now[1] - before[1]) > STALE:
                self._client.close()  # closes its connections; requests open new ones
            return self._client

    def _discard(self, client: Any) -> None:
        """Drop a client whose credentials the service refuses. The next request makes a new one."""
        with self._lock:
            now = time.monotonic()
            if self._client is not client or client is None or now - self._refused_at < RENEWAL_INTERVAL:
                return
            self._client, self._needs_renewal, self._refused_at = None, True, now
        client.close()


def may_have_arrived(request: Request, failure: Exception) -> bool:
    """Return True if the service may have the whole request, as far as the connection shows.

    If no connection asked for the body, a response comes from a stub within the process, which may have the request.
    Errors of credentials come earlier, so they are no such response.
    """
    body: SentBody | None = _sending.sent_body
    is_response = isinstance(failure, ClientError) and failure.operation_name not in FOR_CREDENTIALS
    is_from_stub = is_response and (body is None or not body.is_begun)
    return request.body_sent or is_from_stub
