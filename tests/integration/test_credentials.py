"""Tests which credentials sign a request and where it goes: kinds of sessions, rotation, endpoints."""

from __future__ import annotations

import os
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config as ClientConfig
from botocore.credentials import RefreshableCredentials
from botocore.httpsession import URLLib3Session

from kplpy import Producer, RejectedError
from kplpy.aws import transport
from kplpy.core import policy
from tests.inside import refresh_lock_of, set_credentials, set_refresh
from tests.integration.reading import read_all
from tests.local_stream import PATIENCE, local
from tests.stub_aws import KinesisBelowBotocore, fake_sts

ARN = "arn:aws:kinesis:eu-west-1:210987654321:stream/orders"
ROLE = "arn:aws:iam::123456789012:role/producer"


@pytest.fixture
def kinesis() -> KinesisBelowBotocore:
    return KinesisBelowBotocore()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a directory in place of ~/.aws, without keys in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "RENEWAL_INTERVAL", 0.0)


def write_keys(files: Path, key: str, token: str | None = None, profile: str = "shop") -> None:
    text = f"[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = secret\n"
    (files / "credentials").write_text(text + (f"aws_session_token = {token}\n" if token else ""))


def put(session: Any, kinesis: KinesisBelowBotocore, stream: str = "orders", **knobs: Any) -> None:
    kinesis.attach(session)
    with Producer(session=session, **{"region_name": "eu-west-1", **knobs}) as producer:
        producer.put_record(stream, b"x", "k").result(PATIENCE)


# --- kinds of sessions ---


def test_a_boto3_session(kinesis: KinesisBelowBotocore) -> None:
    put(boto3.Session("AKIABOTO3", "secret", "my token"), kinesis)
    assert {(call.access_key, call.token) for call in kinesis.calls} == {("AKIABOTO3", "my token")}


def test_a_botocore_session(kinesis: KinesisBelowBotocore) -> None:
    session = botocore.session.Session()
    session.set_credentials("AKIACORE", "secret")
    put(session, kinesis)
    assert {(call.access_key, call.token) for call in kinesis.calls} == {("AKIACORE", None)}


def test_a_profile(kinesis: KinesisBelowBotocore, files: Path) -> None:
    write_keys(files, "AKIASHOP")
    (files / "config").write_text("[profile shop]\nregion = eu-north-1\n")
    put(boto3.Session(profile_name="shop"), kinesis, region_name=None)
    assert {(call.access_key, call.url) for call in kinesis.calls} == {
        ("AKIASHOP", "https://kinesis.eu-north-1.amazonaws.com/")
    }


def test_an_assumed_role(kinesis: KinesisBelowBotocore, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_keys(files, "AKIABASE", profile="base")
    (files / "config").write_text(
        f"[profile shop]\nregion = eu-west-1\nrole_arn = {ROLE}\nsource_profile = base\n[profile base]\n"
    )
    with fake_sts() as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.endpoint_url)
        put(boto3.Session(profile_name="shop"), kinesis)
    assert [form["Action"] for form in sts.asked] == ["AssumeRole"]  # once, by botocore
    assert sts.asked[0]["RoleArn"] == ROLE
    assert {(call.access_key, call.token) for call in kinesis.calls} == {("ASIA1", "token 1")}


def test_a_web_identity(kinesis: KinesisBelowBotocore, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in EKS."""
    (files / "identity").write_text("a token of the cluster's")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(files / "identity"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with fake_sts() as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.endpoint_url)
        put(boto3.Session(), kinesis)
    assert [form["Action"] for form in sts.asked] == ["AssumeRoleWithWebIdentity"]
    assert sts.asked[0]["WebIdentityToken"] == "a token of the cluster's"
    assert {call.access_key for call in kinesis.calls} == {"ASIA1"}


def test_kinesis_is_the_only_service_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a session, and with keys in the environment, all clients of botocore call one host."""
    urls: list[str] = []
    send = URLLib3Session.send

    def note(self: URLLib3Session, request: Any) -> Any:
        urls.append(request.url)
        return send(self, request)

    monkeypatch.setattr(URLLib3Session, "send", note)
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    with local() as kinesis:
        with Producer(endpoint_url=kinesis.endpoint_url, region_name="us-east-1") as producer:
            producer.put_record("orders", b"x", "k").result(PATIENCE)
        assert kinesis.endpoint_url.startswith("http://127.0.0.1:")  # plain HTTP
        assert set(urls) == {kinesis.endpoint_url + "/"}
        assert len(read_all(kinesis, "orders")) == 1


# --- rotation ---


class Rotating:
    """Credentials that botocore refreshes, with another token each time."""

    def __init__(self, lifetime: timedelta) -> None:
        self.fetched = 0
        self.lifetime = lifetime

    def fetch(self) -> dict[str, str]:
        self.fetched += 1
        expiry = (datetime.now(timezone.utc) + self.lifetime).isoformat()
        return {
            "access_key": f"ASIA{self.fetched}",
            "secret_key": "secret",
            "token": f"token {self.fetched}",
            "expiry_time": expiry,
        }

    def session(self) -> boto3.Session:
        core = botocore.session.Session()
        set_credentials(core, RefreshableCredentials.create_from_metadata(self.fetch(), self.fetch, "rotating"))
        return boto3.Session(botocore_session=core)


def test_credentials_that_run_out_are_refreshed_for_the_next_request(kinesis: KinesisBelowBotocore) -> None:
    """They are never frozen: in the ten minutes before they expire, botocore gets new ones for each request."""
    rotating = Rotating(timedelta(minutes=5))
    session = rotating.session()
    kinesis.attach(session)
    with Producer(session=session, region_name="eu-west-1") as producer:
        for _ in range(3):
            producer.put_record("orders", b"x", "k").result(PATIENCE)
    keys = [call.access_key for call in kinesis.calls]
    assert len(set(keys)) == len(keys) >= 4


@pytest.mark.usefixtures("at_once")
def test_a_token_that_is_refused_is_fetched_again(kinesis: KinesisBelowBotocore) -> None:
    """It was revoked long before it expires. botocore would go on with it. No record fails."""
    rotating = Rotating(timedelta(hours=1))
    session = rotating.session()
    kinesis.attach(session)
    with Producer(session=session, region_name="eu-west-1") as producer:
        producer.put_record("orders", b"before", "k").result(PATIENCE)
        kinesis.expired.add("token 1")
        result = producer.put_record("orders", b"after", "k").result(PATIENCE)
        assert [each.error_code for each in result.attempts] == ["ExpiredTokenException", None]
        assert not result.possible_duplicate
    assert rotating.fetched == 2
    assert kinesis.puts()[-1].token == "token 2"


def test_a_token_that_stays_refused_is_not_fetched_in_a_storm(kinesis: KinesisBelowBotocore) -> None:
    rotating = Rotating(timedelta(hours=1))
    session = rotating.session()
    kinesis.attach(session)
    with Producer(session=session, region_name="eu-west-1", record_ttl_ms=3000) as producer:
        producer.put_record("orders", b"before", "k").result(PATIENCE)
        before = len(kinesis.calls)
        kinesis.expired.update(f"token {number}" for number in range(1, 100))
        assert producer.put_record("orders", b"x", "k").exception(PATIENCE)
    assert len(kinesis.calls) - before >= 3
    assert rotating.fetched <= 2


@pytest.mark.usefixtures("at_once")
def test_a_refresh_that_fails_costs_no_record(kinesis: KinesisBelowBotocore, caplog: pytest.LogCaptureFixture) -> None:
    rotating = Rotating(timedelta(hours=1))
    session = rotating.session()
    kinesis.attach(session)
    failures = [OSError("the provider cannot be reached"), RuntimeError("nor this time")]
    fetch = rotating.fetch

    def refresh() -> dict[str, str]:
        if failures:
            raise failures.pop()
        return fetch()

    set_refresh(session.get_credentials(), refresh)
    kinesis.expired.add("token 1")
    with Producer(session=session, region_name="eu-west-1") as producer:
        result = producer.put_record("orders", b"x", "k").result(PATIENCE)
    assert {each.error_code for each in result.attempts[:-1]} <= {"ExpiredTokenException"}
    assert not result.possible_duplicate
    assert "the provider cannot be reached" in caplog.text


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("kind", ["boto3", "botocore"])
@pytest.mark.parametrize("why", ["expired", "unknown"])
def test_keys_in_a_file_that_was_rewritten(kinesis: KinesisBelowBotocore, files: Path, kind: str, why: str) -> None:
    """botocore reads the file once. It is rewritten twice, because a session keeps what it read first."""
    write_keys(files, "AKIA1", "token 1")
    session: Any = boto3.Session(profile_name="shop") if kind == "boto3" else botocore.session.Session(profile="shop")
    kinesis.attach(session)
    with Producer(session=session, region_name="eu-west-1") as producer:
        for number in (1, 2, 3):
            write_keys(files, f"AKIA{number}", f"token {number}")
            producer.put_record("orders", b"%d" % number, "k").result(PATIENCE)
            assert kinesis.puts()[-1].access_key == f"AKIA{number}"
            getattr(kinesis, why).add(f"token {number}" if why == "expired" else f"AKIA{number}")


@pytest.mark.usefixtures("at_once")
def test_another_identity_never_replaces_refused_keys(
    kinesis: KinesisBelowBotocore, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application gave the session its keys. Other keys on the machine are not used in their place."""
    monkeypatch.setattr(policy, "DENIED_GRACE", 0.3)
    monkeypatch.setattr(policy, "MAP_PATIENCE", 0.2)  # listing is denied, too
    write_keys(files, "AKIAOTHER", profile="default")
    session = boto3.Session("AKIAMINE", "secret")
    kinesis.attach(session)
    kinesis.unknown.add("AKIAMINE")
    with Producer(session=session, region_name="eu-west-1") as producer:
        assert isinstance(producer.put_record("orders", b"x", "k").exception(PATIENCE), RejectedError)
    assert {call.access_key for call in kinesis.calls} == {"AKIAMINE"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_refresh_in_progress_does_not_block_a_forked_child(kinesis: KinesisBelowBotocore) -> None:
    """A thread of the parent holds the refresh's lock, and no thread of the child would release it."""
    rotating = Rotating(timedelta(minutes=5))
    session = rotating.session()
    kinesis.attach(session)
    with Producer(session=session, region_name="eu-west-1") as producer:
        producer.put_record("orders", b"parent", "k").result(PATIENCE)
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with refresh_lock_of(session.get_credentials()):
                held.set()
                done.wait(PATIENCE)

        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        held.wait(PATIENCE)
        child = os.fork()
        if not child:
            code = 1
            try:
                producer.put_record("orders", b"child", "k").result(20)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        done.set()
        holder.join()


# --- endpoints ---


@pytest.mark.parametrize(
    ("stream", "options", "host"),
    [
        ("orders", {}, "kinesis.eu-west-1.amazonaws.com"),
        ("orders", {"use_dualstack_endpoint": True}, "kinesis.eu-west-1.api.aws"),
        ("orders", {"use_fips_endpoint": True}, "kinesis-fips.eu-west-1.amazonaws.com"),
        # With an ARN the endpoint is that of the account that owns the stream.
        (ARN, {}, "210987654321.data-kinesis.eu-west-1.amazonaws.com"),
        (ARN, {"use_dualstack_endpoint": True}, "210987654321.data-kinesis.eu-west-1.api.aws"),
        (ARN, {"use_fips_endpoint": True}, "210987654321.data-kinesis-fips.eu-west-1.amazonaws.com"),
    ],
)
def test_the_host_is_the_one_that_botocore_chooses(
    kinesis: KinesisBelowBotocore, stream: str, options: dict[str, Any], host: str
) -> None:
    put(boto3.Session("AKIA", "secret"), kinesis, stream, botocore_config=ClientConfig(**options))
    (call,) = kinesis.puts()
    assert call.url == f"https://{host}/"
    listing = next(call for call in kinesis.calls if call.operation == "ListShards")
    assert listing.url == f"https://{host.replace('data-', 'control-')}/"


def test_a_stream_of_another_account(kinesis: KinesisBelowBotocore) -> None:
    put(boto3.Session("AKIA", "secret"), kinesis, ARN, endpoint_url="http://127.0.0.1:9")
    (call,) = kinesis.puts()
    assert call.url == "http://127.0.0.1:9/"  # a configured endpoint has priority
    assert call.body["StreamARN"] == ARN
    assert "StreamName" not in call.body
