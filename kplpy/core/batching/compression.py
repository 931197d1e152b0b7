"""Which batches of a shard queue are compressed, and how large a batch will be on the wire."""

from __future__ import annotations

from kplpy.core.policy import (
    COMPRESSION_LEAST_SAVED,
    COMPRESSION_PAUSE_FIRST,
    COMPRESSION_PAUSE_MOST,
    COMPRESSION_WEIGHT,
    Compression,
)


class QueueCompression:
    """Compresses one shard queue's batches while that saves enough, and tries again now and then while it does not.

    Called under the stream's lock, except for `compress`.

    rules: codec, level and least size.
    ratio: compressed size divided by uncompressed size, of the latest batches. 1.0 at first, and during a pause.
    pause: 0 while every batch is compressed. Else one batch in `pause` is.
    """

    __slots__ = ("_known", "_passed", "pause", "ratio", "rules")

    def __init__(self, rules: Compression) -> None:
        self.rules = rules
        self.ratio = 1.0
        self.pause = 0
        self._passed = 0  # batches that went uncompressed since the last that was tried
        self._known = False

    def estimate(self, size: int) -> int:
        """Return how many bytes `size` bytes of data will probably have on the wire."""
        return size if size < self.rules.min_size else int(size * self.ratio)

    def wants(self, size: int) -> bool:
        """Return True if a batch with `size` bytes of data is to be compressed. Counts the batch."""
        if size < self.rules.min_size:
            return False
        if self.pause:
            self._passed += 1
            if self._passed < self.pause:
                return False
            self._passed = 0
        return True

    def compressed(self, before: int, after: int) -> None:
        """Note that a request's batches of this queue, of `before` bytes in all, have `after` bytes compressed."""
        ratio = after / before
        if ratio > 1 - COMPRESSION_LEAST_SAVED:
            self.pause = min(2 * self.pause or COMPRESSION_PAUSE_FIRST, COMPRESSION_PAUSE_MOST)
            self.ratio, self._known = 1.0, False
            return
        self.pause = 0
        self.ratio = self.ratio + COMPRESSION_WEIGHT * (ratio - self.ratio) if self._known else ratio
        self._known = True
