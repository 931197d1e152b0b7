"""A PutRecords request: its batches and its times."""

from __future__ import annotations

from kplpy.core.batching.shard_queue import Batch


class Request:
    """The batches of one PutRecords request.

    The batches are never changed, because a sender encodes them without the stream's lock.

    batches: one for each Kinesis record.
    body_sent: set by the sender when the service may have the whole request.
    is_part: it is a part of a bisection, which pays tokens only if it is accepted.
    lost_at: when the request is given up as lost, on the core's clock.
    size: bytes, as the service counts them.
    started: when the request was formed, on the core's clock.
    wall: when the request was sent, in Unix time. Set by the sender.
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
