"""Turns the cause of a failed request into a code and a text: the cause, then what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore import exceptions as boto

from kplpy.core.exchange import RequestError, with_causes
from kplpy.core.results.retry_policy import NO_REGION, NOT_KINESIS, UNKNOWN_OPERATION, Verdict, judge_error

_CHECK = "check ~/.aws/config, ~/.aws/credentials, the AWS_... variables and Producer's arguments"
_CHECK_NETWORK = "check the network, any proxy and endpoint_url"
# (exception, code, text). By name, because older versions of botocore lack some. A subclass stands before its base.
# `{}` is the exception's own text.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    ("NoRegionError", NO_REGION, "no AWS region: pass region_name or set AWS_REGION"),
    (
        "NoCredentialsError",
        "NoCredentials",
        "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or pass a session",
    ),
    (
        "PartialCredentialsError",
        "PartialCredentials",
        "the AWS credentials are incomplete: {}; set both the access key ID and the secret access key",
    ),
    ("ProfileNotFound", "ProfileNotFound", "unknown AWS profile: {}; correct AWS_PROFILE or add it to ~/.aws/config"),
    ("SSOError", "LoginExpired", "the AWS login is missing or expired: {}; run `aws sso login`"),
    ("TokenRetrievalError", "LoginExpired", "the AWS login is missing or expired: {}; run `aws sso login`"),
    ("NoAuthTokenError", "LoginExpired", "the AWS login is missing or expired: {}; run `aws sso login`"),
    ("LoginError", "LoginExpired", "the AWS login is missing or expired: {}; run `aws login`"),
    ("MissingDependencyException", "MissingPackage", "a package is missing: {}"),
    ("ConnectTimeoutError", "ConnectTimeout", f"{{}}; {_CHECK_NETWORK}"),
    ("ReadTimeoutError", "RequestTimeout", f"{{}}; {_CHECK_NETWORK}"),
    ("EndpointConnectionError", "EndpointConnectionError", f"{{}}; {_CHECK_NETWORK}"),
    ("SSLError", "SSLError", "{}"),
)
_KINDS = tuple((getattr(boto, name), code, text) for name, code, text in _CAUSES if hasattr(boto, name))
# Failures of the network or of a credentials provider may pass. botocore's other exceptions are about the set-up.
_MAY_PASS = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.IncompleteReadError,
    boto.CapacityNotAvailableError,
)
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
# Operations by which botocore gets credentials, before it sends kplpy's request.
FOR_CREDENTIALS = frozenset(
    "AssumeRole AssumeRoleWithSAML AssumeRoleWithWebIdentity CreateOAuth2Token CreateToken GetCredentialsForIdentity "
    "GetRoleCredentials GetSessionToken".split()
)
_DENIALS = frozenset({"ForbiddenException", "InvalidIdentityToken", "UnauthorizedException"})
# Statuses that web servers, captive portals and firewalls send, with a body that is not the service's.
_NOT_KINESIS_STATUSES = frozenset({301, 302, 303, 307, 308, 403, 404, 405, 410, 501})
_FIREHOSE_OPERATIONS = frozenset({"PutRecordBatch", "DescribeDeliveryStream"})
# The key under which `name_endpoint` keeps the request's URL.
_URL = "EndpointURL"


def cause_of(failure: Exception) -> tuple[str, str]:
    """Return the code and the text of a failure without a response."""
    no_file = _missing_file(failure)
    if isinstance(failure, boto.SSLError) and no_file is not None:
        return "MissingFile", f"the file of certificates cannot be read: {no_file}; check verify= and AWS_CA_BUNDLE"
    if no_file is not None:
        return "MissingFile", f"a file cannot be read: {no_file}; {_CHECK}"
    if isinstance(failure, ImportError):
        return "MissingPackage", f"a package is missing: {failure}; install it"
    own_text = (str(failure) or repr(failure)).rstrip(" .:")  # a hint may follow
    for kind, code, text in _KINDS:
        if isinstance(failure, kind):
            return code, text.format(own_text + _reason(failure))
    if isinstance(failure, boto.CredentialRetrievalError) and "custom-process" in own_text:
        return "CredentialProcessFailed", f"{own_text}; run the credential_process of ~/.aws/config by hand"
    if isinstance(failure, boto.BotoCoreError) and not isinstance(failure, _MAY_PASS):
        return "BadConfiguration", f"{own_text}; {_CHECK}"
    return type(failure).__name__, own_text


def cause_of_response(failure: boto.ClientError) -> tuple[str, str]:
    """Return the code and the text of a response that is an error."""
    response: Any = failure.response
    about = response.get("ResponseMetadata", {})
    status = int(about.get("HTTPStatusCode", 0))
    code = response.get("Error", {}).get("Code") or f"HTTP{status}"
    message = response.get("Error", {}).get("Message") or "the service gave no reason"
    if failure.operation_name in FOR_CREDENTIALS:
        return _cause_of_credentials(failure.operation_name, code, message)
    url = about.get(_URL)
    kind = about.get("HTTPHeaders", {}).get("content-type", "no content type")
    service = "Firehose" if failure.operation_name in _FIREHOSE_OPERATIONS else "Kinesis"
    if code in (UNKNOWN_OPERATION, NOT_KINESIS):
        return code, _not_the_service(service, url, code if code == UNKNOWN_OPERATION else f"HTTP {status}, {kind}")
    if code == str(status):  # botocore takes the status as code if the body names no error
        if status in _NOT_KINESIS_STATUSES:
            return NOT_KINESIS, _not_the_service(service, url, f"HTTP {status}, {kind}")
        if url:
            return code, f"HTTP {status} from {url} is no error of {service}: {message}; check any proxy on the way"
    return code, message


def _cause_of_credentials(operation: str, code: str, message: str) -> tuple[str, str]:
    text = f"no AWS credentials: {operation} failed with {code}: {message}"
    verdict = judge_error(RequestError(code, message, maybe_written=False))
    if verdict is Verdict.RETRY and code not in _DENIALS:
        return code, text
    return "CredentialsDenied", f"{text}; check the profile or role, and what its identity may do"


def name_endpoint(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Handle `after-call`: keep the URL of an error, and raise an error for a web page with the status 200."""
    url, status = http_response.url, http_response.status_code
    about = parsed.setdefault("ResponseMetadata", {})
    if status >= 300:
        about[_URL] = url
    elif not model.output_shape or model.has_event_stream_output or is_from_service(http_response):
        return
    else:
        about |= {_URL: url, "HTTPStatusCode": status}
        raise boto.ClientError({"Error": {"Code": NOT_KINESIS}, "ResponseMetadata": about}, model.name)


def is_from_service(http_response: Any) -> bool:
    """Return True if the body is the service's: JSON or CBOR. Some stand-ins send JSON as text/html."""
    kind = str(http_response.headers.get("Content-Type"))
    return "json" in kind or "cbor" in kind or http_response.content.lstrip()[:1] == b"{"


def _not_the_service(service: str, url: str | None, seen: str) -> str:
    fields = "firehose_endpoint_url, endpoint_url" if service == "Firehose" else "endpoint_url"
    return (
        f"the endpoint {url or 'of the request'} does not answer as {service} does ({seen}); check {fields}, "
        f"AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_{service.upper()}, and any proxy on the way"
    )


def _causes_behind(failure: BaseException) -> Iterator[BaseException]:
    """Return the exception of the HTTP client, and the exceptions that led to it."""
    cause = getattr(failure, "kwargs", {}).get("error")
    return with_causes(cause if isinstance(cause, BaseException) else None)


def _missing_file(failure: Exception) -> BaseException | None:
    if isinstance(failure, _NO_FILE):
        return failure
    if not isinstance(failure, (boto.HTTPClientError, boto.SSLError)):
        return None
    return next((each for each in _causes_behind(failure) if isinstance(each, _NO_FILE)), None)


def _reason(failure: Exception) -> str:
    """Return what botocore's text leaves out: a hint for TLS, or the system's reason in parentheses."""
    if isinstance(failure, boto.SSLError):
        return _hint_for_tls(str(failure))
    reasons = (each.strerror for each in _causes_behind(failure) if isinstance(each, OSError) and each.strerror)
    strerror = next(reasons, None)
    return f" ({strerror})" if strerror else ""


def _hint_for_tls(text: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "; pass the file of certificates to trust as verify="
    if "WRONG_VERSION_NUMBER" in text.upper() or "record layer" in text.lower():
        return "; the endpoint may speak http://, not https://: check endpoint_url"
    return "; check verify=, any proxy and endpoint_url"
