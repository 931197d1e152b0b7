"""Giving records their answers: futures, room, callbacks, and only then the count that flush waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

from kplpy.core.events import Events
from kplpy.core.item import Completion, Delivered, Failed, Item
from kplpy.core.notice import Notice
from kplpy.core.retry import RequestError
from kplpy.errors import RecordFailedError
from kplpy.failures import UnseenFailures
from kplpy.future import RecordFuture, answer_all, answer_each, run_callbacks
from kplpy.repeats import Causes, Remind, Repeats
from kplpy.runtime.admission import RECORD_OVERHEAD, Room
from kplpy.runtime.metering import Meter
from kplpy.runtime.stream import Results, Stream
from kplpy.runtime.troubles import Troubles

logger = logging.getLogger(__name__)


class Answering:
    """Runs on the thread that got the answers, without the stream's lock but for two moments."""

    def __init__(
        self,
        room: Room,
        on_failure: Callable[[RecordFailedError], object] | None,
        meter: Meter,
        troubles: Troubles,
        remind: Remind,
    ) -> None:
        self._room = room
        self._troubles = troubles
        self._meter = meter
        self._on_failure = on_failure
        lock = threading.RLock()  # of all that is logged here
        self.locks = (lock,)
        self.unseen = UnseenFailures(logger, remind, lock)
        self._report_errors = Repeats(logger, "on_failure_raised", remind, lock)
        self._callback_errors = Repeats(logger, "callbacks_raised", remind, lock)
        self._throttled = Repeats(logger, "records_throttled", remind, lock)
        self._causes = Causes(logger, remind, lock)
        self._notices: dict[str, Repeats] = {}
        self._remind, self._lock = remind, lock

    def tell(self, stream: Stream, error: RequestError | None, throttled: int) -> None:
        """Log how a request ended, except what became of its records."""
        if error is not None:
            self._troubles.note(stream.name, f"{error.code}: {error.message}")
            self._causes.say(stream.name, "PutRecords", error.code, error.message)
        if throttled:
            self._troubles.throttled()
            self._throttled.say(times=throttled, stream=stream.name)

    def _note(self, stream: Stream, notice: Notice) -> None:
        if notice.event == "requests_failed":
            self._causes.say(stream.name, **notice.fields)
            return
        repeats = self._notices.get(notice.event)
        if repeats is None:
            made = Repeats(logger, notice.event, self._remind, self._lock)
            repeats = self._notices.setdefault(notice.event, made)
        repeats.say("", None, 1, stream.name, **notice.fields)

    def finish(self, stream: Stream, results: Sequence[Results]) -> None:
        """Give the answers. What an earlier thread did of it before an error struck it is not done again."""
        for each in results:
            self._finish(stream, each)

    def _finish(self, stream: Stream, results: Results) -> None:
        while results.notices:
            self._note(stream, results.notices.pop(0))
        completions, events = results.completions, results.events
        if not results.counted and (completions or events):
            results.counted = True
            # First of all: a delivered record's data is let go.
            accepted = stream.pipeline.totals.user_records_accepted
            self._meter.record(stream.origin.stream, events or Events(), completions, accepted, time.monotonic())
        if not completions:
            return
        called = self._answer(completions, results.struck)
        items: list[Item] = []
        size = 0
        for completion in completions:  # some thousands at a time
            items += completion.items
            size += completion.size
            if completion.outcome.__class__ is Failed:
                self._troubles.note(stream.name, completion.outcome.message)
        with stream.lock, stream.guard:
            if not results.released:
                results.released = True
                self._room.release(stream, len(items), size + len(items) * RECORD_OVERHEAD)
        if self._on_failure is not None:
            self._report(results, self._on_failure)
        self.run_callbacks(called)
        with stream.lock, stream.guard:
            if results in stream.being_answered:
                stream.being_answered.discard(results)
                stream.settled(items)

    def run_callbacks(self, futures: list[RecordFuture]) -> None:
        """Those of futures that `answer` returned."""
        run_callbacks(futures, self._callback_errors.say)

    @property
    def _logged(self) -> tuple[Repeats | Causes | UnseenFailures, ...]:
        repeats = (self._report_errors, self._callback_errors, self._throttled, *list(self._notices.values()))
        return (self._causes, *repeats, self.unseen)

    def _answer(self, completions: list[Completion], again: bool) -> list[RecordFuture]:
        unseen = None if self._on_failure is not None else self.unseen
        answers: list[tuple[Sequence[RecordFuture], Delivered | Failed]] = []
        for each in completions:
            futures = cast("list[RecordFuture]", each.items)  # all our producer's
            if each.outcomes is None:
                answers.append((futures, each.outcome))
            else:
                answers += answer_each(futures, each.outcomes)
        return answer_all(answers, unseen, again)

    def _report(self, results: Results, on_failure: Callable[[RecordFailedError], object]) -> None:
        failed = [each for each in results.completions if isinstance(each.outcome, Failed)]
        for future in [item for completion in failed for item in completion.items][results.reported :]:
            assert isinstance(future, RecordFuture)
            error = future.exception()
            try:
                if isinstance(error, RecordFailedError):
                    on_failure(error)
            except BaseException as raised:  # whatever it is, this thread has other records to answer
                self._report_errors.say(f"{type(raised).__name__}: {raised}", raised)
            results.reported += 1

    def report(self) -> float:
        """Log what was held back for long enough; returns in how many seconds to call again, or infinity."""
        return min(each.report() for each in self._logged)

    def close(self) -> None:
        """Log what was held back."""
        for each in self._logged:
            each.close()
