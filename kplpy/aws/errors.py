"""Turns botocore's exceptions into the core's RequestError and ListingError."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from botocore import exceptions as boto
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from kplpy.aws.causes import cause_of, cause_of_response
from kplpy.core.exchange import ListingError, RequestError, with_causes
from kplpy.core.results.retry_policy import TOO_LARGE, Verdict, judge_error
from kplpy.escaping import shown

# A quick retry cannot help: there is no connection, or nothing to sign with. These exceptions do not show whether a
# request was sent: botocore raises ProxyConnectionError and SSLError after that, too (see sent_body.py).
_NO_QUICK_RETRY = (
    boto.ConnectTimeoutError,
    boto.EndpointConnectionError,
    boto.ProxyConnectionError,
    boto.SSLError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.NoRegionError,
    boto.ParamValidationError,
)
# A proxy or gateway that sends these has not forwarded the request: RFC 9110, 15.5.14 and 15.5.16.
_NOT_FORWARDED = frozenset({413, 415})
# Codes of failures within the service, which are no refusal at any status.
_WITHIN_THE_SERVICE = re.compile("Internal|Unavailable|Timeout")


def classify(failure: Exception, sent: bool = True) -> RequestError:
    """Return the failure's code, its text, and whether the records may have been written.

    Also makes the exception fit to be kept as the cause of the records' failure: its texts are safe to show, and it
    does not hold the request.

    sent: the service may have the whole request. Then only a refusal of its own proves that nothing was written.
    """
    _make_fit(failure)
    if isinstance(failure, boto.ClientError):
        response: Any = failure.response
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code, message = cause_of_response(failure)
        if status == 413:
            code = TOO_LARGE
        own_code = str(response.get("Error", {}).get("Code") or "")
        return RequestError(code, message, sent and not _is_refusal(response, status, own_code), failure, status)
    code, message = cause_of(failure)
    return RequestError(code, message, sent, failure)


def _is_refusal(response: Any, status: int, code: str) -> bool:
    """Return True if the service refused the whole request, not a proxy or gateway in front of it.

    A gateway may send its own 4xx (408, 499, an HTML page) after it forwarded the request. botocore takes the code
    from the body; if the body has none, the status is the code. Kinesis and its stand-ins always send an
    x-amzn-RequestId.
    """
    if status in _NOT_FORWARDED:
        return True
    if not 400 <= status < 500 or not code.isidentifier() or _WITHIN_THE_SERVICE.search(code):
        return False
    known = judge_error(RequestError(code, "", maybe_written=False)) is not Verdict.RETRY
    return known or bool(response.get("ResponseMetadata", {}).get("RequestId"))


def _make_fit(failure: BaseException) -> None:
    """Make the failure and its causes show the service's texts on one line, without passwords, and drop the request.

    botocore's exceptions print `args`. A ClientError also has its message in its response. The request of an
    HTTPClientError has the signature and all records.
    """
    for each in with_causes(failure):
        each.args = tuple(shown(part) if isinstance(part, str) else part for part in each.args)
        if isinstance(each, boto.ClientError):
            error: Any = each.response.get("Error", {})
            error.update({name: shown(text) for name, text in error.items() if isinstance(text, str)})
        elif isinstance(each, boto.HTTPClientError):
            each.request = None  # type: ignore[attr-defined]  # the stubs lack it


def listing_error(error: RequestError, operation: str) -> ListingError:
    """Return the error of a failed ListShards, or of the call that takes its place."""
    return ListingError(f"{operation}: {error.code}: {error.message}", error)


def retrying(call: Callable[[], Any], worth: Callable[[BaseException], bool] | None = None) -> Any:
    """Call the control plane, at most three times with short random waits. Raises the last failure.

    worth: returns True for a failure that another attempt may cure; by default `may_pass`.
    """
    for attempt in Retrying(
        stop=stop_after_attempt(3),
        wait=wait_random_exponential(multiplier=0.1, max=1.0),
        retry=retry_if_exception(worth or may_pass),
        reraise=True,
    ):
        with attempt:
            return call()
    raise AssertionError("tenacity reraises the last failure")


def is_retryable_response(failure: BaseException) -> bool:
    """Return True for a response that asks for a retry.

    A failure without a response is not retried here: records wait for the call.
    """
    return isinstance(failure, boto.ClientError) and may_pass(failure)


def may_pass(failure: BaseException) -> bool:
    """Return True if another attempt may succeed."""
    return (
        isinstance(failure, Exception)
        and not isinstance(failure, _NO_QUICK_RETRY)
        and judge_error(classify(failure)) is Verdict.RETRY
    )
