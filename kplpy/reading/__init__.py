"""Reading a stream: all its shards in order, from any position, with checkpoints."""

from __future__ import annotations

from kplpy.reading.fan_out import ConsumerInUseError
from kplpy.reading.fetcher import Batch
from kplpy.reading.position import ReadRecord
from kplpy.reading.reader import StreamReader

__all__ = ["Batch", "ConsumerInUseError", "ReadRecord", "StreamReader"]
