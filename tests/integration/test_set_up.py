"""Tests set-ups that cannot work, and failures that may pass: when they are final, and what errors and log say."""

from __future__ import annotations

import hashlib
import json
import logging
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from botocore import exceptions as boto

from kplpy import Producer, RecordExpiredError, RecordFailedError, RejectedError, SetupError
from kplpy.aws import transport
from kplpy.core import policy
from kplpy.local import LocalKinesis
from tests.http_server import Answer, web_server
from tests.integration.test_trouble import free_port
from tests.local_stream import PATIENCE, local, producing

NOWHERE = "http://127.0.0.1:9"
SSO = """
[profile work]
sso_session = corp
sso_account_id = 111122223333
sso_role_name = dev
[sso-session corp]
sso_region = us-east-1
sso_start_url = http://127.0.0.1:9/start
sso_registration_scopes = sso:account:access
"""
WEB_IDENTITY = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such/token", "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/x"}

# (~/.aws/config, environment, code, words of the text: what it is and what to do)
SET_UPS: dict[str, tuple[str, dict[str, str], str, list[str]]] = {
    "no credentials": ("", {}, "NoCredentials", ["no AWS credentials", "set AWS_ACCESS_KEY_ID"]),
    "half of them": ("", {"AWS_ACCESS_KEY_ID": "AKID"}, "PartialCredentials", ["AWS_SECRET_ACCESS_KEY", "set both"]),
    "unknown profile": ("", {"AWS_PROFILE": "nope"}, "ProfileNotFound", ["(nope)", "correct AWS_PROFILE"]),
    "config is not INI": ("this is not ini\n[default\n", {}, "BadConfiguration", ["parse", "check ~/.aws/config"]),
    "unknown source_profile": (
        "[default]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = gone\n",
        {},
        "BadConfiguration",
        ['"gone"', "check ~/.aws/config"],
    ),
    "credential_process fails": (
        "[default]\ncredential_process = /bin/false\n",
        {},
        "CredentialProcessFailed",
        ["run the credential_process"],
    ),
    "credential_process is missing": (
        "[default]\ncredential_process = /no/such/program\n",
        {},
        "MissingFile",
        ["/no/such/program", "check"],
    ),
    "token file is missing": ("", WEB_IDENTITY, "MissingFile", ["/no/such/token", "check"]),
    "never logged in": (SSO, {"AWS_PROFILE": "work"}, "LoginExpired", ["corp", "run `aws sso login`"]),
}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make an empty ~/.aws, without keys in the environment. Return its parent."""
    (tmp_path / ".aws" / "sso" / "cache").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "DENIED_GRACE", 0.3)


def failure_of(producer: Producer, stream: str = "orders") -> RecordFailedError:
    error = producer.put_record(stream, b"x", "k").exception(PATIENCE)
    assert isinstance(error, RecordFailedError)
    return error


def assert_says_what_to_do(error: RecordFailedError, code: str, words: list[str]) -> None:
    assert isinstance(error, SetupError)
    assert f"'orders' cannot be sent ({code}: " in str(error)
    assert "refused by the service" not in str(error)
    for word in words:
        assert word in str(error)
    assert not error.possible_duplicate  # nothing was sent


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("name", SET_UPS)
def test_a_set_up_that_cannot_work_is_final_and_says_what_to_do(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, environment, code, words = SET_UPS[name]
    (home / ".aws" / "config").write_text(config)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with Producer(region_name="us-east-1", endpoint_url=NOWHERE, record_ttl_ms=None) as producer:
        assert_says_what_to_do(failure_of(producer), code, words)


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("name", ["token file is missing", "never logged in"])
def test_the_first_line_names_the_cause_and_botocore_s_tracebacks_do_not_bury_it(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config, environment, code, _ = SET_UPS[name]
    (home / ".aws" / "config").write_text(config)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with Producer(region_name="us-east-1", endpoint_url=NOWHERE, record_ttl_ms=None) as producer:
        failure_of(producer)
    logged = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert {each.name.split(".")[0] for each in logged} == {"kplpy"}
    assert f": {code}; failed requests: 1)" in logged[0].getMessage()
    logging.getLogger("botocore.credentials").warning("A refresh by the user failed: %s", "mandatory")
    assert caplog.messages[-1] == "A refresh by the user failed: mandatory"


@pytest.mark.usefixtures("short_grace")
def test_an_expired_login(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".aws" / "config").write_text(SSO)
    cached = home / ".aws" / "sso" / "cache" / (hashlib.sha1(b"corp").hexdigest() + ".json")
    about = {"startUrl": f"{NOWHERE}/start", "region": "us-east-1", "accessToken": "x"}
    cached.write_text(json.dumps({**about, "expiresAt": "2020-01-01T00:00:00Z"}))
    monkeypatch.setenv("AWS_PROFILE", "work")
    with Producer(region_name="us-east-1", endpoint_url=NOWHERE, record_ttl_ms=None) as producer:
        assert_says_what_to_do(failure_of(producer), "LoginExpired", ["expired", "run `aws sso login`"])


@pytest.mark.usefixtures("short_grace")
@pytest.mark.skipif(not hasattr(boto, "LoginError"), reason="this botocore knows no `aws login`")
def test_a_missing_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.credentials.EC", None, raising=False)  # as without awscrt
    (home / ".aws" / "config").write_text("[default]\nlogin_session = arn:aws:iam::111122223333:user/x\n")
    with Producer(region_name="us-east-1", endpoint_url=NOWHERE, record_ttl_ms=None) as producer:
        assert_says_what_to_do(failure_of(producer), "MissingPackage", ["a package is missing", "pip install"])


def test_without_a_region_each_record_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "DENIED_GRACE", 10 * PATIENCE)
    with Producer(record_ttl_ms=None, metrics_level="none") as producer:
        for _ in range(2):
            assert_says_what_to_do(
                failure_of(producer), "NoRegion", ["no AWS region: pass region_name or set AWS_REGION"]
            )


def test_the_region_that_the_other_sdks_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from kplpy import Config
    from kplpy.aws.client import make_client

    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert make_client(Config()).meta.region_name == "eu-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert make_client(Config()).meta.region_name == "eu-west-1"


@pytest.mark.usefixtures("short_grace")
def test_a_missing_file_of_certificates() -> None:
    with local(https=True) as kinesis, producing(kinesis, verify="/no/such.pem", record_ttl_ms=None) as producer:
        assert_says_what_to_do(
            failure_of(producer), "MissingFile", ["file of certificates", "No such file", "check verify="]
        )


def test_credentials_that_come_within_the_grace_cost_no_record(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "DENIED_GRACE", 10 * PATIENCE)
    with local() as kinesis, producing(kinesis) as producer:
        monkeypatch.setenv("AWS_PROFILE", "shop")
        future = producer.put_record("orders", b"x", "k")
        while not producer.metrics()["orders"].requests_failed:
            assert not future.done()
            time.sleep(0.01)
        keys = "aws_access_key_id = AKIA\naws_secret_access_key = secret\n"
        (home / ".aws" / "credentials").write_text(f"[shop]\n{keys}")
        assert future.result(PATIENCE).attempts[0].error_code == "ProfileNotFound"


@pytest.mark.usefixtures("home", "short_grace")
def test_credentials_that_come_later_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new client finds them: one without credentials never looks again."""
    monkeypatch.setattr(transport, "RENEWAL_INTERVAL", 0.0)
    with local() as kinesis, producing(kinesis, record_ttl_ms=None) as producer:
        assert_says_what_to_do(failure_of(producer), "NoCredentials", ["set AWS_ACCESS_KEY_ID"])
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setattr(policy, "DENIED_GRACE", 10 * PATIENCE)
        producer.put_record("orders", b"x", "k").result(PATIENCE)


# --- not Kinesis ---

JSON = "application/x-amz-json-1.1"
ELSEWHERE: dict[str, tuple[int, str, bytes, str]] = {
    "another service": (400, JSON, b'{"__type":"UnknownOperationException"}', "(UnknownOperationException)"),
    "a captive portal": (200, "text/html", b"<html>hello</html>", "(HTTP 200, text/html)"),
    "a page that is not there": (404, "text/html", b"<html>404 Not Found</html>", "(HTTP 404, text/html)"),
    "a firewall": (403, "text/html", b"<html>403 Forbidden</html>", "(HTTP 403, text/html)"),
    "a redirect": (301, "text/html", b"", "(HTTP 301, text/html)"),
    "a file server": (405, "text/plain", b"POST?", "(HTTP 405, text/plain)"),
}


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_endpoint_that_is_not_kinesis(name: str) -> None:
    status, kind, body, seen = ELSEWHERE[name]
    with (
        web_server(lambda *_: (status, {"Content-Type": kind}, body)) as web,
        Producer(region_name="us-east-1", endpoint_url=web.url, record_ttl_ms=None) as producer,
    ):
        error = failure_of(producer)
    assert isinstance(error, SetupError)
    assert f"the endpoint {web.url}/ does not answer as Kinesis does {seen}; check endpoint_url" in str(error)
    assert "refused by the service" not in str(error)
    assert "<html>" not in str(error)
    assert error.possible_duplicate is (seen != "(UnknownOperationException)")  # the page may come from a gateway


def test_json_that_is_called_html_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some stand-ins send it so."""
    with local() as kinesis:

        def answer(headers: Mapping[str, str], body: bytes) -> Answer:
            operation = headers["X-Amz-Target"].rpartition(".")[2]
            content = kinesis.handle(operation, json.loads(body)) if operation != "PutRecords" else None
            if content is None:
                content = {
                    "Records": [{"SequenceNumber": "1", "ShardId": "shardId-000000000000"}],
                    "FailedRecordCount": 0,
                }
            return 200, {"Content-Type": "text/html; charset=utf-8"}, json.dumps(content, default=str).encode()

        with web_server(answer) as web, Producer(region_name="us-east-1", endpoint_url=web.url) as producer:
            assert producer.put_record("orders", b"x", "k").result(PATIENCE).sequence_number == "1"


# --- refused by the service ---


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("code", ["AccessDeniedException", "KMSDisabledException", "ResourceNotFoundException"])
def test_what_the_service_refuses_is_refused_by_the_service(code: str) -> None:
    with local() as kinesis, producing(kinesis, record_ttl_ms=None) as producer:
        kinesis.faults.fail(code, "so", operation="PutRecords", times=1_000_000)
        error = failure_of(producer)
    assert isinstance(error, RejectedError)
    assert f"was refused by the service ({code}: so)" in str(error)
    assert not error.possible_duplicate


# --- what may pass ---


def other_authority(kinesis: LocalKinesis) -> dict[str, object]:
    return {"endpoint_url": kinesis.endpoint_url, "verify": None}


def https_for_http(kinesis: LocalKinesis) -> dict[str, object]:
    return {"endpoint_url": kinesis.endpoint_url.replace("http:", "https:"), "verify": None}


def http_for_https(kinesis: LocalKinesis) -> dict[str, object]:
    return {"endpoint_url": kinesis.endpoint_url.replace("https:", "http:")}


def nobody_there(_: LocalKinesis) -> dict[str, object]:
    return {"endpoint_url": f"http://127.0.0.1:{free_port()}"}


def no_such_host(_: LocalKinesis) -> dict[str, object]:
    return {"endpoint_url": "http://no-such-host.invalid"}


class FirstFailure(logging.Handler):
    """Keeps the first `requests_failed` that is logged of a stream. Another test's producer may still log its own."""

    def __init__(self, stream: str) -> None:
        super().__init__()
        self.stream = stream
        self.text = ""
        self.at = 0.0
        self.seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "kplpy", {})
        if (fields.get("event"), fields.get("stream")) == ("requests_failed", self.stream) and not self.seen.is_set():
            self.text, self.at = record.getMessage(), time.monotonic()
            self.seen.set()


@pytest.mark.parametrize(
    ("https", "change"),
    [
        (False, nobody_there),
        (False, no_such_host),
        (True, other_authority),
        (False, https_for_http),
        (True, http_for_https),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_an_unreachable_endpoint_is_reported_soon_and_retried(
    https: bool, change: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Records would wait a minute for the shard map here (conftest.py). The failure ends that wait."""
    assert callable(change)
    caplog.set_level(logging.INFO, "kplpy")
    first = FirstFailure("unreachable")
    logging.getLogger("kplpy").addHandler(first)
    try:
        with local(https=https) as kinesis:
            options = change(kinesis)
            with Producer(**{"region_name": "us-east-1", "record_ttl_ms": 2000, **options}) as producer:
                producer.put_record("unreachable", b"warm", "k").exception(PATIENCE)  # making the client takes time
                error = failure_of(producer, "unreachable")
    finally:
        logging.getLogger("kplpy").removeHandler(first)
    url = str(options["endpoint_url"])
    assert isinstance(error, RecordExpiredError)
    assert url in str(error)
    assert first.seen.is_set()
    assert url in first.text


def test_a_certificate_for_another_name_is_reported_and_retried(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("kinesis.example").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with (
        web_server(lambda *_: (200, {}, b""), context) as web,
        Producer(
            region_name="us-east-1", endpoint_url=web.url, verify=str(tmp_path / "ca.pem"), record_ttl_ms=1500
        ) as producer,
    ):
        producer.put_record("orders", b"warm", "k").exception(PATIENCE)  # making the client takes time
        error = failure_of(producer)
    assert isinstance(error, RecordExpiredError)
    assert f"SSL validation failed for {web.url}/" in str(error)
    assert not web.requests
