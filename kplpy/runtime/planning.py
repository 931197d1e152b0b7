"""Taking staged records into a stream's core, and seeing that somebody comes when it has something to do.

By whoever holds the stream's lock: a putting thread, the scheduler, a sender.
"""

from __future__ import annotations

from itertools import repeat, starmap

from kplpy.core.item import payload_size
from kplpy.core.policy import Policy
from kplpy.future import RecordFuture
from kplpy.runtime.admission import RECORD_OVERHEAD, Room
from kplpy.runtime.crew import NEVER, Crew
from kplpy.runtime.stream import Stream

# A stream that waits for a sender is looked after this often all the same (expiry, lost requests), should every
# sender be stuck in a request.
CARE_INTERVAL = 0.25


class Planning:
    """`drain` and `plan` are called under the stream's lock, `call_sender` with or without it."""

    def __init__(self, policy: Policy, room: Room, crew: Crew) -> None:
        self._linger = policy.linger
        self._room = room
        self._crew = crew

    def drain(self, stream: Stream, now: float) -> None:
        """Charge what is staged to the room, and hand it to the core."""
        staging = stream.staging
        count = len(staging)
        if not count or stream.broken is not None:  # to be mended first, with what is in `draining` already
            return
        items: list[RecordFuture] = []
        stream.draining = items
        # In one go, so that a record is always to be found in one of the two; Ctrl-C does not strike in between.
        items.extend(starmap(staging.popleft, repeat((), count)))
        size = payload_size(items)
        stream.staged_bytes = 0
        self._room.add(stream, count, size + count * RECORD_OVERHEAD)
        if stream.key_counts is not None:
            stream.key_counts.add(items, now)
        stream.pipeline.accept(items, now)  # which gives keys to those without
        stream.draining = None

    def plan(self, stream: Stream, now: float) -> None:
        """Say when somebody has to look at it again, and see that somebody does."""
        pipeline = stream.pipeline
        if stream.pressed or self._room.short:
            stream.pressed = False
            pipeline.make_room(now)
        wake_at = pipeline.next_wakeup(now)
        if wake_at <= now:
            stream.wake_at = -NEVER  # puts need not nudge: a sender comes
            if not stream.ready:
                stream.ready = True
                self.call_sender(stream)
            wake_at = now + CARE_INTERVAL
        else:
            stream.ready = False
            stream.wake_at = wake_at
        if stream.staging:
            # Staged since the drain, and perhaps just before wake_at was written: not nudged.
            wake_at = min(wake_at, now + self._linger)
            stream.wake_at = min(stream.wake_at, wake_at)
        stream.visit_at = wake_at
        self._crew.wake_by(wake_at)

    def call_sender(self, stream: Stream) -> None:
        """Have a sender look at the stream."""
        if not self._crew.call_sender():
            stream.nudged = True
            self._crew.ring()
