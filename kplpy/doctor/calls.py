"""Makes the examination's API calls, within its time, and keeps what each one answered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from textwrap import shorten
from typing import Any

from kplpy.core.exchange import RequestError
from kplpy.core.results.retry_policy import NOT_FOUND, NOT_KINESIS, THROTTLED, UNKNOWN_OPERATION, is_access_denied
from kplpy.reading.source import error_code

# The doctor's own codes, of calls that it did not make. Their messages are whole reasons.
TIME_IS_UP, NO_DRY_RUN, NO_ARN = "TimeIsUp", "NoDryRun", "NoArn"
DRY_RUN = "DryRunOperationException"
_LONGEST = 300  # characters of a message
# The service refuses these before it looks at what the identity may do.
# https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html
_BAD_CREDENTIALS = frozenset(
    "ExpiredToken ExpiredTokenException IncompleteSignature InvalidClientTokenId InvalidSignatureException "
    "MissingAuthenticationToken MissingAuthenticationTokenException RequestExpired SignatureDoesNotMatch "
    "UnrecognizedClientException".split()
)

_THROTTLED = frozenset({THROTTLED, "LimitExceededException", "ThrottlingException"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What one API call came to.

    response: the response, or None after an error.
    code, message: the error's, also for an error without a response; "" after success.
    seconds: from the call to the response, with retries.
    clock_offset: seconds by which the service's clock is ahead of this machine's, by the Date header; None without it.
    is_from_service: the service answered, be it with an error.
    """

    operation: str
    response: Any = None
    code: str = ""
    message: str = ""
    seconds: float = 0.0
    clock_offset: float | None = None
    is_from_service: bool = False

    @property
    def is_ok(self) -> bool:
        return not self.code

    @property
    def is_denied(self) -> bool:
        return is_access_denied(RequestError(self.code, self.message, maybe_written=False))

    @property
    def is_denied_the_key(self) -> bool:
        """True if the identity may make the call, but may not use the stream's KMS key."""
        return self.code == "KMSAccessDeniedException"

    @property
    def is_missing(self) -> bool:
        """True if the stream, or another thing that was named, does not exist."""
        return self.code == NOT_FOUND

    @property
    def is_throttled(self) -> bool:
        return self.code in _THROTTLED

    @property
    def refuses_credentials(self) -> bool:
        return self.code in _BAD_CREDENTIALS

    @property
    def error(self) -> str:
        """The error as text. A proxy's page as message is cut."""
        return f"{self.code}: {shorten(self.message, _LONGEST, placeholder=' …')}"

    @property
    def reason(self) -> str:
        """The error as a reason why something is unchecked."""
        if self.code == UNKNOWN_OPERATION:
            return f"this endpoint does not know {self.operation}"
        if self.code in (TIME_IS_UP, NO_DRY_RUN, NO_ARN):
            return self.message
        return f"{self.operation}: {self.error}"


class Calls:
    """Makes calls with one client until the deadline. Used by one thread.

    deadline: of time.monotonic(). A call that has begun is bounded by the client's timeouts.
    clock_offset: that of the latest answer that had one.
    """

    def __init__(self, client: Any, deadline: float) -> None:
        self.client = client
        self.deadline = deadline
        self.clock_offset: float | None = None

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def ask(self, operation: str, **arguments: Any) -> Answer:
        """Make one call. A throttled or failed one is tried three times at most."""
        from botocore import xform_name

        from kplpy.aws.errors import retrying

        method = getattr(self.client, xform_name(operation))
        return self.run(operation, lambda: retrying(lambda: method(**arguments), _is_worth_another_try))

    def dry_run(self, operation: str, **arguments: Any) -> Answer:
        """Make a call with DryRun. Success is the code DRY_RUN; a response means that the server ignored DryRun."""
        meta = self.client.meta
        if "DryRun" in meta.service_model.operation_model(operation).input_shape.members:
            return self.ask(operation, **arguments, DryRun=True)
        event = f"before-call.kinesis.{operation}"
        meta.events.register(event, _add_dry_run)  # botocore 1.40 does not know DryRun yet
        try:
            return self.ask(operation, **arguments)
        finally:
            meta.events.unregister(event, _add_dry_run)

    def run(self, operation: str, call: Callable[[], Any]) -> Answer:
        """Return the answer of `call`, which uses the client."""
        if self.seconds_left <= 0:
            return Answer(operation, code=TIME_IS_UP, message="the time for the examination is up (--timeout)")
        began, wall = time.monotonic(), time.time()
        try:
            response = call()
        except Exception as failure:
            return self._failed(operation, failure, time.monotonic() - began, wall)
        seconds = time.monotonic() - began
        metadata = response.get("ResponseMetadata", {}) if isinstance(response, Mapping) else {}
        offset = self._note_offset(metadata, wall + seconds / 2)
        return Answer(operation, response, seconds=seconds, clock_offset=offset, is_from_service=True)

    def _failed(self, operation: str, failure: Exception, seconds: float, wall: float) -> Answer:
        from botocore.exceptions import ClientError

        from kplpy.aws.causes import FOR_CREDENTIALS
        from kplpy.aws.errors import classify

        error = classify(failure)
        metadata: Any = {}
        is_from_service = False
        if isinstance(failure, ClientError):
            metadata = failure.response.get("ResponseMetadata", {})
            status = str(metadata.get("HTTPStatusCode", ""))
            is_from_service = failure.operation_name not in FOR_CREDENTIALS and error.code not in (NOT_KINESIS, status)
        offset = self._note_offset(metadata, wall + seconds / 2)
        return Answer(operation, None, error.code, error.message, seconds, offset, is_from_service)

    def _note_offset(self, metadata: Mapping[str, Any], wall: float) -> float | None:
        """Return the offset by the Date header, which has whole seconds, cut off: half a second is added."""
        try:
            date = parsedate_to_datetime(metadata["HTTPHeaders"]["date"])
        except (KeyError, TypeError, ValueError):
            return None
        self.clock_offset = date.replace(tzinfo=date.tzinfo or timezone.utc).timestamp() + 0.5 - wall
        return self.clock_offset


def _add_dry_run(params: dict[str, Any], **_: Any) -> None:
    """Add DryRun to the JSON of a request that is not signed yet."""
    params["body"] = json.dumps({**json.loads(params["body"]), "DryRun": True}).encode()


def _is_worth_another_try(failure: BaseException) -> bool:
    from kplpy.aws.errors import is_retryable_response

    return is_retryable_response(failure) and error_code(failure) != DRY_RUN
