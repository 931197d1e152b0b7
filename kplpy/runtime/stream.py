"""One stream of a producer: where its records are staged, and its core behind a lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kplpy.core.events import Events
from kplpy.core.hot_keys import KeyCounts
from kplpy.core.item import Completion, Item
from kplpy.core.notice import Notice
from kplpy.core.pipeline import Pipeline
from kplpy.future import Origin, RecordFuture

NEVER = float("inf")


class Stream:
    """`lock` guards the pipeline and every field below it; the fields above are read and written without it.

    A put appends to `staging` and then looks at `wake_at` and `nudged`; whoever plans writes those and then looks at
    `staging`. So one of the two sees the other, and no record is left behind.
    """

    def __init__(
        self,
        name: str,
        arn: str | None,
        pipeline: Pipeline,
        alarm: Callable[[], object],
        key_counts: KeyCounts | None = None,
    ) -> None:
        self._alarm = alarm  # has the scheduler visit
        self.name = name
        self.arn = arn
        self.origin = Origin(arn or name)
        self.staging: deque[RecordFuture] = deque()
        self.staged_bytes = 0  # approximate between two drains
        self.wake_at = NEVER  # a put that is due earlier nudges the scheduler
        self.visit_at = NEVER  # when the scheduler visits
        self.nudged = False  # the scheduler is to visit at once
        self.pressed = False  # room ran out: send what waits for company
        self.ready = False  # a sender is to visit
        self.senders = 0  # under way for this stream
        # Room's, guarded by its lock: drained and not answered.
        self.held_records = 0
        self.held_bytes = 0
        self.kept_records = 0  # granted to those who waited, not staged yet
        self.kept_bytes = 0

        self.lock = threading.Lock()
        self.holder = 0  # the thread that drains, for a put from a signal handler in the midst of it
        self.pipeline = pipeline
        self.key_counts = key_counts  # fed when records are drained; None: nobody asked for it
        self.flushes: list[Flush] = []
        self.being_answered: set[Results] = set()
        self.draining: list[RecordFuture] | None = None  # on their way from `staging` to the pipeline
        self.broken: BaseException | None = None  # what raised, and may have left the pipeline half changed

    @contextmanager
    def section(self) -> Iterator[None]:
        """The lock. Whatever raises within it, Ctrl-C included, has the pipeline made anew (see mending)."""
        with self.lock:
            self.holder = threading.get_ident()
            try:
                yield
            except GeneratorExit:  # the caller was interrupted before it came to anything
                raise
            except BaseException as error:
                self.breaks(error)
                raise
            finally:
                self.holder = 0

    def breaks(self, error: BaseException) -> None:
        self.broken = error
        self.nudged = True
        self._alarm()

    def is_broken(self) -> bool:
        return self.broken is not None

    def take_results(self) -> Results:
        """Under the lock: the pipeline's decisions, for Answering."""
        pipeline = self.pipeline
        notices, pipeline.notices = pipeline.notices, []
        results = Results(pipeline, pipeline.take_completions(), notices, pipeline.take_events())
        if results.completions:
            self.being_answered.add(results)
        return results

    def held_by_shard_of(self, hash_key: int) -> tuple[int, int]:
        """Records and bytes that one shard holds of a stream with several; nothing for the only shard."""
        if len(self.pipeline.map.open) < 2:
            return 0, 0
        return self.pipeline.held_by_shard_of(hash_key)

    def settled(self, items: list[Item]) -> None:
        """Under the lock: these are answered; flushes that waited for them end."""
        self.pipeline.settled(items)
        if self.flushes:
            for flush in [each for each in self.flushes if not self.pipeline.unflushed(each.mark)]:
                self.flushes.remove(flush)
                flush.notify()


class Results:
    """Answers that a pipeline decided on; the records are in `being_answered` until they have them."""

    __slots__ = ("completions", "events", "notices", "pipeline")

    def __init__(
        self, pipeline: Pipeline, completions: list[Completion], notices: list[Notice], events: Events
    ) -> None:
        self.pipeline = pipeline
        self.events = events
        self.completions = completions
        self.notices = notices


class Flush:
    """Somebody waits until nothing older than `mark` is outstanding; `notify` must not block."""

    __slots__ = ("mark", "notify")

    def __init__(self, mark: int, notify: Callable[[], object]) -> None:
        self.mark = mark
        self.notify = notify
