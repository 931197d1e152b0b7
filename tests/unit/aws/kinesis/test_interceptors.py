"""Tests that PutRecords goes through botocore's client where something would see or change the request there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any

import boto3
import botocore.handlers
import botocore.session
import pytest
from botocore.client import BaseClient
from botocore.endpoint import Endpoint

from kplpy.aws.kinesis import interceptors, put_calls
from kplpy.aws.kinesis.transport import KinesisTransport
from tests.inside import client_of, watch_direct_requests
from tests.unit.aws.kinesis.test_put_calls import (
    ACCEPTED,
    ENTRY,
    answered,
    put,
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
        put(shared)
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
        put(transport)
        put(transport)
    assert len(direct) == 1


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
        put(shared)
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
            put(transport)
            put(transport)
            assert (len(direct), len(seen)) == (0, 2)


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
        assert put(transport).entries == put(transport).entries == [ENTRY]
    assert len(sent) == 2
    assert not direct


@pytest.mark.parametrize("make", [lambda: None, boto3.Session, botocore.session.Session])
def test_usual_sessions_need_no_client(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED, session=make()) as (transport, _):
        put(transport)
        put(transport)
    assert len(direct) == 1


def test_botocores_debug_log_shows_all_requests(
    shared: KinesisTransport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with answered(monkeypatch, shared, ACCEPTED):
        put(shared)
        direct = watch_direct_requests(monkeypatch)
        caplog.set_level(logging.DEBUG, "botocore.endpoint")
        put(shared)
    assert "Sending http request" in caplog.text
    assert not direct


def test_an_unknown_handler_of_botocore_counts(shared: KinesisTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version may have one that changes the request."""
    direct = watch_direct_requests(monkeypatch)
    handler = botocore.handlers.add_generate_presigned_url
    assert handler.__module__.startswith("botocore.")
    events = client_of(shared).meta.events
    events.register("after-call-error.kinesis", handler)
    with answered(monkeypatch, shared, ACCEPTED):
        put(shared)
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
        assert put(transport).entries == put(transport).entries == [ENTRY]
    assert len(sent) == 2
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


def test_the_reason_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kplpy")
    with requests_of(monkeypatch, ACCEPTED, session=session_with("before-send", lambda **_: None)) as (transport, _):
        put(transport)
        put(transport)
    (record,) = caplog.records
    reason = "test_the_reason_is_logged_once.<locals>.<lambda> handles before-send"
    assert record.getMessage() == f"PutRecords goes through botocore's client, which costs more CPU time: {reason}"
