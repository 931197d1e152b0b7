"""What stopped a request, as a code and a text that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore import exceptions as boto

from kplpy.core.exchange import RequestError
from kplpy.core.results.retry_policy import NO_REGION, NOT_KINESIS, UNKNOWN_OPERATION, Verdict, judge_error

_CHECK = "check ~/.aws/config, ~/.aws/credentials, the AWS_... variables and Producer's arguments"
# Exceptions by name, because older versions of botocore lack some; a subclass stands before its base. `{}` is the
# exception's own text.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    ("NoRegionError", NO_REGION, "no AWS region: pass region_name or set AWS_REGION"),
    (
        "NoCredentialsError",
        "NoCredentials",
        "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or pass a session",
    ),
    ("PartialCredentialsError", "PartialCredentials", "half of the AWS credentials is missing: {}; set both halves"),
    ("ProfileNotFound", "ProfileNotFound", "unknown AWS profile: {}; correct AWS_PROFILE or add it to ~/.aws/config"),
    ("SSOError", "LoginExpired", "the AWS login is missing or expired: {}; run `aws sso login`"),
    ("TokenRetrievalError", "LoginExpired", "the AWS login is missing or expired: {}; run `aws sso login`"),
    ("NoAuthTokenError", "LoginExpired", "the AWS login is missing or expired: {}; run `aws sso login`"),
    ("LoginError", "LoginExpired", "the AWS login is missing or expired: {}; run `aws login`"),
    ("MissingDependencyException", "MissingPackage", "a package is missing: {}"),
    ("ConnectTimeoutError", "ConnectTimeout", "{}"),
    ("ReadTimeoutError", "RequestTimeout", "{}"),
    ("EndpointConnectionError", "EndpointConnectionError", "{}"),
    ("SSLError", "SSLError", "{}"),
)
_KINDS = tuple((getattr(boto, name), code, text) for name, code, text in _CAUSES if hasattr(boto, name))
# Failures on the way, which may pass. Every other one of botocore's own is about the set-up.
_MAY_PASS = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.IncompleteReadError,
    boto.CapacityNotAvailableError,
)
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
# botocore calls these to get credentials, before it sends a request of ours.
FOR_CREDENTIALS = frozenset(
    "AssumeRole AssumeRoleWithSAML AssumeRoleWithWebIdentity CreateOAuth2Token CreateToken GetCredentialsForIdentity "
    "GetRoleCredentials GetSessionToken".split()
)
_DENIED_THERE = frozenset({"ForbiddenException", "InvalidIdentityToken", "UnauthorizedException"})
# With a body that is not the service's: what a web server, a captive portal or a firewall answers to its visitors.
_VISITORS = frozenset({301, 302, 303, 307, 308, 403, 404, 405, 410, 501})
# Where `name_endpoint` leaves the request's URL.
_URL = "EndpointURL"


def cause_of(failure: Exception) -> tuple[str, str]:
    """Return the code and the text of a failure that is no answer."""
    no_file = _missing_file(failure)
    if isinstance(failure, boto.SSLError) and no_file is not None:
        return "MissingFile", f"the file of certificates cannot be read: {no_file}; check verify= and AWS_CA_BUNDLE"
    if no_file is not None:
        return "MissingFile", f"a file cannot be read: {no_file}; {_CHECK}"
    if isinstance(failure, ImportError):
        return "MissingPackage", f"a package is missing: {failure}; install it"
    own = (str(failure) or repr(failure)).rstrip(" .:")  # more is said after it
    for kind, code, text in _KINDS:
        if isinstance(failure, kind):
            return code, text.format(own + _reason(failure))
    if isinstance(failure, boto.CredentialRetrievalError) and "custom-process" in own:
        return "CredentialProcessFailed", f"{own}; run the credential_process of ~/.aws/config by hand"
    if isinstance(failure, boto.BotoCoreError) and not isinstance(failure, _MAY_PASS):
        return "BadConfiguration", f"{own}; {_CHECK}"
    return type(failure).__name__, own


def cause_of_answer(failure: boto.ClientError) -> tuple[str, str]:
    """Return the code and the text of an answer that is an error."""
    answer: Any = failure.response
    about = answer.get("ResponseMetadata", {})
    status = int(about.get("HTTPStatusCode", 0))
    code = answer.get("Error", {}).get("Code") or f"HTTP{status}"
    message = answer.get("Error", {}).get("Message") or "the service gave no reason"
    if failure.operation_name in FOR_CREDENTIALS:
        return _cause_of_denial(failure.operation_name, code, message)
    url = about.get(_URL)
    kind = about.get("HTTPHeaders", {}).get("content-type", "no content type")
    if code in (UNKNOWN_OPERATION, NOT_KINESIS):
        return code, _not_kinesis(url, code if code == UNKNOWN_OPERATION else f"HTTP {status}, {kind}")
    if code == str(status):  # which botocore makes up, for the body names no error
        if status in _VISITORS:
            return NOT_KINESIS, _not_kinesis(url, f"HTTP {status}, {kind}")
        if url:
            return code, f"HTTP {status} from {url}, which names no error of Kinesis: {message}"
    return code, message


def _cause_of_denial(operation: str, code: str, message: str) -> tuple[str, str]:
    text = f"no AWS credentials: {operation} failed with {code}: {message}"
    verdict = judge_error(RequestError(code, message, maybe_written=False))
    return ("CredentialsDenied" if verdict is not Verdict.RETRY or code in _DENIED_THERE else code), text


def name_endpoint(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Handle `after-call`: note the URL beside an error, and make one of a page that a web server answered with 200."""
    url, status = http_response.url, http_response.status_code
    about = parsed.setdefault("ResponseMetadata", {})
    if status >= 300:
        about[_URL] = url
    elif not model.output_shape or _is_from_service(http_response):
        return
    else:
        about |= {_URL: url, "HTTPStatusCode": status}
        raise boto.ClientError({"Error": {"Code": NOT_KINESIS}, "ResponseMetadata": about}, model.name)


def _is_from_service(http_response: Any) -> bool:
    """Some stand-ins answer JSON as text/html."""
    kind = str(http_response.headers.get("Content-Type"))
    return "json" in kind or "cbor" in kind or http_response.content.lstrip()[:1] == b"{"


def _not_kinesis(url: str | None, seen: str) -> str:
    return (
        f"the endpoint {url or 'of the request'} does not answer as Kinesis does ({seen}): check endpoint_url, "
        "AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_KINESIS, and any proxy on the way"
    )


def _behind(failure: BaseException) -> Iterator[BaseException]:
    """Yield what the HTTP client raised, and what that was raised from."""
    deep: BaseException | None = getattr(failure, "kwargs", {}).get("error")
    while isinstance(deep, BaseException):
        yield deep
        deep = deep.__cause__ or deep.__context__


def _missing_file(failure: Exception) -> BaseException | None:
    if isinstance(failure, _NO_FILE):
        return failure
    if not isinstance(failure, (boto.HTTPClientError, boto.SSLError)):
        return None
    return next((each for each in _behind(failure) if isinstance(each, _NO_FILE)), None)


def _reason(failure: Exception) -> str:
    """Return why nothing was reached, which botocore's text leaves out, in parentheses."""
    if isinstance(failure, boto.SSLError):
        return _hint_for_tls(str(failure))
    told = (each.strerror for each in _behind(failure) if isinstance(each, OSError) and each.strerror)
    strerror = next(told, None)
    return f" ({strerror})" if strerror else ""


def _hint_for_tls(text: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return " (verify= takes a file of certificates to trust)"
    if "WRONG_VERSION_NUMBER" in text.upper() or "record layer" in text.lower():
        return " (does it speak http://, not https://?)"
    return ""
