"""Puts that wait for buffer space, in their order.

They are grouped by stream and shard, so that no step has to look at thousands of waiters for the same space.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kplpy.futures.record_future import RecordFuture
    from kplpy.runtime.stream import Stream


class Waiter:
    """One record that waits for buffer space. Made by the putting thread; its fields are guarded by Buffer.lock.

    granted: the record was charged and staged.
    closed: the producer was closed before that.
    turn: the place in the queue.
    """

    __slots__ = ("closed", "granted", "group", "hash_key", "record", "size", "stream", "turn")

    def __init__(self, stream: Stream, record: RecordFuture, size: int) -> None:
        self.stream = stream
        self.record = record
        self.hash_key = record.hash_key
        self.size = size
        self.granted = False
        self.closed = False
        self.turn = 0
        self.group: Group | None = None  # while in the queue

    @property
    def is_gone(self) -> bool:
        """True if nothing waits any more, because the event loop was closed. The space goes to the next waiter."""
        return False

    def wake(self) -> None:
        """Wake the waiting thread or task: the record was staged, or the producer was closed."""
        raise NotImplementedError

    def __lt__(self, other: Waiter) -> bool:
        return self.turn < other.turn


class Group(OrderedDict[Waiter, None]):
    """The waiters of one stream and shard. If a share stops the first one, it stops all behind it."""

    def __init__(self, key: tuple[Stream, int]) -> None:
        super().__init__()
        self.key = key


class WaitQueue:
    """The waiters of one buffer, by group. Guarded by Buffer.lock.

    An exception of a signal handler leaves each waiter in the queue or outside, see Buffer.lock.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[Stream, int], Group] = {}
        self._streams: dict[Stream, int] = {}  # the number of groups of each stream
        self._turns = count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for group in list(self._groups.values()) for waiter in list(group))

    def add(self, waiter: Waiter) -> bool:
        """Add the waiter. Return True if it is the first of its group."""
        key = waiter.stream, waiter.stream.place_of(waiter.hash_key)
        stream, found, turn = waiter.stream, self._groups.get(key), next(self._turns)
        group = Group(key) if found is None else found
        groups = self._streams.get(stream, 0) + 1
        if found is None:
            self._groups[key] = group
            self._streams[stream] = groups
        waiter.turn = turn
        waiter.group = group
        group[waiter] = None
        self._length += 1
        return found is None

    def remove(self, waiter: Waiter) -> Waiter | None:
        """Remove the waiter. Return the one that is first in its group now, if any."""
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
        """Return True if a record of the same stream and shard waits."""
        return (stream, stream.place_of(hash_key)) in self._groups

    def has_others(self, stream: Stream) -> bool:
        """Return True if a record of another stream waits."""
        return len(self._streams) > (stream in self._streams)

    def group_heads(self) -> list[Waiter]:
        """Return the first waiter of each group, in the order of the queue."""
        return sorted(next(iter(group)) for group in self._groups.values())

    def clear(self) -> None:
        for waiter in self:
            waiter.group = None
        self._groups.clear()
        self._streams.clear()
        self._length = 0
