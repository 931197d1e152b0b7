"""Which batches of a shard queue are compressed, and how large a batch will be on the wire."""

from __future__ import annotations

from kplpy.core.policy import (
    COMPRESSION_LEAST_SAVED,
    COMPRESSION_PAUSE_FIRST,
    COMPRESSION_PAUSE_MOST,
    COMPRESSION_WEIGHT,
    Compression,
)


def saves_too_little(before: int, after: int) -> bool:
    """Return True if batches of `before` bytes, compressed to `after`, are not worth it. No batches: False."""
    return after > (1 - COMPRESSION_LEAST_SAVED) * before


class QueueCompression:
    """Compresses one shard queue's batches while that saves enough, and tries again now and then while it does not.

    Called under the stream's lock.

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

    def learn(self, before: int, after: int) -> None:
        """Learn that batches of one request, of `before` bytes in all, have `after` bytes compressed."""
        if saves_too_little(before, after):
            self.pause = min(2 * self.pause or COMPRESSION_PAUSE_FIRST, COMPRESSION_PAUSE_MOST)
            self.ratio, self._known = 1.0, False
            return
        ratio = after / before
        self.pause = 0
        self.ratio = self.ratio + COMPRESSION_WEIGHT * (ratio - self.ratio) if self._known else ratio
        self._known = True
