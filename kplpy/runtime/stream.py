"""One stream of a producer: where its records are staged, and its core behind a lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

from kplpy.core.events import Events
from kplpy.core.hot_keys import KeyCounts
from kplpy.core.item import NO_HASH_KEY, Completion, Item
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
        self.known_arn = arn  # of one that is put by name: None until the service says it
        self.same_as: Stream | None = None  # is put by ARN, and takes what is put by name, too
        self.staging: deque[RecordFuture] = deque()
        self.staged_bytes = 0  # approximate between two drains
        self.wake_at = NEVER  # a put that is due earlier nudges the scheduler
        self.visit_at = NEVER  # when the scheduler visits
        self.nudged = False  # the scheduler is to visit at once
        self.pressed = False  # room ran out: send what waits for company
        self.ready = False  # a sender is to visit
        self.senders: set[int] = set()  # the threads that send, or list, for this stream
        # Room's, guarded by its lock: drained and not answered.
        self.held_records = 0
        self.held_bytes = 0
        self.kept_records = 0  # granted to those who waited, not staged yet; and the portion
        self.kept_bytes = 0
        self.portion = 0  # so much may be staged before the next drain, in a tight room

        self.lock = threading.Lock()
        self.pipeline = pipeline
        self.key_counts = key_counts  # fed when records are drained; None: nobody asked for it
        self.flushes: list[Flush] = []
        self.being_answered: set[Results] = set()
        self.draining: list[RecordFuture] | None = None  # on their way from `staging` to the pipeline
        self.broken: BaseException | None = None  # what raised, and may have left the pipeline half changed
        self.guard = Guard(self)

    def breaks(self, error: BaseException) -> None:
        self.broken = error
        self.nudged = True
        self._alarm()

    def is_broken(self) -> bool:
        return self.broken is not None

    def take_results(self) -> list[Results]:
        """Under the lock: the pipeline's decisions, for this thread to answer; and what is left."""
        pipeline = self.pipeline
        notices, pipeline.notices = pipeline.notices, []
        results = Results(threading.get_ident(), pipeline.take_completions(), notices, pipeline.take_events())
        if results.completions:
            self.being_answered.add(results)
        return [results, *self.take_left()]

    def take_left(self) -> list[Results]:
        """Under the lock: what a thread was struck in the midst of, and what was decided before the core was mended."""
        left = [each for each in self.being_answered if not each.owner]
        for each in left:
            each.owner = threading.get_ident()
        return left

    def let_go(self, thread: int, error: BaseException) -> None:
        """The thread was struck by the error in the midst of its work: leave nothing in its hands."""
        with self.lock:
            if thread in self.senders:
                self.senders.discard(thread)
                self.breaks(error)  # nobody will bring the answer to its request
            for each in self.being_answered:
                if each.owner == thread:
                    each.owner = 0
                    each.struck = True
            self.nudged = True

    def held_by_shard_of(self, hash_key: int) -> tuple[int, int]:
        """Records and bytes that one shard holds of a stream with several; nothing for the only shard."""
        if len(self.pipeline.map.open) < 2:
            return 0, 0
        return self.pipeline.held_by_shard_of(hash_key)

    def most_held_by_a_shard(self) -> tuple[int, int]:
        """The most records, and the most bytes, that one shard holds of a stream with several."""
        if len(self.pipeline.map.open) < 2:
            return 0, 0
        return self.pipeline.most_held_by_a_shard()

    def place_of(self, hash_key: int) -> int:
        """Which of the stream's shards takes it, by a number that may change with the map."""
        shard_map = self.pipeline.map
        return shard_map.index_of(hash_key) if len(shard_map.open) > 1 and hash_key != NO_HASH_KEY else 0

    def settled(self, items: list[Item]) -> None:
        """Under the lock: these are answered; flushes that waited for them end."""
        self.pipeline.settled(items)
        if self.flushes:
            self.end_flushes()

    def end_flushes(self) -> None:
        """Those that wait for nothing any more. An error in between has one notified again, not forgotten."""
        for flush in [each for each in self.flushes if not self.pipeline.unflushed(each.mark)]:
            flush.ended = True
            flush.notify()
            self.flushes.remove(flush)


class Guard:
    """For `with stream.lock, stream.guard`: whatever raises, Ctrl-C included, has the pipeline made anew (see mending).

    Two of them, for only a lock itself is released whenever an exception strikes.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._stream.senders.discard(threading.get_ident())  # what it was at is none of the pipeline's any more
            self._stream.breaks(error)


class Results:
    """Answers that a pipeline decided on; the records are in `being_answered` until they have them.

    `owner`: the thread that gives them, 0 when an error made it leave them; then `struck`. `counted`, `released` and
    `reported` say how far it came, so that another can go on from there.
    """

    __slots__ = ("completions", "counted", "events", "notices", "owner", "released", "reported", "struck")

    def __init__(self, owner: int, completions: list[Completion], notices: list[Notice], events: Events | None) -> None:
        self.owner = owner
        self.completions = completions
        self.notices = notices
        self.events = events
        self.struck = False
        self.counted = False  # by the meter
        self.released = False  # their room
        self.reported = 0  # how many of those that failed were told to on_failure

    def items(self) -> list[Item]:
        return [item for completion in self.completions for item in completion.items]


class Flush:
    """Somebody waits until nothing older than `mark` is outstanding. `notify` must not block, and may come twice."""

    __slots__ = ("ended", "mark", "notify")

    def __init__(self, mark: int, notify: Callable[[], object]) -> None:
        self.mark = mark
        self.notify = notify
        self.ended = False
