"""What a response means. Pure functions: (response, predicted shard, ranges) → what to do."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from kplpy.core.exchange import RequestError
from kplpy.core.policy import BACKOFF_BASE, BACKOFF_MAX
from kplpy.core.shard_range import ShardRange

THROTTLED = "ProvisionedThroughputExceededException"
# Firehose's codes of throttling, of a record and of a whole request: "the throughput limits have been exceeded".
# https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html and CommonErrors
DELIVERY_THROTTLED = frozenset(
    {
        "LimitExceededException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
    }
)
NOT_FOUND = "ResourceNotFoundException"
# kplpy's own code for an entry of the response that has neither a sequence number nor an error code.
MALFORMED = "MalformedEntry"
TOO_LARGE = "RequestEntityTooLarge"  # HTTP 413 from a proxy or gateway; the service has not seen the request


class Verdict(Enum):
    """What to do about a request-level error."""

    RETRY = auto()
    REFRESH_CREDENTIALS = auto()  # then retry; the sender has done so
    GRACE = auto()  # retry for a short while, then final
    SET_UP = auto()  # as GRACE, but the set-up is wrong, and the service has refused nothing
    HOPELESS = auto()  # as SET_UP, but final at once
    INVALID = auto()  # one of the records is the cause; find it by bisection
    TOO_LARGE = auto()  # the request is too large; send it in parts, and smaller requests from now on


# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html and CommonErrors
_ACCESS_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized"})
_EXPIRED_CREDENTIALS = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidSignatureException", "TokenRefreshRequired"}
)
_DENIED = _ACCESS_DENIED | frozenset(
    {
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidKMSResourceException",
        "InvalidSourceException",
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSNotFoundException",
        "KMSOptInRequired",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        NOT_FOUND,
        "UnrecognizedClientException",
        MALFORMED,
    }
)
# kplpy's own codes of a set-up that cannot work (from aws/causes.py), and UnknownOperationException, which other
# services respond with if the endpoint is not one of Kinesis.
NO_REGION = "NoRegion"
NOT_KINESIS = "NotKinesis"
UNKNOWN_OPERATION = "UnknownOperationException"
_SET_UP = frozenset(
    {
        "BadConfiguration",
        "CredentialProcessFailed",
        "CredentialsDenied",
        "LoginExpired",
        "MissingFile",
        "MissingPackage",
        "NoCredentials",
        "PartialCredentials",
        "ProfileNotFound",
        NOT_KINESIS,
        UNKNOWN_OPERATION,
    }
)
# The endpoint was not reached, or hung up. An http:// URL of an https:// endpoint leads to these errors too.
_UNREACHED = frozenset(
    {"ConnectTimeout", "ConnectionClosedError", "EndpointConnectionError", "ProxyConnectionError", "SSLError"}
)
_INVALID = frozenset(
    {
        "InvalidArgumentException",
        "InvalidParameterValue",
        "SerializationException",
        "ValidationError",
        "ValidationException",
    }
)


def needs_fresh_credentials(code: str) -> bool:
    """Return True if new credentials may help.

    Some of these errors are soon final all the same: a replaced key is unknown by now, or there was no key.
    """
    return code in _EXPIRED_CREDENTIALS or code in (
        "InvalidClientTokenId",
        "NoCredentials",
        "UnrecognizedClientException",
    )


def judge_error(error: RequestError) -> Verdict:
    """Classify a request-level error. An error that is not known to be final is retried until the TTL."""
    if error.code in _EXPIRED_CREDENTIALS:
        return Verdict.REFRESH_CREDENTIALS
    if error.code in _DENIED:
        return Verdict.GRACE
    if error.code == NO_REGION:
        return Verdict.HOPELESS
    if error.code in _SET_UP:
        return Verdict.SET_UP
    if error.code in _INVALID:
        return Verdict.INVALID
    if error.code == TOO_LARGE:
        return Verdict.TOO_LARGE
    return Verdict.RETRY


def is_access_denied(error: RequestError) -> bool:
    """Return True if these credentials may not make this request. Other requests may be allowed."""
    return error.code in _ACCESS_DENIED


def meets_puts_too(error: RequestError) -> bool:
    """Return True if PutRecords would meet this error of ListShards too.

    Then it is useless to wait for the shard map.
    """
    if error.code == NOT_FOUND or error.code in _UNREACHED:
        return True
    return judge_error(error) in (Verdict.SET_UP, Verdict.HOPELESS)


def backoff(failures: int, random: float) -> float:
    """Return the seconds to wait after this many failures in a row: exponential, full jitter. random: in [0, 1)."""
    ceiling = min(BACKOFF_MAX, BACKOFF_BASE * 2.0 ** min(failures, 16))
    return BACKOFF_BASE / 4 + random * (ceiling - BACKOFF_BASE / 4)


class Landing(Enum):
    """What the shard on which a Kinesis record landed means."""

    DELIVERED = auto()
    UNKNOWN_SHARD = auto()  # judge again after the next listing
    WRONG_SHARD = auto()  # consumers would drop it; send it again


def judge_landing(
    predicted: ShardRange | None, stays_in_range: bool, hash_keys: Iterable[int], known: ShardRange | None
) -> Landing:
    """Judge a Kinesis record by the range of the shard that it landed on. known: None if the range is unknown.

    stays_in_range: Batch.must_stay_in_range.

    A plain record is where the service put it, and counts. A KCL consumer drops a whole aggregate if one inner hash
    key is outside the shard's range. So an aggregate counts if its shard is the predicted one with the same range,
    or if all hash keys are inside. The id alone does not count: a recreated stream has the same ids with other ranges.
    """
    if not stays_in_range:
        return Landing.DELIVERED
    if known is None:
        return Landing.UNKNOWN_SHARD
    return Landing.DELIVERED if known == predicted or all(map(known.holds, hash_keys)) else Landing.WRONG_SHARD
