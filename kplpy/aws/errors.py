"""What botocore raises, as the core and the engine understand it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore import exceptions as boto
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from kplpy.core.retry import RequestError, Verdict, judge_error
from kplpy.core.shard_map import ListingError
from kplpy.escaping import shown

# Nothing of the body was on the wire yet.
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
# Codes of our own where botocore has only classes.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (boto.NoCredentialsError, "NoCredentials"),
    (boto.PartialCredentialsError, "NoCredentials"),
    (boto.NoRegionError, "NoRegion"),
    (boto.ConnectTimeoutError, "ConnectTimeout"),
    (boto.ReadTimeoutError, "RequestTimeout"),
)


def classify(failure: Exception) -> RequestError:
    """Code, text and whether the records may have been written: all that ended after the body began to be sent, but
    for the service's own 4xx. The exception's own texts are made safe to show: it becomes the cause of the records'."""
    _make_safe(failure)
    if isinstance(failure, boto.ClientError):
        answer: Any = failure.response
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = answer.get("Error", {}).get("Code") or f"HTTP{status}"
        message = answer.get("Error", {}).get("Message") or "the service gave no reason"
        return RequestError(code, message, not 400 <= status < 500, failure, status)
    code = next((code for kind, code in _CODES if isinstance(failure, kind)), type(failure).__name__)
    return RequestError(code, str(failure) or repr(failure), not isinstance(failure, _BEFORE_SENDING), failure)


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
    return ListingError(f"ListShards: {error.code}: {error.message}", error.code, error.message)


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
