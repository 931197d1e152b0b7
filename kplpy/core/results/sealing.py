"""Seals requests: from estimated sizes to those of the compressed batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kplpy.core.batching.collector import Collector
from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.policy import TOKENS_WORTH_WAKING
from kplpy.core.results.outcomes import Outcomes
from kplpy.core.routing.router import Router
from kplpy.core.size_limits import SizeLimits


class Sealing:
    """Decides what is compressed, and makes requests fit when the sizes are known.

    Called under the stream's lock. Between `begin` and `end` a sender compresses the batches without the lock.
    """

    def __init__(self, router: Router, collector: Collector, sizes: SizeLimits, outcomes: Outcomes) -> None:
        self._router = router
        self._collector = collector
        self._sizes = sizes
        self._outcomes = outcomes

    def begin(self, request: Request) -> None:
        """Choose the batches to compress. Without any unsealed batch the request is sealed already.

        A batch that the stream takes only if it gets smaller is always compressed.
        """
        unsealed = [batch for batch in request.batches if not batch.is_sealed]
        request.is_sealed = not unsealed
        request.must_shrink = {batch for batch in unsealed if batch.is_larger_than(self._sizes.record)}
        request.to_compress = [
            batch
            for batch in unsealed
            if batch.queue.compression is not None
            and (batch.queue.compression.wants(batch.data_size) or batch in request.must_shrink)
        ]

    def end(self, request: Request, compressed: Sequence[bytes | None], now: float, max_bytes: float) -> list[Batch]:
        """Set the batches' data and exact sizes, and correct what was paid. Return batches above the stream's limit.

        compressed: what `Request.compress` returned.
        max_bytes: the most bytes of the request.

        Batches that do not fit go back into their queues, sealed. The first that fits the stream's limit stays. Records
        whose shard was closed meanwhile are routed again.
        """
        data_of = dict(zip(request.to_compress, compressed, strict=True))
        paid_too_much: defaultdict[ShardQueue, int] = defaultdict(int)
        for batch in request.batches:
            if not batch.is_sealed:
                estimate = batch.wire_size
                batch.seal(data_of.get(batch) or b"")
                if not request.is_part:
                    paid_too_much[batch.queue] += estimate - batch.wire_size
        self._note_ratios([batch for batch, data in data_of.items() if data is not None])
        for queue, size in paid_too_much.items():
            queue.limiter.correct(-size)
        oversized = self._make_fit(request, min(self._sizes.request, max_bytes), paid_too_much, now)
        request.to_compress = []
        request.size = sum(batch.wire_size for batch in request.batches)
        request.is_sealed = True
        for queue, size in paid_too_much.items():
            if size >= TOKENS_WORTH_WAKING:
                self._collector.tokens_returned(queue, now)
        return oversized

    def _note_ratios(self, batches: list[Batch]) -> None:
        sizes: defaultdict[ShardQueue, list[int]] = defaultdict(lambda: [0, 0])
        for batch in batches:
            before_and_after = sizes[batch.queue]
            before_and_after[0] += batch.uncompressed_size
            before_and_after[1] += batch.data_size
        for queue, (before, after) in sizes.items():
            assert queue.compression is not None
            queue.compression.learn(before, after)

    def _make_fit(
        self, request: Request, space: float, returned: defaultdict[ShardQueue, int], now: float
    ) -> list[Batch]:
        kept: list[Batch] = []
        excess: list[Batch] = []
        oversized: list[Batch] = []
        full = False
        for batch in request.batches:
            if batch.aggregated and not self._router.is_current(batch.queue):
                excess.append(batch)
            elif request.is_part:  # it was formed with sizes that can only become smaller
                kept.append(batch)
            elif batch.wire_size > self._sizes.record:
                oversized.append(batch)
            elif full or (kept and batch.wire_size > space):
                full = True
                excess.append(batch)
            else:
                space -= batch.wire_size
                kept.append(batch)
        request.batches = kept
        for batch in [] if request.is_part else [*excess, *oversized]:  # parts pay when they are accepted
            batch.queue.limiter.return_tokens(batch.wire_size)
            returned[batch.queue] += batch.wire_size
        for batch in reversed(excess):
            pending = self._outcomes.pending_part(batch)
            if pending is not None:
                self._outcomes.send_again(pending, now)
        return [pending for batch in oversized if (pending := self._outcomes.pending_part(batch)) is not None]
