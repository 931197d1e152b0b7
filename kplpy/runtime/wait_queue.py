"""Those who wait for room, in their order; grouped, so that none has to look at thousands who wait for the same."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kplpy.futures.record_future import RecordFuture
    from kplpy.runtime.stream import Stream


class Waiter:
    """Somebody who waits for room for one record. `granted`: the record was charged and staged."""

    __slots__ = ("closed", "granted", "group", "hash_key", "record", "size", "stream", "turn")

    def __init__(self, stream: Stream, record: RecordFuture, size: int) -> None:
        self.stream = stream
        self.record = record
        self.hash_key = record.hash_key
        self.size = size
        self.granted = False
        self.closed = False
        self.turn = 0
        self.group: Group | None = None  # while in line

    def wake(self) -> None:
        """The record is about to be staged, or the producer was closed. Raises RuntimeError where nobody waits any
        longer."""
        raise NotImplementedError

    def __lt__(self, other: Waiter) -> bool:
        return self.turn < other.turn


class Group(OrderedDict[Waiter, None]):
    """Those of one stream and shard: where its first may not pass, for the shard's share or the stream's, nor may
    those behind it."""

    def __init__(self, key: tuple[Stream, int]) -> None:
        super().__init__()
        self.key = key


class WaitQueue:
    """Waiters, grouped."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Stream, int], Group] = {}
        self._streams: Counter[Stream] = Counter()  # their groups
        self._turns = count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for group in list(self._groups.values()) for waiter in list(group))

    def add(self, waiter: Waiter) -> bool:
        """Is it the first of its group?"""
        key = waiter.stream, waiter.stream.place_of(waiter.hash_key)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
            self._streams[waiter.stream] += 1
        waiter.turn = next(self._turns)
        waiter.group = group
        group[waiter] = None
        self._length += 1
        return len(group) == 1

    def remove(self, waiter: Waiter) -> Waiter | None:
        """Returns the one that is first in its group now."""
        group, waiter.group = waiter.group, None
        assert group is not None
        del group[waiter]
        self._length -= 1
        if not group:
            del self._groups[group.key]
            self._streams[waiter.stream] -= 1
            if not self._streams[waiter.stream]:
                del self._streams[waiter.stream]
            return None
        return next(iter(group))

    def has(self, stream: Stream, hash_key: int) -> bool:
        """Does somebody wait for room in the same shard?"""
        return (stream, stream.place_of(hash_key)) in self._groups

    def has_others(self, stream: Stream) -> bool:
        """Does somebody wait for room in another stream?"""
        return len(self._streams) > (stream in self._streams)

    def group_heads(self) -> list[Waiter]:
        """Of all groups, in their order."""
        return sorted(next(iter(group)) for group in self._groups.values())

    def clear(self) -> None:
        for waiter in self:
            waiter.group = None
        self._groups.clear()
        self._streams.clear()
        self._length = 0
