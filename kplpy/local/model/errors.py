"""ServiceError, the only exception of the modelled service: an error response as the real service sends it."""

from __future__ import annotations

# The errors of the operations are from botocore's model of the API. The errors common to all AWS services are from
# https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html. Some are in use in two spellings.
CODES = frozenset(
    """
    AccessDenied AccessDeniedException DryRunOperationException ExpiredIteratorException ExpiredNextTokenException
    ExpiredToken ExpiredTokenException IncompleteSignature InternalError InternalFailure InternalFailureException
    InternalServerError InternalServiceError InvalidAction InvalidArgumentException InvalidClientTokenId
    InvalidKMSResourceException InvalidParameterCombination InvalidParameterValue InvalidSignatureException
    InvalidSourceException KMSAccessDeniedException KMSDisabledException KMSInvalidStateException KMSNotFoundException
    KMSOptInRequired KMSThrottlingException LimitExceededException MalformedHttpRequestException
    MissingAuthenticationToken MissingAuthenticationTokenException MissingParameter NotAuthorized OptInRequired
    ProvisionedThroughputExceededException RequestAbortedException RequestEntityTooLarge RequestEntityTooLargeException
    RequestExpired RequestLimitExceeded RequestThrottled RequestThrottledException RequestTimeTooSkewed RequestTimeout
    RequestTimeoutException ResourceInUseException ResourceNotFoundException SerializationException ServiceUnavailable
    ServiceUnavailableException SignatureDoesNotMatch SlowDown Throttling ThrottlingException TokenRefreshRequired
    TooManyRequestsException UnknownOperationException UnrecognizedClientException UnsupportedMediaTypeException
    ValidationError ValidationException
    """.split()
)
"""The error codes of Kinesis, Firehose and CloudWatch."""


class ServiceError(Exception):
    """An error response of the modelled service.

    code: the error code, which botocore shows as Error.Code
    message: the error's text
    status: the HTTP status
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
