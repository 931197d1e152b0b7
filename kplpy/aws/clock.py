"""Signs with the service's time where this machine's clock is minutes wrong.

AWS refuses a signature that is more than five minutes old or ahead, and says its own time in the refusal's Date header.
botocore signs with this machine's clock whatever the answer.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.auth import AUTH_TYPE_MAPS, SIGV4_TIMESTAMP, SigV4Auth

from kplpy.logs import log

logger = logging.getLogger(__name__)

# https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html: five minutes either way. Less
# is no reason for a refusal, and the header has whole seconds.
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

# By endpoint: the seconds that its clock is ahead of this machine's.
_offsets: dict[str, float] = {}


class _SigV4AtServiceTime(SigV4Auth):
    """SigV4 whose timestamp is the service's.

    The method is private (botocore 1.40 to 1.44): add_auth calls it between taking the time and using it. If a version
    does not, requests are signed with this machine's clock, as without this module.
    """

    def _modify_request_before_signing(self, request: Any) -> None:
        offset = timedelta(seconds=request.context[_OFFSET])
        request.context["timestamp"] = (datetime.now(timezone.utc) + offset).strftime(SIGV4_TIMESTAMP)
        super()._modify_request_before_signing(request)  # type: ignore[misc]


AUTH_TYPE_MAPS[_SIGNER] = _SigV4AtServiceTime


def correct_clock(client: Any) -> None:
    """Have the client learn the service's time from a refusal, sign that request again with it, and later ones."""
    endpoint: str = client.meta.endpoint_url
    service = client.meta.service_model.service_id.hyphenize()

    def choose_signer(signature_version: Any, context: dict[str, Any], **_: Any) -> str | None:
        offset = _offsets.get(endpoint)
        if offset is None or signature_version != "v4":
            return None
        context[_OFFSET] = offset
        return _SIGNER

    def needs_retry(response: Any, attempts: int, request_dict: dict[str, Any], **_: Any) -> int | None:
        """Return 0 for one more attempt at once: a request whose signature was refused has written nothing."""
        if attempts > 1 or response is None:
            return None
        offset = _offset_told(*response)
        if offset is None or abs(offset - request_dict["context"].get(_OFFSET, 0.0)) < TOLERANCE:
            return None
        _learn(endpoint, offset)
        return 0

    client.meta.events.register(f"choose-signer.{service}", choose_signer)
    client.meta.events.register(f"needs-retry.{service}", needs_retry)


def _offset_told(http_response: Any, parsed: dict[str, Any]) -> float | None:
    """Return the seconds that the service's clock is ahead, if a signature was refused."""
    if parsed.get("Error", {}).get("Code") not in _REFUSALS:
        return None
    try:
        date = parsedate_to_datetime(http_response.headers.get("Date"))
    except (TypeError, ValueError):
        return None
    return (date.replace(tzinfo=date.tzinfo or timezone.utc) - datetime.now(timezone.utc)).total_seconds()


def _learn(endpoint: str, offset: float) -> None:
    """Say it, unless another request, or another endpoint, has shown the same; forget it once the clock is right."""
    if abs(offset) < TOLERANCE:
        _offsets.pop(endpoint, None)
        return
    is_known = any(abs(offset - each) < TOLERANCE for each in list(_offsets.values()))
    _offsets[endpoint] = offset
    if not is_known:
        log(logger, "clock_differs", {"endpoint": endpoint, "seconds": -round(offset)})
