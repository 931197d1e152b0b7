"""A PutRecords request: its batches and its times."""

from __future__ import annotations

from kplpy.core.batching.shard_queue import Batch


class Request:
    """The batches of one PutRecords request.

    With compression, the sender that took the request compresses the batches (`compress`, without the stream's lock)
    and has the pipeline set the results (`Pipeline.seal`). After that nothing is changed, because the sender encodes
    the batches without the lock.

    batches: one for each Kinesis record.
    body_sent: set by the sender when the service may have the whole request.
    is_part: it is a part of a bisection, which pays tokens only if it is accepted.
    lost_at: when the request is given up as lost, on the core's clock.
    is_sealed: the sizes of all batches are exact. Without compression they always are.
    size: bytes, as the service counts them. An estimate until the request is sealed.
    started: when the request was formed, on the core's clock.
    to_compress: the batches that the sender compresses.
    wall: when the request was sent, in Unix time. Set by the sender.
    """

    __slots__ = ("batches", "body_sent", "is_part", "is_sealed", "lost_at", "size", "started", "to_compress", "wall")

    def __init__(self, batches: list[Batch], started: float, lost_at: float, is_part: bool = False) -> None:
        self.batches = batches
        self.is_sealed = True
        self.to_compress: list[Batch] = []
        self.is_part = is_part
        self.size = sum(batch.wire_size for batch in batches)
        self.started = started
        self.lost_at = lost_at
        self.wall = 0.0
        self.body_sent = False

    def compress(self) -> list[bytes]:
        """Return the compressed data of each batch of `to_compress`, in order. Empty: the batch would not get smaller.

        Called on the sender thread, without the stream's lock. Changes nothing.
        """
        return [batch.compressed() for batch in self.to_compress]
