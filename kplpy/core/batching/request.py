"""A PutRecords request: its batches and its times."""

from __future__ import annotations

from collections import defaultdict

from kplpy.core.batching.compression import saves_too_little
from kplpy.core.batching.shard_queue import Batch, ShardQueue


class Request:
    """The batches of one PutRecords request.

    With compression, the sender that took the request compresses the batches (`compress`, without the stream's lock)
    and has the pipeline set the results (`Pipeline.seal`). After that nothing is changed, because the sender encodes
    the batches without the lock.

    batches: one for each Kinesis record.
    body_sent: set by the sender when the service may have the whole request.
    is_part: it is a part of a bisection, which pays tokens only if it is accepted.
    lost_at: when the request is given up as lost, on the core's clock.
    must_shrink: the batches that the stream takes only if they get smaller.
    is_sealed: the sizes of all batches are exact. Without compression they always are.
    size: bytes, as the service counts them. An estimate until the request is sealed.
    started: when the request was formed, on the core's clock.
    to_compress: the batches that the sender compresses.
    wall: when the request was sent, in Unix time. Set by the sender.
    """

    __slots__ = (
        "batches",
        "body_sent",
        "is_part",
        "is_sealed",
        "lost_at",
        "must_shrink",
        "size",
        "started",
        "to_compress",
        "wall",
    )

    def __init__(self, batches: list[Batch], started: float, lost_at: float, is_part: bool = False) -> None:
        self.batches = batches
        self.is_sealed = True
        self.to_compress: list[Batch] = []
        self.must_shrink: set[Batch] = set()
        self.is_part = is_part
        self.size = sum(batch.wire_size for batch in batches)
        self.started = started
        self.lost_at = lost_at
        self.wall = 0.0
        self.body_sent = False

    def compress(self) -> list[bytes | None]:
        """Return the compressed data of each batch of `to_compress`, in order.

        Empty: the batch would not get smaller. None: not tried, because the batches before it in this request, of the
        same shard, saved too little. So a shard whose data does not compress costs little also at the start.

        Called on the sender thread, without the stream's lock. Changes nothing.
        """
        compressed: list[bytes | None] = []
        sizes: defaultdict[ShardQueue, list[int]] = defaultdict(lambda: [0, 0])
        for batch in self.to_compress:
            before_and_after = sizes[batch.queue]
            if saves_too_little(*before_and_after) and batch not in self.must_shrink:
                compressed.append(None)
                continue
            data = batch.compressed()
            compressed.append(data)
            before_and_after[0] += batch.data_size
            before_and_after[1] += len(data) or batch.data_size
        return compressed
