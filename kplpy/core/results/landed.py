"""Loops over the Kinesis records of a response that are where they were predicted. Compiled code has them, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kplpy.accelerator import compiled, native
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.exchange import Accepted
from kplpy.core.outcome import Delivered
from kplpy.core.record import PendingRecord, SendAttempt
from kplpy.core.shard_range import ShardRange

Landed = tuple[ShardQueue, list[Batch], list[Delivered]]
"""A queue, its batches in a request, and the outcome of each."""


@compiled
def group_predicted(
    batches: Sequence[Batch],
    entries: Sequence[dict[str, str]],
    range_of: Callable[[str], ShardRange | None],
    final: SendAttempt,
) -> list[Landed] | None:
    """Return the batches by queue, if the service wrote each on its queue's shard. Otherwise None.

    range_of: returns the present range of a shard. final: the attempt of the outcomes.
    """
    groups: dict[ShardQueue, Landed] = {}
    for batch, entry in zip(batches, entries, strict=True):
        queue = batch.queue
        shard_id, number = entry.get("ShardId", ""), entry.get("SequenceNumber")
        if not number or queue.shard is None or range_of(shard_id) is not queue.shard:
            return None
        group = groups.get(queue)
        if group is None:
            group = groups[queue] = (queue, [], [])
        group[1].append(batch)
        group[2].append(Delivered(shard_id, number, final))
    return [*groups.values()]


@compiled
def add_up(batches: Sequence[Batch]) -> tuple[list[PendingRecord], int, int, bool]:
    """Return the batches' first records, their payload, their wire size, and whether each has only one record."""
    return (
        [batch.items[0] for batch in batches],
        sum([batch.payload for batch in batches]),
        sum([batch.wire_size for batch in batches]),
        all(len(batch.items) == 1 for batch in batches),
    )


if native is not None:
    native.register_accepted(Accepted)
