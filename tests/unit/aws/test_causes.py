"""Tests the code and the text of failed requests: each text has the cause, and what to do or the URL."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from botocore import exceptions as boto
from urllib3.exceptions import NewConnectionError

from kplpy.aws.errors import classify
from kplpy.core.results.retry_policy import Verdict, judge_error
from tests.inside import endpoint_url_key

URL = "http://127.0.0.1:9/"


def raised_from(error: Exception, cause: OSError) -> Exception:
    error.__cause__ = cause
    return error


def refused() -> Exception:
    why = NewConnectionError(None, "Failed to establish a new connection")  # type: ignore[arg-type]
    return raised_from(why, ConnectionRefusedError(111, "Connection refused"))


def unknown_name() -> Exception:
    why = NewConnectionError(None, "Failed to resolve")  # type: ignore[arg-type]
    return raised_from(why, socket.gaierror(-2, "Name or service not known"))


NO_FILE = FileNotFoundError(2, "No such file or directory", "/no/such/token")

# (failure, code, words of its text: the cause, and what to do)
SET_UP: list[tuple[Exception, str, list[str]]] = [
    (boto.NoRegionError(), "NoRegion", ["no AWS region", "region_name", "AWS_REGION"]),
    (boto.NoCredentialsError(), "NoCredentials", ["no AWS credentials", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "session"]),
    (
        boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        "PartialCredentials",
        ["incomplete", "missing: AWS_SECRET_ACCESS_KEY", "set both"],
    ),
    (boto.ProfileNotFound(profile="nope"), "ProfileNotFound", ["(nope)", "AWS_PROFILE", "~/.aws/config"]),
    (boto.ConfigParseError(path="/home/me/config"), "BadConfiguration", ["/home/me/config", "check"]),
    (boto.InvalidConfigError(error_msg="source_profile gone"), "BadConfiguration", ["source_profile gone", "check"]),
    (boto.InvalidRegionError(region_name="us east"), "BadConfiguration", ["'us east'", "check"]),
    (boto.SSOTokenLoadError(error_msg="Token for corp does not exist"), "LoginExpired", ["corp", "`aws sso login`"]),
    (boto.UnauthorizedSSOTokenError(), "LoginExpired", ["expired", "`aws sso login`"]),
    (
        boto.TokenRetrievalError(provider="sso", error_msg="Token has expired"),
        "LoginExpired",
        ["Token has expired", "`aws sso login`"],
    ),
    (boto.MissingDependencyException(msg='pip install "botocore[crt]"'), "MissingPackage", ["pip install"]),
    (ModuleNotFoundError("No module named 'awscrt'"), "MissingPackage", ["awscrt", "install it"]),
    (NO_FILE, "MissingFile", ["/no/such/token", "check"]),
    (PermissionError(13, "Permission denied", "/var/token"), "MissingFile", ["/var/token", "check"]),
    (boto.HTTPClientError(error=NO_FILE), "MissingFile", ["/no/such/token", "check"]),
    (
        boto.CredentialRetrievalError(provider="custom-process", error_msg="vault: locked"),
        "CredentialProcessFailed",
        ["vault: locked", "credential_process"],
    ),
]


@pytest.mark.parametrize(("failure", "code", "words"), SET_UP, ids=[type(each[0]).__name__ for each in SET_UP])
def test_a_set_up_that_cannot_work(failure: Exception, code: str, words: list[str]) -> None:
    error = classify(failure)
    assert error.code == code
    assert judge_error(error) in (Verdict.SET_UP, Verdict.HOPELESS)
    for word in words:
        assert word in error.message


@pytest.mark.skipif(not hasattr(boto, "LoginRefreshRequired"), reason="this botocore knows no `aws login`")
def test_a_login_that_has_expired() -> None:
    error = classify(boto.LoginRefreshRequired())
    assert error.code == "LoginExpired"
    assert error.message.endswith("run `aws login`")


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (
            boto.EndpointConnectionError(endpoint_url=URL, error=refused()),
            "EndpointConnectionError",
            "(Connection refused)",
        ),
        (boto.EndpointConnectionError(endpoint_url=URL, error=unknown_name()), "EndpointConnectionError", "(Name or"),
        (boto.EndpointConnectionError(endpoint_url=URL), "EndpointConnectionError", ""),
        (boto.ConnectTimeoutError(endpoint_url=URL), "ConnectTimeout", ""),
        (boto.ReadTimeoutError(endpoint_url=URL), "RequestTimeout", ""),
        (boto.ConnectionClosedError(endpoint_url=URL), "ConnectionClosedError", ""),
        (
            boto.SSLError(endpoint_url=URL, error=OSError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")),
            "SSLError",
            "verify=",
        ),
        (
            boto.SSLError(endpoint_url=URL, error=OSError("[SSL: WRONG_VERSION_NUMBER] wrong")),
            "SSLError",
            "http://, not https://",
        ),
        (
            boto.SSLError(endpoint_url=URL, error=OSError("[SSL] record layer failure (_ssl.c:1006)")),
            "SSLError",
            "http://, not",
        ),
    ],
)
def test_what_may_pass_names_the_url(failure: Exception, code: str, words: str) -> None:
    error = classify(failure)
    assert error.code == code
    assert URL in error.message
    assert words in error.message
    assert judge_error(error) is Verdict.RETRY


@pytest.mark.parametrize(
    "failure",
    [
        boto.CredentialRetrievalError(provider="container-role", error_msg="timed out"),
        boto.MetadataRetrievalError(error_msg="timed out"),
        boto.HTTPClientError(error=ValueError("?")),
        OSError("the provider cannot be reached"),
        RuntimeError("?"),
    ],
)
def test_what_is_not_known_to_be_final_is_retried(failure: Exception) -> None:
    error = classify(failure)
    assert error.code == type(failure).__name__
    assert judge_error(error) is Verdict.RETRY


# --- responses ---


def response_error(status: int, code: str, operation: str = "PutRecords", kind: str = "text/html", **error: str) -> Any:
    about = {"HTTPStatusCode": status, "HTTPHeaders": {"content-type": kind}, endpoint_url_key(): URL}
    response: Any = {"Error": {"Code": code, **error}, "ResponseMetadata": about}
    return boto.ClientError(response, operation)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 403, 404, 405, 410, 501])
def test_a_web_page_is_no_response_of_kinesis(status: int) -> None:
    error = classify(response_error(status, str(status), Message="<html>"))
    assert error.code == "NotKinesis"
    assert f"endpoint {URL} does not answer as Kinesis does (HTTP {status}, text/html)" in error.message
    assert "check endpoint_url" in error.message
    assert "<html>" not in error.message
    assert judge_error(error) is Verdict.SET_UP


def test_an_operation_that_the_endpoint_does_not_know() -> None:
    error = classify(response_error(400, "UnknownOperationException", kind="application/x-amz-json-1.1"))
    assert error.code == "UnknownOperationException"
    assert f"endpoint {URL} does not answer as Kinesis does (UnknownOperationException)" in error.message
    assert judge_error(error) is Verdict.SET_UP


@pytest.mark.parametrize("status", [400, 408, 429, 499, 502, 503, 504])
def test_an_error_of_a_gateway_may_pass(status: int) -> None:
    """Also 400, which some servers that speak https:// send for http://."""
    error = classify(response_error(status, str(status), Message="not now"))
    assert error.code == str(status)
    assert error.message == f"HTTP {status} from {URL} is no error of Kinesis: not now; check any proxy on the way"
    assert judge_error(error) is Verdict.RETRY


@pytest.mark.parametrize(
    ("operation", "code", "expected"),
    [
        ("AssumeRole", "AccessDenied", "CredentialsDenied"),
        ("AssumeRoleWithWebIdentity", "InvalidIdentityToken", "CredentialsDenied"),
        ("AssumeRoleWithWebIdentity", "ExpiredTokenException", "CredentialsDenied"),
        ("GetRoleCredentials", "ForbiddenException", "CredentialsDenied"),
        ("AssumeRole", "Throttling", "Throttling"),
        ("AssumeRole", "InternalFailure", "InternalFailure"),
        ("PutRecords", "AccessDenied", "AccessDenied"),
        ("PutMetricData", "ExpiredToken", "ExpiredToken"),
    ],
)
def test_a_denial_of_credentials_is_not_one_of_kinesis(operation: str, code: str, expected: str) -> None:
    error = classify(response_error(400, code, operation, "text/xml", Message="you may not"))
    assert error.code == expected
    assert "you may not" in error.message
    assert (f"{operation} failed with {code}" in error.message) is (operation not in ("PutRecords", "PutMetricData"))
