"""What botocore raises, as the core and the engine understand it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from botocore import exceptions as boto
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from kplpy.aws.causes import cause_of, cause_of_answer
from kplpy.core.exchange import ListingError, RequestError
from kplpy.core.results.retry_policy import TOO_LARGE, Verdict, judge_error
from kplpy.escaping import shown

# Another quick try is not worth it: there is no connection, or nothing to sign with. These say nothing of whether a
# request was sent: ProxyConnectionError and SSLError are raised after that, too (see sent_body.py).
_BEFORE_SENDING = (
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
# A front that answers so has not passed the request on: RFC 9110, 15.5.14 and 15.5.16.
_NOT_PASSED_ON = frozenset({413, 415})
# What fails within the service is no refusal, whatever the status.
_WITHIN_THE_SERVICE = re.compile("Internal|Unavailable|Timeout")


def classify(failure: Exception, sent: bool = True) -> RequestError:
    """Return code, text, and whether the records may have been written.

    sent: the service may have the whole request. Then only its own refusal says that nothing was written. The
    exception's own texts are made safe to show: it becomes the cause of the records' failure.
    """
    _make_safe(failure)
    if isinstance(failure, boto.ClientError):
        answer: Any = failure.response
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code, message = cause_of_answer(failure)
        if status == 413:
            code = TOO_LARGE
        said = str(answer.get("Error", {}).get("Code") or "")
        return RequestError(code, message, sent and not _is_refusal(answer, status, said), failure, status)
    code, message = cause_of(failure)
    return RequestError(code, message, sent, failure)


def _is_refusal(answer: Any, status: int, code: str) -> bool:
    """Return True if the service, not what lies before it, refused the request as a whole.

    A gateway's own 4xx (408, 499, an HTML page) may come after the request was passed on. botocore takes the code from
    the body; where that has none, the status is the code. Kinesis and its stand-ins send an x-amzn-RequestId always.
    """
    if status in _NOT_PASSED_ON:
        return True
    if not 400 <= status < 500 or not code.isidentifier() or _WITHIN_THE_SERVICE.search(code):
        return False
    known = judge_error(RequestError(code, "", maybe_written=False)) is not Verdict.RETRY
    return known or bool(answer.get("ResponseMetadata", {}).get("RequestId"))


def _make_safe(failure: BaseException) -> None:
    """Have tracebacks of the failure, and of what led to it, show what the service said on one line, without passwords.

    botocore's exceptions are printed from `args`; a ClientError's message is in its response as well.
    """
    seen: set[int] = set()
    each: BaseException | None = failure
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        each.args = tuple(shown(part) if isinstance(part, str) else part for part in each.args)
        if isinstance(each, boto.ClientError):
            error: Any = each.response.get("Error", {})
            error.update({name: shown(text) for name, text in error.items() if isinstance(text, str)})
        each = each.__cause__ or each.__context__


def listing_error(error: RequestError) -> ListingError:
    return ListingError(f"ListShards: {error.code}: {error.message}", error)


def retrying(call: Callable[[], Any], worth: Callable[[BaseException], bool] | None = None) -> Any:
    """Call the control plane, with a few quick tries while the failure is `worth` one: by default, looks passing."""
    for attempt in Retrying(
        stop=stop_after_attempt(3),
        wait=wait_random_exponential(multiplier=0.1, max=1.0),
        retry=retry_if_exception(worth or passing),
        reraise=True,
    ):
        with attempt:
            return call()
    raise AssertionError("tenacity reraises the last failure")


def passing_answer(failure: BaseException) -> bool:
    """An answer that says to try again. No answer at all is not worth the wait where others depend on it."""
    return isinstance(failure, boto.ClientError) and passing(failure)


def passing(failure: BaseException) -> bool:
    """Is another try worth it?"""
    return (
        isinstance(failure, Exception)
        and not isinstance(failure, _BEFORE_SENDING)
        and judge_error(classify(failure)) is Verdict.RETRY
    )
