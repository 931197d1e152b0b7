"""The one exception the modelled service raises: an answer with an error code, as the real one gives it."""

from __future__ import annotations


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
