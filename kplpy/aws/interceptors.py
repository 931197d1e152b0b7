"""Finds what sees or changes requests in botocore's client: handlers, replaced methods, replaced parts.

Tracers and stubs work in these ways, so a request past the client would escape them. ddtrace, X-Ray and OpenTelemetry
replace methods of botocore's classes, at any time. moto, Sentry and the user's own code register handlers. botocore's
debug log and its history show requests, too.

Known are the handlers that botocore (1.40 to 1.44) registers for PutRecords and PutRecordBatch. Every other counts as
an interceptor, so a version with new handlers, or without the private names used here, makes requests slower and
changes nothing else. What it changes elsewhere shows when PutCalls compares its requests with the client's.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from operator import attrgetter, is_
from types import FunctionType
from typing import Any, cast

from botocore import endpoint as boto_endpoint
from botocore.awsrequest import AWSRequestPreparer
from botocore.client import BaseClient
from botocore.hooks import EventAliaser, HierarchicalEmitter
from botocore.httpsession import URLLib3Session
from botocore.parsers import JSONParser, ResponseParserFactory
from botocore.regions import EndpointRulesetResolver
from botocore.serialize import JSONSerializer
from botocore.session import Session as CoreSession
from botocore.signers import RequestSigner
from botocore.useragent import UserAgentString

from kplpy.aws.put_call import Operation
from kplpy.logs import log

logger = logging.getLogger(__name__)

# They show a request in botocore's client, and not a direct one. The loggers of the signer and of the HTTP session show
# both. Without a level of their own they have botocore's.
_LOGGERS = [logging.getLogger(f"botocore.{name}") for name in ("client", "endpoint", "hooks", "parsers", "regions")]

# The parts of a client that a direct request uses or leaves out, and their usual types.
_PARTS = {
    "meta.events": EventAliaser,
    "meta.events._emitter": HierarchicalEmitter,
    "_endpoint": boto_endpoint.Endpoint,
    "_endpoint.http_session": URLLib3Session,
    "_endpoint._response_parser_factory": ResponseParserFactory,
    "_request_signer": RequestSigner,
    "_ruleset_resolver": EndpointRulesetResolver,
    "_serializer": JSONSerializer,
    "_user_agent_creator": UserAgentString,
}
# The methods that a request passes in the client.
_STEPS_OF_CLIENT = (
    "_make_api_call _make_request _emit_api_params _resolve_endpoint_ruleset _convert_to_request_dict"
).split()
_STEPS_OF_ENDPOINT = (
    "make_request create_request prepare_request _send_request _get_response _do_get_response _needs_retry _send"
).split()
_client_steps = attrgetter(*_STEPS_OF_CLIENT)
_endpoint_steps = attrgetter(*_STEPS_OF_ENDPOINT)

_EVENTS = (
    "provide-client-params before-parameter-build before-endpoint-resolution before-call request-created choose-signer "
    "before-sign before-send response-received before-parse needs-retry after-call after-call-error"
).split()
_SIGNER = "RequestSigner.handler"
_USER_AGENT = "UserAgentString.rebuild_and_replace_user_agent_handler"
# For before-call and request-created. A direct request runs them.
_RUN = frozenset({"MaxAttemptsSeeder.seed_max_attempts", "add_recursion_detection_header", "add_retry_headers"})
_KNOWN = _RUN | {
    # The signer is called directly, and calls the two for choose-signer.
    _SIGNER,
    "_set_auth_scheme_preference_signer",
    "set_operation_specific_signer",
    # A direct request keeps the user agent.
    _USER_AGENT,
    # The operations have no idempotency token, validation mode or event stream.
    "_handle_request_validation_mode_member",
    "generate_idempotent_uuid",
    "inject_api_version_header_if_needed",
    # botocore's retries are off.
    "RetryHandler.needs_retry",
    "RetryQuotaChecker.release_retry_quota",
}


class Interceptors:
    """Watches one client, for any thread.

    session: the user's, or None for kplpy's own.
    before_call, request_created: botocore's handlers that a direct request runs.
    questions: return values for the endpoint rules that may change with each request, as the account ID may.
    """

    def __init__(self, client: Any, operation: Operation, session: Any) -> None:
        self._client = client
        self._operation = operation
        self._steps: tuple[object, ...] = ()
        self._lookups: object = None  # botocore's cache of handlers: a new dict after each registration
        self._reason: str | None = None
        self.before_call: list[Callable[..., Any]] = []
        self.request_created: list[Callable[..., Any]] = []
        self.questions: list[Callable[[], Any]] = []
        try:
            self._lasting = _unusual_part(client, operation, session)
            if self._lasting is None:
                self.questions = _questions(client._ruleset_resolver)
                self._look(_steps(self._client, self._operation), client.meta.events._emitter._lookup_cache)
        except (AttributeError, ImportError) as missing:
            self._lasting = f"botocore lacks a name: {missing}"
        if self._lasting is not None:
            _report(self._lasting)

    def any(self) -> bool:
        """Return True if something intercepts the operation now. Takes 2 µs if nothing changed."""
        if self._lasting is not None:
            return True
        steps, lookups = _steps(self._client, self._operation), self._client.meta.events._emitter._lookup_cache
        # wrapt's proxies are equal to what they wrap, so only identity tells them apart.
        if lookups is not self._lookups or not all(map(is_, steps, self._steps)):
            self._look(steps, lookups)
        recorder: Any = boto_endpoint.history_recorder
        return (
            self._reason is not None
            or any(each.isEnabledFor(logging.DEBUG) for each in _LOGGERS)
            or getattr(recorder, "_enabled", True)
        )

    def give_up(self, difference: str) -> None:
        """Have all later requests go through the client, because a direct one cannot be made, or has other bytes."""
        self._lasting = f"botocore differs: {difference}"
        _report(self._lasting)

    def _look(self, steps: tuple[object, ...], lookups: object) -> None:
        reason = next((f"{_name(step)} was replaced" for step in steps if not _is_of_botocore(step)), None)
        if reason is None:
            handlers = {event: list(_handlers(self._client, self._operation, event)) for event in _EVENTS}
            foreign = ((event, each) for event in _EVENTS for each in handlers[event] if not _is_known(each))
            reason = next((f"{_name(each)} handles {event}" for event, each in foreign), None)
            self.before_call = [each for each in handlers["before-call"] if _name(each) in _RUN]
            self.request_created = [each for each in handlers["request-created"] if _name(each) in _RUN]
        if reason is not None and reason != self._reason:
            _report(reason)
        self._reason, self._steps, self._lookups = reason, steps, lookups


def _report(reason: str) -> None:
    log(logger, "client_intercepted", {"reason": reason})


def _unusual_part(client: Any, operation: Operation, session: Any) -> str | None:
    """Return what was replaced in a client or its session before the client was made. None: nothing."""
    import botocore.context  # noqa: F401  # PutCalls uses it

    core_session = getattr(session, "_session", session)
    if core_session is not None and (
        type(core_session) is not CoreSession
        or (session is not core_session and not _is_boto3_session(session))
        or {"client", "create_client"} & {*vars(session), *vars(core_session)}
    ):
        return f"{_name(type(session))} is another session class"
    if type(client).__bases__ != (BaseClient,):
        return "the client has another base class"
    for path, usual in _PARTS.items():
        part = attrgetter(path)(client)
        if type(part) is not usual:
            return f"{path} of the client is a {_name(type(part))}"
    if not vars(client).keys().isdisjoint([operation.method, *_STEPS_OF_CLIENT]):
        return "a method of the client was replaced"
    if not vars(client._endpoint).keys().isdisjoint(_STEPS_OF_ENDPOINT):
        return "a method of the client's endpoint was replaced"
    return None


def _is_boto3_session(session: Any) -> bool:
    import boto3.session

    return type(session) is boto3.session.Session


def _questions(resolver: Any) -> list[Callable[[], Any]]:
    builtins = resolver._builtins
    values = (builtins.get(each.builtin) for each in resolver._param_definitions.values())
    return [each for each in values if callable(each)]


def _steps(client: Any, operation: Operation) -> tuple[object, ...]:
    return (
        getattr(type(client), operation.method),
        *_client_steps(type(client)),
        *_endpoint_steps(type(client._endpoint)),
        JSONSerializer.serialize_to_request,
        AWSRequestPreparer.prepare,
        URLLib3Session.send,
        JSONParser.parse,
    )


def _handlers(client: Any, operation: Operation, event: str) -> Iterable[Any]:
    name = f"{event}.{operation.service}"
    if event != "before-endpoint-resolution":
        name += f".{operation.name}"
    handlers: Iterable[Any] = client.meta.events._emitter._handlers.prefix_search(name)
    return handlers


def _is_known(handler: Any) -> bool:
    function = getattr(handler, "__func__", handler)
    return _is_of(function, "kplpy") or (_is_of_botocore(function) and _name(function) in _KNOWN)


def _is_of_botocore(function: object) -> bool:
    """Return True for a plain function of botocore's that botocore alone has decorated."""
    return _is_of(function, "botocore") and _is_of(inspect.unwrap(cast(FunctionType, function)), "botocore")


def _is_of(function: object, package: str) -> bool:
    """Return True for a plain function of the package. A wrapper may copy its name, but not its globals."""
    return type(function) is FunctionType and str(function.__globals__.get("__name__")).startswith(f"{package}.")


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", None) or type(thing).__qualname__)
