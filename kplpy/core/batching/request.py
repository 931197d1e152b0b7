"""What goes out: the batches of one PutRecords request."""

from __future__ import annotations

from kplpy.core.batching.shard_queue import Batch


class Request:
    """`size`: as the service counts it. `lost_at`: when its answer is no longer waited for. `wall`: the sender's note
    of the Unix time at which it was sent. `is_part`: it is part of a hunt, and pays tokens only when it is taken.
    `body_sent`: the sender's note that the service may have the whole request.

    Its batches are never changed: a sender encodes them without the stream's lock.
    """

    __slots__ = ("batches", "body_sent", "is_part", "lost_at", "size", "started", "wall")

    def __init__(self, batches: list[Batch], started: float, lost_at: float, is_part: bool = False) -> None:
        self.batches = batches
        self.is_part = is_part
        self.size = sum(batch.wire_size for batch in batches)
        self.started = started
        self.lost_at = lost_at
        self.wall = 0.0
        self.body_sent = False
