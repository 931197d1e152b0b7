"""A record that was given up: the exception that its future raises, and the count of those that nobody looked at."""

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
"""Seconds that a failure may wait for somebody to look at it, before it is logged."""
MOST_CODES = 100
"""Different codes that are counted apart."""

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
    why = _WHY.get(outcome.reason) or f"was not delivered: {outcome.message}"
    if outcome.reason in (Reason.REJECTED, Reason.SET_UP, Reason.TOO_LARGE):
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
    """Return the code that a failed record is counted by: its error's, or "Expired after" the last attempt's."""
    code = failure.code or (tries[-1].code if tries else "") or ""
    kind = _KINDS.get(failure.reason)
    if kind is None:
        return code or failure.reason.value
    return f"{kind} after {code}" if code else kind


# The reasons that are no answer of the service's: what the last answer was is told beside them.
_KINDS = {Reason.EXPIRED: "Expired", Reason.CLOSED: "Closed", Reason.BROKEN: "Broken"}


class Tally:
    """The failures of one stream with one code. The futures' lock guards the first three.

    given: how many records failed so. looked: at how many of these somebody looked. unseen: the outcome of the others.
    before: `given` at the report before. said: how many of them were logged as unseen.
    """

    __slots__ = ("before", "code", "given", "looked", "said", "stream", "unseen")

    def __init__(self, stream: str, code: str, failure: Failed) -> None:
        self.stream = stream
        self.code = code
        self.given = self.looked = self.before = self.said = 0
        self.unseen = Unseen(failure, self)


class Unseen(Failed):
    """The outcome of failed records that nobody looked at yet. `failure`: their outcome once somebody does."""

    __slots__ = ("failure", "tally")

    def __init__(self, failure: Failed, tally: Tally) -> None:
        super().__init__(failure.reason, failure.message, failure.cause, failure.code)
        self.failure = failure
        self.tally = tally

    def look(self) -> Failed:
        """Somebody looks at the failure of one record. Returns what is to be its outcome. Under the futures' lock."""
        self.tally.looked += 1
        return self.failure


class Counts(dict[str, int]):
    """Numbers by error code, largest first; as a text `3 AccessDeniedException, 1 Expired`."""

    def __str__(self) -> str:
        return ", ".join(f"{count} {code}" for code, count in self.items())


class UnseenFailures:
    """Counts the failures of one producer when they are given, and logs those that nobody looked at.

    A failure is logged between LOOK_GRACE and 2 * LOOK_GRACE seconds after it was given, at most one line each 30 s;
    close() logs the sum. `count` is called under the futures' lock. `lock` guards when to report.
    """

    def __init__(self, logger: logging.Logger, remind: Remind, lock: Any) -> None:
        self._logger = logger
        self._remind = remind
        self._lock = lock
        self._page = fork.page()
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._codes: set[str] = set()
        self._report_at = NEVER
        self._counted = False  # something was, since the report before
        self._said_at = -NEVER
        self._summed = 0  # how many the last sum was of

    def count(self, failure: Failed, stream: str, tries: Sequence[SendAttempt]) -> Unseen:
        """Count one record's failure, which nobody looked at so far; returns what is to be its outcome."""
        code = code_of(failure, tries)
        tally = self._tallies.get((stream, code)) or self._new_tally(stream, code, failure)
        if tally.unseen.failure is not failure:
            tally.unseen = Unseen(failure, tally)
        tally.given += 1
        if not self._counted:
            self._expect_report()
        return tally.unseen

    def _new_tally(self, stream: str, code: str, failure: Failed) -> Tally:
        if len(self._codes) >= MOST_CODES and code not in self._codes:  # of a broken endpoint they may be without end
            code = "other codes"
        self._codes.add(code)
        return self._tallies.setdefault((stream, code), Tally(stream, code, failure))

    def _expect_report(self) -> None:
        with self._lock:
            self._counted = True
            idle = self._report_at == NEVER
            if idle:
                self._report_at = time.monotonic() + LOOK_GRACE
        if idle:
            self._remind(LOOK_GRACE)

    def report(self) -> float:
        """Log what nobody looked at in time; returns in how many seconds to call again, or infinity."""
        if self._report_at == NEVER or not self._page[0]:
            return NEVER
        with self._lock:
            now = time.monotonic()
            if now < self._report_at:
                return self._report_at - now
            tallies = list(self._tallies.values())
            late = self._late(tallies) if now >= self._said_at + INTERVAL else {}
            for tally in tallies:
                tally.before = tally.given
            if late:
                self._said_at = now
                for tally, count in late.items():
                    tally.said += count
            more = self._counted or any(_unseen(tally) > tally.said for tally in tallies)
            self._counted = False
            self._report_at = max(now + LOOK_GRACE, self._said_at + INTERVAL) if more else NEVER
        if late:
            log(self._logger, "records_failed_unseen", _fields(late))
        return self._report_at - now

    def _late(self, tallies: list[Tally]) -> dict[Tally, int]:
        """How many failures of each tally were given before the last report, are unseen, and were not logged."""
        late = {}
        for tally in tallies:
            tally.said = min(tally.said, _unseen(tally))
            count = tally.before - tally.looked - tally.said
            if count > 0:
                late[tally] = count
        return late

    def close(self) -> None:
        """Log how many failures in all nobody has looked at, unless that was logged before."""
        if not self._page[0]:
            return
        with self._lock:
            left = {tally: count for tally in list(self._tallies.values()) if (count := _unseen(tally)) > 0}
            total = sum(left.values())
            if total <= self._summed:
                return
            self._summed = total
            self._report_at = NEVER
        log(self._logger, "closed_with_unseen_failures", _fields(left))


def _fields(counts: dict[Tally, int]) -> dict[str, object]:
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
    return tally.given - tally.looked
