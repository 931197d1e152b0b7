"""The one exception the modelled service raises: an answer with an error code, as the real one gives it."""

from __future__ import annotations

# Of the operations (botocore's model of the API) and common to all of AWS's services:
# https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html. Of some there are two spellings in use.
CODES = frozenset(
    """
    AccessDenied AccessDeniedException DryRunOperationException ExpiredIteratorException ExpiredNextTokenException
    ExpiredToken ExpiredTokenException IncompleteSignature InternalError InternalFailure InternalFailureException
    InternalServerError InvalidAction InvalidArgumentException InvalidClientTokenId InvalidSignatureException
    KMSAccessDeniedException KMSDisabledException KMSInvalidStateException KMSNotFoundException KMSOptInRequired
    KMSThrottlingException LimitExceededException MalformedHttpRequestException MissingAuthenticationToken
    MissingAuthenticationTokenException NotAuthorized OptInRequired ProvisionedThroughputExceededException
    RequestAbortedException RequestEntityTooLarge RequestEntityTooLargeException RequestExpired RequestLimitExceeded
    RequestThrottled RequestThrottledException RequestTimeTooSkewed RequestTimeout RequestTimeoutException
    ResourceInUseException ResourceNotFoundException SerializationException ServiceUnavailable
    ServiceUnavailableException SignatureDoesNotMatch SlowDown Throttling ThrottlingException
    TokenRefreshRequired TooManyRequestsException UnknownOperationException UnrecognizedClientException
    UnsupportedMediaTypeException ValidationError ValidationException
    """.split()
)
"""Error codes of Kinesis."""


class ServiceError(Exception):
    """An error answer of the service.

    `code` is what botocore shows as Error.Code, `message` its text, `status` the HTTP status.
    """

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.status = status


def invalid_argument(message: str) -> ServiceError:
    return ServiceError("InvalidArgumentException", message)


def validation(message: str) -> ServiceError:
    return ServiceError("ValidationException", message)


def not_found(message: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", message)


def in_use(message: str) -> ServiceError:
    return ServiceError("ResourceInUseException", message)


def over_limit(message: str) -> ServiceError:
    return ServiceError("LimitExceededException", message)


def throttled(message: str) -> ServiceError:
    return ServiceError("ProvisionedThroughputExceededException", message)
