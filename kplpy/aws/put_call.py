"""One call of a sender thread that puts records: what it sends, and what shows that the service may have it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from kplpy.aws.causes import FOR_CREDENTIALS
from kplpy.aws.sent_body import SentBody
from kplpy.core.batching.request import Request


class Operation(NamedTuple):
    """The operation that puts records.

    service, name: as in botocore's events. method: of botocore's client.
    members: the members of the response that kplpy reads itself.
    """

    service: str
    name: str
    method: str
    members: tuple[str, ...]


class Pattern:
    """The client's first request of a kind, which direct requests repeat.

    params: what the client hands to its endpoint, without the body.
    features: the user agent's features that the client adds.
    is_proven: a direct request has the bytes of the client's.
    """

    __slots__ = ("features", "is_proven", "params")

    def __init__(self, params: dict[str, Any], features: frozenset[str]) -> None:
        self.params = params
        self.features = features
        self.is_proven = False


class PutCall:
    """What the handlers of a client's events need of the call.

    request: its `body_sent` is set when the service may have the whole body.
    body, in_cbor: what to send. botocore serialises its own body before a handler can replace it.
    sent_body: of the latest request sent, or None.
    kind, features: the key under which to keep what the client makes (None: do not), and the user agent's features
    before that.
    to_prove: the pattern that the client's request is compared with, or None.
    response: to a direct request. The client takes it in place of sending one.
    """

    __slots__ = ("body", "features", "in_cbor", "kind", "request", "response", "sent_body", "to_prove")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.features: frozenset[str] = frozenset()
        self.set_body(b"", in_cbor=False)

    def set_body(self, body: bytes, in_cbor: bool) -> None:
        """Begin again with a body."""
        self.body = body
        self.in_cbor = in_cbor
        self.sent_body: SentBody | None = None
        self.kind: Hashable = None
        self.to_prove: Pattern | None = None
        self.response: Any = None

    def may_have_arrived(self, failure: Exception) -> bool:
        """Return True if the service may have the whole request, as far as the connection shows.

        If no connection asked for the body, a response comes from a stub within the process, which may have the
        request. Errors of credentials come earlier, so they are no such response.
        """
        is_response = isinstance(failure, ClientError) and failure.operation_name not in FOR_CREDENTIALS
        is_from_stub = is_response and (self.sent_body is None or not self.sent_body.is_begun)
        return self.request.body_sent or is_from_stub

    def forget(self) -> None:
        """Drop the body. The traceback of a failure may keep the call."""
        self.set_body(b"", in_cbor=False)
