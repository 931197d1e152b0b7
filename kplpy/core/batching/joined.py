"""The queue of a delivery stream, whose batches are Firehose records: one user record, or several joined."""

from __future__ import annotations

from collections.abc import Sequence

from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.record import PendingRecord
from kplpy.wire.encode import Aggregatable, Packing


class JoinedPacking(Packing):
    """The data of records, one after the other, with nothing between them. See Packing."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def add(self, records: Sequence[Aggregatable], max_size: int) -> int:
        """Add records in order while size stays within `max_size`; return how many were added."""
        sizes = []
        size = self.size
        for record in records:
            n = len(record.data)
            size += n
            if size > max_size:
                break
            sizes.append(n)
        if not sizes:
            return 0
        added = records[: len(sizes)]
        self._pieces += [record.data for record in added]
        self.size = self.data_size = self.data_size + sum(sizes)
        self.other_size += sum([len(record.partition_key) for record in added])
        self.smallest, self.largest = min(self.smallest, *sizes), max(self.largest, *sizes)
        return len(sizes)

    def parts(self) -> tuple[bytes, bytes]:
        """Return the joined data, and no end. See Packing."""
        return b"".join(self._pieces), b""


class DeliveryBatch(Batch):
    """The user records of one Firehose record. The service counts data only, and takes no partition key."""

    __slots__ = ()

    def _new_packing(self) -> Packing:
        return JoinedPacking()

    def parts(self) -> tuple[bytes, bytes]:
        """Return the Firehose record's data, and no end. See Batch."""
        return self._packed().parts() if self.aggregated else (self.items[0].data, b"")

    @property
    def outer_key(self) -> str | None:
        """None."""
        return None

    @property
    def uncompressed_size(self) -> int:
        """The exact size of the Firehose record's data."""
        return self.packed if self.aggregated else len(self.items[0].data)

    @classmethod
    def alone(cls, queue: ShardQueue, item: PendingRecord) -> Batch:
        """Return a closed batch of one record."""
        batch = cls(queue, item)
        batch.closed = True
        batch.data_size = batch.wire_size = len(item.data)
        return batch


class DeliveryQueue(ShardQueue):
    """The records of a delivery stream: its only queue, in the order of acceptance."""

    __slots__ = ()

    @property
    def batch_type(self) -> type[Batch]:
        """The class of the queue's batches."""
        return DeliveryBatch
