"""What is told of a record that was given up: the error's class, its text, and whether anybody looked."""

from __future__ import annotations

from collections.abc import Callable

from kplpy.core.item import Failed, Reason
from kplpy.errors import (
    ForkedError,
    KplpyError,
    RecordExpiredError,
    RecordFailedError,
    RejectedError,
    SetupError,
    ThrottledError,
)
from kplpy.records import Attempt, UserRecord

_ERRORS: dict[Reason, type[RecordFailedError]] = {
    Reason.EXPIRED: RecordExpiredError,
    Reason.THROTTLED: ThrottledError,
    Reason.REJECTED: RejectedError,
    Reason.SET_UP: SetupError,
    Reason.TOO_LARGE: RejectedError,
    Reason.FORKED: ForkedError,
}
_WHY = {
    Reason.EXPIRED: "expired: not delivered within its time to live",
    Reason.THROTTLED: "was throttled, and fail_if_throttled is set",
    Reason.REJECTED: "was refused by the service",
    Reason.SET_UP: "cannot be sent",
    Reason.TOO_LARGE: "is too large",
    Reason.FORKED: "belongs to the parent process, which delivers it; this forked child cannot know its answer",
}


def error_of(
    outcome: Failed, stream: str, record: UserRecord, attempts: tuple[Attempt, ...], maybe_written: bool
) -> KplpyError:
    """The exception that the record's future raises, made anew for each who asks."""
    cause = outcome.cause
    if outcome.reason is Reason.REFUSED and isinstance(cause, KplpyError):
        return type(cause)(*cause.args)
    if isinstance(outcome, Observed):
        outcome.observed = True
    why = _WHY.get(outcome.reason) or f"was not delivered: {outcome.message}"
    if outcome.reason in (Reason.REJECTED, Reason.SET_UP, Reason.TOO_LARGE):
        why += f" ({outcome.message})"
    tried = f"{len(attempts)} attempt{'s' if len(attempts) != 1 else ''}"
    if attempts:
        last = f"{attempts[-1].error_code}: {attempts[-1].error_message}"
        tried += f", the last: {last}"
        cause = cause or KplpyError(last)
    elif outcome.reason is Reason.EXPIRED and outcome.message != Reason.EXPIRED.value:
        tried += f"; {outcome.message}"
        cause = cause or KplpyError(outcome.message)
    written = "; it may have been written all the same" if maybe_written else ""
    message = f"a record of stream {stream!r} {why}; {tried}{written}"
    kind = _ERRORS.get(outcome.reason, RecordFailedError)
    return kind(message, stream, record, attempts, maybe_written, cause)


class Observed(Failed):
    """A failure that knows whether anybody looked at it, and tells `unseen` when it is dropped without."""

    __slots__ = ("observed", "unseen")

    def __init__(self, failure: Failed, unseen: Callable[[str], None]) -> None:
        super().__init__(failure.reason, failure.message, failure.cause)
        self.observed = False
        self.unseen = unseen

    def __del__(self) -> None:
        if not self.observed:
            self.unseen(f"{self.reason.value}: {self.message}")
