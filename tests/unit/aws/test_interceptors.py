"""Tests that PutRecords goes through botocore's client where something would see or change the request there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import botocore.handlers
import botocore.session
import pytest
from botocore import monitoring
from botocore.client import BaseClient
from botocore.endpoint import Endpoint

from kplpy.aws import interceptors, put_calls
from kplpy.aws.kinesis.transport import KinesisTransport
from tests.inside import client_of, count_as_known, own_handlers, watch_direct_requests
from tests.unit.aws.test_put_calls import (
    ACCEPTED,
    ENTRY,
    answered,
    put,
    put_first,
    put_path,
    requests_of,
    shared,
)

__all__ = ["put_path", "shared"]  # its fixtures

EVENTS = """
    provide-client-params.kinesis.PutRecords before-parameter-build.kinesis before-endpoint-resolution.kinesis
    before-call.*.PutRecords request-created.kinesis choose-signer before-sign.kinesis.PutRecords before-send.kinesis.*
    response-received before-parse.kinesis needs-retry.kinesis.PutRecords after-call.kinesis after-call
""".split()


def session_with(event: str, handler: Callable[..., Any]) -> boto3.Session:
    session = boto3.Session()
    session.events.register(event, handler)
    return session


@pytest.mark.parametrize("event", ["before-send.kinesis", "provide-client-params.*.PutRecords"])
def test_a_handler_of_the_session_sees_all_requests(event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def note(event_name: str, **_: Any) -> None:
        seen.append(event_name)

    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED, session=session_with(event, note)) as (transport, sent):
        for _ in range(3):
            assert put(transport).entries == [ENTRY]
    assert len(sent) == len(seen) == 3
    assert not direct


@pytest.mark.parametrize("event", EVENTS)
def test_a_handler_is_noticed_when_it_comes_and_when_it_goes(
    event: str, shared: KinesisTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def note(event_name: str, **_: Any) -> None:
        seen.append(event_name)

    direct = watch_direct_requests(monkeypatch)
    events = client_of(shared).meta.events
    with answered(monkeypatch, shared, ACCEPTED):
        put_first(shared)
        direct.clear()
        put(shared)
        assert (len(direct), len(seen)) == (1, 0)
        events.register(event, note)
        put(shared)
        put(shared)
        events.unregister(event, note)
        assert (len(direct), len(seen)) == (1, 2)
        put(shared)
        assert (len(direct), len(seen)) == (2, 2)


@pytest.mark.parametrize("event", ["before-send.kinesis.GetRecords", "before-send.s3", "after-call-error.sqs"])
def test_a_handler_of_other_operations_is_none_of_them(event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED, session=session_with(event, lambda **_: None)) as (transport, _):
        put_first(transport)
        put(transport)
    assert len(direct) == 1


def test_client_side_monitoring_sees_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """https://docs.aws.amazon.com/sdk-for-java/v1/developer-guide/java-monitoring.html"""
    seen: list[Any] = []
    session = boto3.Session()
    # As botocore does it if AWS_CSM_ENABLED is set.
    publisher: Any = SimpleNamespace(publish=seen.append)
    monitoring.Monitor(monitoring.MonitorEventAdapter(), publisher).register(session.events)
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED, session=session) as (transport, _):
        put_first(transport)
        put(transport)
    assert [each.operation for each in seen if isinstance(each, monitoring.APICallEvent)] == ["PutRecords"] * 3
    assert not direct


def test_a_direct_request_does_what_kplpys_own_handlers_do(shared: KinesisTransport) -> None:
    """They count as known. PutCalls calls the signer, which calls choose_signer, and `_keep_or_close`.

    It reads accepted responses as `_parse_response` does. The client gets the others, with the rest of the handlers.
    """
    assert own_handlers(client_of(shared)) == {
        ("before-call", "_replace_body"),
        ("choose-signer", "choose_signer"),
        ("before-send", "_keep_or_close"),
        ("before-send", "_track_body"),
        ("before-parse", "_parse_response"),
        ("needs-retry", "needs_retry"),
        ("after-call", "name_endpoint"),
    }


METHODS: list[tuple[type, str]] = [
    (BaseClient, "_make_api_call"),
    (BaseClient, "_emit_api_params"),
    (Endpoint, "make_request"),
    (Endpoint, "prepare_request"),
    (Endpoint, "_send"),
]


def replacing(original: Callable[..., Any], seen: list[object]) -> Callable[..., Any]:
    """Replace a method as most tools do: with all its attributes."""

    @wraps(original)
    def replaced(*arguments: Any, **named: Any) -> Any:
        seen.append(original)
        return original(*arguments, **named)

    return replaced


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_a_method_replaced_later_sees_all_requests(
    kind: type, name: str, shared: KinesisTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    direct = watch_direct_requests(monkeypatch)
    with answered(monkeypatch, shared, ACCEPTED):
        put_first(shared)
        direct.clear()
        with monkeypatch.context() as tool:
            tool.setattr(kind, name, replacing(getattr(kind, name), seen))
            put(shared)
            put(shared)
            assert (len(direct), len(seen)) == (0, 2)
        put(shared)
        assert (len(direct), len(seen)) == (1, 2)


def test_a_method_replaced_earlier_sees_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    direct = watch_direct_requests(monkeypatch)
    with monkeypatch.context() as tool:
        kind, name = METHODS[0]
        tool.setattr(kind, name, replacing(getattr(kind, name), seen))
        with requests_of(monkeypatch, ACCEPTED) as (transport, _):
            put_first(transport)
            put(transport)
            assert (len(direct), len(seen)) == (0, 3)


class OtherSession(boto3.Session):
    pass


class OtherCoreSession(botocore.session.Session):
    pass


def session_with_a_parser() -> botocore.session.Session:
    from botocore.parsers import ResponseParserFactory

    class OtherFactory(ResponseParserFactory):
        pass

    session = botocore.session.Session()
    session.register_component("response_parser_factory", OtherFactory())
    return session


def session_with_its_own_client() -> boto3.Session:
    session = boto3.Session()
    make = session.client
    session.client = lambda *arguments, **named: make(*arguments, **named)  # type: ignore[method-assign]
    return session


def session_with_another_base_class() -> boto3.Session:
    class Base:
        pass

    session = boto3.Session()
    session.events.register("creating-client-class.kinesis", lambda base_classes, **_: base_classes.insert(0, Base))
    return session


SESSIONS: dict[str, Callable[[], Any]] = {
    "a class of boto3's": OtherSession,
    "a class of botocore's": OtherCoreSession,
    "a class of botocore's in boto3's": lambda: boto3.Session(botocore_session=OtherCoreSession()),
    "a parser": session_with_a_parser,
    "a client method": session_with_its_own_client,
    "a base class": session_with_another_base_class,
}


@pytest.mark.parametrize("name", SESSIONS)
def test_an_unusual_session_keeps_its_client(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED, session=SESSIONS[name]()) as (transport, sent):
        put_first(transport)
        assert put(transport).entries == [ENTRY]
    assert len(sent) == 3
    assert not direct


@pytest.mark.parametrize("make", [lambda: None, boto3.Session, botocore.session.Session])
def test_usual_sessions_need_no_client(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED, session=make()) as (transport, _):
        put_first(transport)
        put(transport)
    assert len(direct) == 1


LOGS = {
    "botocore": "Sending http request",
    "botocore.client": "",
    "botocore.endpoint": "Making request for OperationModel",
    "botocore.hooks": "Event before-send.kinesis.PutRecords",
    "botocore.parsers": "Response body",
    "botocore.regions": "Calling endpoint provider",
}


@pytest.mark.parametrize("logger", LOGS)
def test_botocores_debug_log_shows_all_requests(
    logger: str, shared: KinesisTransport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    direct = watch_direct_requests(monkeypatch)
    with answered(monkeypatch, shared, ACCEPTED):
        put_first(shared)
        direct.clear()
        with caplog.at_level(logging.DEBUG, logger):
            put(shared)
            assert LOGS[logger] in caplog.text
            assert not direct
        put(shared)
        assert len(direct) == 1


def test_an_unknown_handler_of_botocore_counts(shared: KinesisTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version may have one that changes the request."""
    direct = watch_direct_requests(monkeypatch)
    handler = botocore.handlers.add_generate_presigned_url
    assert handler.__module__.startswith("botocore.")
    events = client_of(shared).meta.events
    events.register("after-call-error.kinesis", handler)
    with answered(monkeypatch, shared, ACCEPTED):
        put_first(shared)
        put(shared)
    events.unregister("after-call-error.kinesis", handler)
    assert not direct


@pytest.mark.parametrize("missing", ["_client_steps", "_endpoint_steps"])
def test_a_version_of_botocore_without_a_private_name_keeps_its_client(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptors, missing, attrgetter("no_such_name"))
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED) as (transport, sent):
        put_first(transport)
        assert put(transport).entries == [ENTRY]
    assert len(sent) == 3
    assert not direct


def test_a_version_of_botocore_that_makes_requests_otherwise_keeps_its_client(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kplpy")
    monkeypatch.setattr(put_calls, "AWSPreparedRequest", lambda: None)
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED) as (transport, sent):
        for _ in range(3):
            assert put(transport).entries == [ENTRY]
    assert len(sent) == 3
    assert not direct
    (record,) = caplog.records
    assert "botocore differs: TypeError(" in record.getMessage()


def with_a_nonce(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["X-Nonce"] = str(uuid4())


def with_another_path(params: dict[str, Any], **_: Any) -> None:
    params["url"] += "?" + str(uuid4())


def with_another_body(request: Any, **_: Any) -> None:
    request.data += b" "


def with_another_header(request: Any, **_: Any) -> None:
    request.headers["X-Other"] = "1"


def with_another_agent(request: Any, **_: Any) -> None:
    request.headers["User-Agent"] = "other"


def with_a_signed_header(request: Any, **_: Any) -> None:
    request.headers["Authorization"] = request.headers["Authorization"].replace("host;", "host;x-other;")


DIFFERENCES: dict[str, tuple[str, Callable[..., None]]] = {
    "header x-nonce": ("before-call.kinesis", with_a_nonce),
    "url": ("before-call.kinesis", with_another_path),
    "body": ("before-sign.kinesis", with_another_body),
    "header x-other": ("request-created.kinesis", with_another_header),
    "header user-agent": ("request-created.kinesis", with_another_agent),
    "list of signed headers": ("request-created", with_a_signed_header),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_a_version_of_botocore_that_sends_other_bytes_keeps_its_client(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The handlers stand for code of a later botocore that nothing shows, so they count as known here."""
    caplog.set_level(logging.DEBUG, "kplpy")
    event, handler = DIFFERENCES[what]
    count_as_known(monkeypatch, handler)
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED) as (transport, sent):
        client_of(transport).meta.events.register_last(event, handler)
        put_first(transport)
        put(transport)
    assert len(sent) == 3
    assert not direct
    (record,) = caplog.records
    assert record.getMessage().endswith(f"botocore differs: another {what}")


def test_the_reason_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kplpy")
    with requests_of(monkeypatch, ACCEPTED, session=session_with("before-send", lambda **_: None)) as (transport, _):
        put(transport)
        put(transport)
    (record,) = caplog.records
    reason = "test_the_reason_is_logged_once.<locals>.<lambda> handles before-send"
    text = "requests with records go through botocore's client, which costs more CPU time"
    assert record.getMessage() == f"{text}: {reason}"
