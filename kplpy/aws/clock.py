"""Signs requests with the service's time if this machine's clock is minutes wrong.

AWS refuses a signature that is more than five minutes old or ahead. The Date header of the refusal has AWS's time.
botocore ignores that header and signs with this machine's clock.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.auth import AUTH_TYPE_MAPS, SIGV4_TIMESTAMP, SigV4Auth

from kplpy.logs import log

logger = logging.getLogger(__name__)

# Seconds. AWS accepts five minutes either way, so a smaller difference is no reason for a refusal. The header has whole
# seconds. https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
TOLERANCE = 240.0
_REFUSALS = frozenset(
    {
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_SIGNER = "kplpy-v4"
_OFFSET = "kplpy_clock_offset"

# By endpoint: seconds by which its clock is ahead of this machine's.
_offsets: dict[str, float] = {}


class _SigV4AtServiceTime(SigV4Auth):
    """SigV4 with the service's time as timestamp.

    The method is private to botocore (1.40 to 1.44). add_auth calls it after it takes the time and before it uses it.
    With a version that does not, requests are signed with this machine's clock, as without this module.
    """

    def _modify_request_before_signing(self, request: Any) -> None:
        offset = timedelta(seconds=request.context[_OFFSET])
        request.context["timestamp"] = (datetime.now(timezone.utc) + offset).strftime(SIGV4_TIMESTAMP)
        super()._modify_request_before_signing(request)  # type: ignore[misc]


AUTH_TYPE_MAPS[_SIGNER] = _SigV4AtServiceTime


def correct_clock(client: Any) -> None:
    """Make the client learn the service's time from a refusal, and sign that request and later ones with it."""
    endpoint: str = client.meta.endpoint_url
    service = client.meta.service_model.service_id.hyphenize()

    def choose_signer(signature_version: Any, context: dict[str, Any], **_: Any) -> str | None:
        offset = _offsets.get(endpoint)
        if offset is None or signature_version != "v4":
            return None
        context[_OFFSET] = offset
        return _SIGNER

    def needs_retry(response: Any, attempts: int, request_dict: dict[str, Any], **_: Any) -> int | None:
        """Return 0, for one more attempt at once: a request with a refused signature has written nothing."""
        if attempts > 1 or response is None:
            return None
        offset = _offset_in_refusal(*response)
        signed_with = getattr(response[0], _OFFSET, request_dict["context"].get(_OFFSET, 0.0))
        if offset is None or abs(offset - signed_with) < TOLERANCE:
            return None
        _learn(endpoint, offset)
        return 0

    client.meta.events.register(f"choose-signer.{service}", choose_signer)
    client.meta.events.register(f"needs-retry.{service}", needs_retry)


def note_offset(http_response: Any, context: Mapping[str, Any]) -> None:
    """Note in a response the offset that its request was signed with, in case the client judges the response."""
    setattr(http_response, _OFFSET, context.get(_OFFSET, 0.0))


def _offset_in_refusal(http_response: Any, parsed: dict[str, Any]) -> float | None:
    """Return the seconds by which the service's clock is ahead, if the response refuses a signature."""
    if parsed.get("Error", {}).get("Code") not in _REFUSALS:
        return None
    try:
        date = parsedate_to_datetime(http_response.headers.get("Date"))
    except (TypeError, ValueError):
        return None
    return (date.replace(tzinfo=date.tzinfo or timezone.utc) - datetime.now(timezone.utc)).total_seconds()


def _learn(endpoint: str, offset: float) -> None:
    """Keep the offset, and log it unless a known endpoint has the same. Drop it once the clock is right."""
    if abs(offset) < TOLERANCE:
        _offsets.pop(endpoint, None)
        return
    is_known = any(abs(offset - each) < TOLERANCE for each in list(_offsets.values()))
    _offsets[endpoint] = offset
    if not is_known:
        log(logger, "clock_differs", {"endpoint": endpoint, "seconds": -round(offset)})
