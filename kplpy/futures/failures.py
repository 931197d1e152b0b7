"""Failed records: their exceptions, and the count of failures that nobody has looked at."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from kplpy.core.outcome import Failed, Reason
from kplpy.core.record import SendAttempt
from kplpy.errors import (
    ForkedError,
    KplpyError,
    RecordExpiredError,
    RecordFailedError,
    RecordSpooledError,
    RejectedError,
    SetupError,
    ThrottledError,
)
from kplpy.escaping import shown
from kplpy.logs import log
from kplpy.process import fork
from kplpy.rate_limited_log import INTERVAL, NEVER, Remind, and_others
from kplpy.records import Attempt, UserRecord

LOOK_GRACE = 5.0
"""Seconds in which the application can look at a failure before it is logged."""
MAX_CODES = 100
"""Error codes that are counted separately. All others are counted together."""

_ERRORS: dict[Reason, type[RecordFailedError]] = {
    Reason.EXPIRED: RecordExpiredError,
    Reason.THROTTLED: ThrottledError,
    Reason.REJECTED: RejectedError,
    Reason.SET_UP: SetupError,
    Reason.HEADERS: RejectedError,
    Reason.TOO_LARGE: RejectedError,
    Reason.FORKED: ForkedError,
    Reason.SPOOLED: RecordSpooledError,
}
_WHY = {
    Reason.EXPIRED: "expired: not delivered within its time to live",
    Reason.THROTTLED: "was throttled, and fail_if_throttled is set",
    Reason.REJECTED: "was refused by the service",
    Reason.SET_UP: "cannot be sent",
    Reason.HEADERS: "has headers that cannot be sent",
    Reason.TOO_LARGE: "is too large",
    Reason.DROPPED: "was dropped as one of the oldest, because the spool was full",
    Reason.DAMAGED: "was damaged in the spool",
    Reason.FORKED: "belongs to the parent process, which delivers it; this forked child cannot know its outcome",
}


def error_of(
    outcome: Failed, stream: str, record: UserRecord, attempts: tuple[Attempt, ...], maybe_written: bool
) -> KplpyError:
    """Return the exception that the record's future raises. Each call makes a new one."""
    cause = outcome.cause
    if outcome.reason is Reason.REFUSED and isinstance(cause, KplpyError):
        return type(cause)(*cause.args)
    why = _WHY.get(outcome.reason) or f"was not delivered: {outcome.message}"
    if outcome.reason in (Reason.REJECTED, Reason.SET_UP, Reason.TOO_LARGE, Reason.HEADERS):
        why += f" ({outcome.message})"
    tried = f"{len(attempts)} attempt{'s' if len(attempts) != 1 else ''}"
    if attempts:
        last = f"{attempts[-1].error_code}: {attempts[-1].error_message}"
        if last not in why:
            tried += f", the last: {last}"
        cause = cause or KplpyError(last)
    elif outcome.reason is Reason.EXPIRED and outcome.message != Reason.EXPIRED.value:
        tried += f"; {outcome.message}"
        cause = cause or KplpyError(outcome.message)
    written = "; it may have been written all the same" if maybe_written else ""
    message = f"a record of stream {stream!r} {why}; {tried}{written}"
    kind = _ERRORS.get(outcome.reason, RecordFailedError)
    return kind(shown(message), stream, record, attempts, maybe_written, cause)


def code_of(failure: Failed, tries: Sequence[SendAttempt]) -> str:
    """Return the code that a failed record is counted by.

    This is the error's code, or a form like "Expired after" with the code of the last attempt.
    """
    code = failure.code or (tries[-1].code if tries else "") or ""
    kind = _KINDS.get(failure.reason)
    if kind is None:
        return code or failure.reason.value
    return f"{kind} after {code}" if code else kind


# The reasons that do not come from the service. The code of the last response is shown after them.
_KINDS = {Reason.EXPIRED: "Expired", Reason.CLOSED: "Closed", Reason.BROKEN: "Broken"}


class Tally:
    """The failures of one stream with one code. The futures' lock guards failed, seen and unseen.

    failed: records that failed with this code.
    seen: failed records that the application has looked at.
    unseen: the outcome of the others.
    failed_before: `failed` at the last report.
    logged: failed records that were logged as unseen.
    """

    __slots__ = ("code", "failed", "failed_before", "logged", "seen", "stream", "unseen")

    def __init__(self, stream: str, code: str, failure: Failed) -> None:
        self.stream = stream
        self.code = code
        self.failed = self.seen = self.failed_before = self.logged = 0
        self.unseen = Unseen(failure, self)


class Unseen(Failed):
    """The outcome of failed records that nobody has looked at.

    failure: replaces this outcome when the application looks at the record.
    """

    __slots__ = ("failure", "tally")

    def __init__(self, failure: Failed, tally: Tally) -> None:
        super().__init__(failure.reason, failure.message, failure.cause, failure.code)
        self.failure = failure
        self.tally = tally

    def mark_seen(self) -> Failed:
        """Count one record's failure as seen, and return its new outcome. Under the futures' lock."""
        self.tally.seen += 1
        return self.failure


class Counts(dict[str, int]):
    """Numbers by error code, largest first. str() gives `3 AccessDeniedException, 1 Expired`."""

    def __str__(self) -> str:
        return ", ".join(f"{count} {code}" for code, count in self.items())


class UnseenFailures:
    """Counts the failures of one producer, and logs the ones that nobody looks at.

    A failure is logged LOOK_GRACE to 2 * LOOK_GRACE seconds after it occurred, with at most one line each 30 s. close()
    logs the total. `count` is called under the futures' lock. `lock` guards the time of the next report.
    """

    def __init__(self, logger: logging.Logger, remind: Remind, lock: Any) -> None:
        self._logger = logger
        self._remind = remind
        self._lock = lock
        self._page = fork.page()
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._codes: set[str] = set()
        self._report_at = NEVER
        self._has_new = False  # a failure was counted since the last report
        self._logged_at = -NEVER
        self._logged_total = 0  # the total that close() logged last

    def count(self, failure: Failed, stream: str, tries: Sequence[SendAttempt]) -> Unseen:
        """Count one record's failure as unseen, and return its outcome. Under the futures' lock."""
        code = code_of(failure, tries)
        tally = self._tallies.get((stream, code)) or self._new_tally(stream, code, failure)
        if tally.unseen.failure is not failure:
            tally.unseen = Unseen(failure, tally)
        tally.failed += 1
        if not self._has_new:
            self._expect_report()
        return tally.unseen

    def _new_tally(self, stream: str, code: str, failure: Failed) -> Tally:
        if len(self._codes) >= MAX_CODES and code not in self._codes:  # a broken endpoint may give any number of codes
            code = "other codes"
        self._codes.add(code)
        return self._tallies.setdefault((stream, code), Tally(stream, code, failure))

    def _expect_report(self) -> None:
        with self._lock:
            self._has_new = True
            idle = self._report_at == NEVER
            if idle:
                self._report_at = time.monotonic() + LOOK_GRACE
        if idle:
            self._remind(LOOK_GRACE)

    def report(self) -> float:
        """Log the failures that nobody looked at in time. Return the seconds until the next call, or infinity."""
        if self._report_at == NEVER or not self._page[0]:
            return NEVER
        with self._lock:
            now = time.monotonic()
            if now < self._report_at:
                return self._report_at - now
            tallies = list(self._tallies.values())
            late = self._late(tallies) if now >= self._logged_at + INTERVAL else {}
            for tally in tallies:
                tally.failed_before = tally.failed
            if late:
                self._logged_at = now
                for tally, count in late.items():
                    tally.logged += count
            more = self._has_new or any(_unseen(tally) > tally.logged for tally in tallies)
            self._has_new = False
            self._report_at = max(now + LOOK_GRACE, self._logged_at + INTERVAL) if more else NEVER
        if late:
            log(self._logger, "records_failed_unseen", _fields(late))
        return self._report_at - now

    def _late(self, tallies: list[Tally]) -> dict[Tally, int]:
        """Return by tally the unseen failures from before the last report that were not logged."""
        late = {}
        for tally in tallies:
            tally.logged = min(tally.logged, _unseen(tally))
            count = tally.failed_before - tally.seen - tally.logged
            if count > 0:
                late[tally] = count
        return late

    def close(self) -> None:
        """Log the total of unseen failures, unless the same total was logged before."""
        if not self._page[0]:
            return
        with self._lock:
            left = {tally: count for tally in list(self._tallies.values()) if (count := _unseen(tally)) > 0}
            total = sum(left.values())
            if total <= self._logged_total:
                return
            self._logged_total = total
            self._report_at = NEVER
        log(self._logger, "closed_with_unseen_failures", _fields(left))


def _fields(counts: dict[Tally, int]) -> dict[str, object]:
    """Return the fields of the log event for these counts."""
    by_code: Counter[str] = Counter()
    for tally, count in counts.items():
        by_code[tally.code] += count
    most = max(counts, key=lambda tally: counts[tally])
    return {
        "stream": and_others(most.stream, len({tally.stream for tally in counts}) - 1),
        "count": sum(by_code.values()),
        "codes": Counts(by_code.most_common()),
        "reason": f"{most.unseen.reason.value}: {most.unseen.message}",
    }


def _unseen(tally: Tally) -> int:
    return tally.failed - tally.seen
