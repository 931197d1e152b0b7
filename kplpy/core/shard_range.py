"""A shard's range of hash keys."""

from __future__ import annotations

from dataclasses import dataclass

LAST_KEY = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class ShardRange:
    """A shard and the range of hash keys that it takes. Both ends are included."""

    shard_id: str
    start: int
    end: int

    def holds(self, hash_key: int) -> bool:
        return self.start <= hash_key <= self.end
