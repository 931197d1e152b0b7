"""Producer.connect(): does what a stream's first record would wait for, and raises the errors it would get."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kplpy.concurrency import WakeSignal
from kplpy.core import policy as rules
from kplpy.core.exchange import ListingError, RequestError
from kplpy.core.results.retry_policy import Verdict, backoff, is_access_denied, judge_error
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange
from kplpy.errors import RecordExpiredError, RecordFailedError, RejectedError, SetupError
from kplpy.process.threads import start_thread
from kplpy.runtime.control_plane import ControlPlane
from kplpy.runtime.threads import JOIN_TIMEOUT


@dataclass(frozen=True, slots=True)
class Learnt:
    """What the service reported of a stream. Immutable, so any thread may read it.

    shards: None if listing them is denied; puts work without.
    """

    asked_at: float
    shards: Sequence[ShardRange] | None
    summary: Summary


class Connection:
    """One call of connect(). Its work runs on a thread "kplpy-connect", or on the calling thread.

    take: called with the result. note: called with the reason of a failed attempt.
    timeout: seconds.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        name: str,
        arn: str | None,
        take: Callable[[Learnt], object],
        note: Callable[[str], object],
        timeout: float,
    ) -> None:
        self._control_plane = control_plane
        self._name = name
        self._arn = arn
        self._take = take
        self._note = note
        self._timeout = timeout
        self._started = time.monotonic()
        self._denied_since = float("inf")
        self._latest: RequestError | None = None
        self._raised: BaseException | None = None
        self._ended = WakeSignal()

    def run(self, threads_may_run: bool) -> None:
        """Ask until the response is final. Raise the error that a put would get.

        A separate thread does the work, because botocore's calls have longer timeouts. If no thread can be started,
        the calling thread does the work, and may take as long as these timeouts.
        """
        worker = threading.Thread(target=self._work, name="kplpy-connect", daemon=True)
        if not (threads_may_run and start_thread(worker)):
            self._work()
        if not self._ended.wait(self._timeout):
            if self._latest is None:
                self._note(f"connect() had no response within {self._timeout:g} s")
            raise self._error(self._latest)
        if worker.is_alive():  # it has nothing left to do, and a fork or a snapshot may follow
            worker.join(JOIN_TIMEOUT)
        if self._raised is not None:
            raise self._raised

    def _work(self) -> None:
        try:
            self._ask_until_final()
        except BaseException as raised:  # raised in the calling thread
            self._raised = raised
        finally:
            self._ended.wake()

    def _ask_until_final(self) -> None:
        failures = 0
        while True:
            result = self._ask()
            if isinstance(result, Learnt):
                self._take(result)
                return
            self._latest = result
            self._note(f"{result.code}: {result.message}")
            left = self._seconds_left(result, time.monotonic())
            if left <= 0:
                raise self._error(result)
            time.sleep(min(left, backoff(failures, random.random())))
            failures += 1

    def _ask(self) -> Learnt | RequestError:
        """Make the client, list the shards and describe the stream, once."""
        error = self._control_plane.connect(self._arn)
        if error is not None:
            return error
        asked_at = time.monotonic()
        shards: Sequence[ShardRange] | None = None
        try:
            shards = self._control_plane.list_shards(self._name, self._arn)
        except ListingError as failure:
            error = failure.error or RequestError("ListingFailed", str(failure), maybe_written=False)
            if not is_access_denied(error):
                return error
        return Learnt(asked_at, shards, self._control_plane.describe(self._name, self._arn))

    def _seconds_left(self, error: RequestError, now: float) -> float:
        """Return for how many more seconds a put would be retried after this error, within the timeout."""
        verdict = judge_error(error)
        if verdict in (Verdict.HOPELESS, Verdict.INVALID):
            return 0.0
        end = self._started + self._timeout
        if verdict in (Verdict.GRACE, Verdict.SET_UP):
            self._denied_since = min(self._denied_since, now)
            end = min(end, self._denied_since + rules.DENIED_GRACE)
        return end - now

    def _error(self, error: RequestError | None) -> RecordFailedError:
        stream = self._arn or self._name
        if error is None:
            return RecordExpiredError(f"stream {stream!r} gave no response within {self._timeout:g} s", stream)
        verdict = judge_error(error)
        reason = f"{error.code}: {error.message}"
        if verdict in (Verdict.SET_UP, Verdict.HOPELESS):
            return SetupError(f"stream {stream!r} cannot be reached ({reason})", stream, cause=error.cause)
        if verdict in (Verdict.GRACE, Verdict.INVALID):
            return RejectedError(f"stream {stream!r} was refused by the service ({reason})", stream, cause=error.cause)
        why = f"stream {stream!r} was not reached within {self._timeout:g} s; the last attempt: {reason}"
        return RecordExpiredError(why, stream, cause=error.cause)
