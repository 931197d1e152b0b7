"""The shards that are still to be read, each with its position; children come after their parents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kplpy.escaping import brief_repr
from kplpy.reading.position import OLDEST, Position
from kplpy.reading.shards import Shard

_VERSION = 1


class Frontier:
    """The shards that a reader has not read to their end. Does no I/O.

    A shard is here from when the reader knows it until it was read to its end. Then its children take its place. So the
    positions are all that a later reader needs: what is not here was read, or is behind what is here.

    positions: the position in each shard, by shard id.
    shards: the same shards, by id.
    """

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.shards: dict[str, Shard] = {}
        self._parents: dict[str, tuple[str, ...]] = {}  # of every shard that was ever listed
        self._begun: set[str] = set()

    def learn(self, shards: Iterable[Shard]) -> None:
        """Note the parents of listed shards."""
        self._parents.update((each.id, each.parents) for each in shards)

    def add(self, shard: Shard, position: Position) -> None:
        """Add a shard that is to be read. A shard that is here stays as it is."""
        self.learn([shard])
        if shard.id not in self.positions:
            self.positions[shard.id] = position
            self.shards[shard.id] = shard

    def begin(self) -> list[Shard]:
        """Return the shards that can be read now and were not returned before: none of their ancestors is unread."""
        found = [
            shard
            for name, shard in self.shards.items()
            if name not in self._begun and not self.positions.keys() & self._ancestors(name)
        ]
        self._begun.update(each.id for each in found)
        return found

    def advance(self, name: str, position: Position) -> None:
        """Set the position in a shard."""
        self.positions[name] = position

    def finish(self, name: str, children: Iterable[Shard]) -> None:
        """Replace a shard that was read to its end by its children. A child of two shards may be here already."""
        del self.positions[name], self.shards[name]
        self._begun.discard(name)
        for each in children:
            self.add(each, OLDEST)

    def _ancestors(self, name: str) -> set[str]:
        found: set[str] = set()
        todo = list(self._parents.get(name, ()))
        while todo:
            parent = todo.pop()
            if parent not in found:
                found.add(parent)
                todo += self._parents.get(parent, ())
        return found

    # --- checkpoints ---

    @classmethod
    def resume(cls, positions: Mapping[str, Position], listing: Iterable[Shard]) -> Frontier:
        """Return the frontier of a checkpoint.

        listing: all shards that the stream has now.

        A shard of the checkpoint that is not listed has left the retention, and its descendants are read instead.
        """
        frontier = cls()
        listed = {each.id: each for each in listing}
        frontier.learn(listed.values())
        for name, position in positions.items():
            if name in listed:
                frontier.add(listed[name], position)
        gone = [_number(each) for each in positions if each not in listed]
        if gone:
            behind = set(positions).union(*map(frontier._ancestors, positions))
            for name, shard in listed.items():
                is_first = not any(each in listed for each in shard.parents)
                if is_first and name not in behind and _number(name) > min(gone):
                    frontier.add(shard, OLDEST)
        return frontier


def checkpoint_of(stream: str, positions: Mapping[str, Position]) -> dict[str, Any]:
    """Return a checkpoint, which json.dumps() takes. stream: the stream's name."""
    shards = {name: position.to_json() for name, position in positions.items()}
    return {"version": _VERSION, "stream": stream, "shards": shards}


def positions_in(checkpoint: Mapping[str, Any], stream: str) -> dict[str, Position]:
    """Return the positions in a checkpoint of the stream. ValueError: it is no checkpoint, or another stream's."""
    if checkpoint.get("version") != _VERSION or not isinstance(checkpoint.get("shards"), Mapping):
        raise ValueError(
            f"start must be what checkpoint() returned, of version {_VERSION}, or 'LATEST', 'TRIM_HORIZON' or a "
            f"datetime; got {brief_repr(dict(checkpoint), 200)}"
        )
    if checkpoint.get("stream") != stream:
        raise ValueError(f"the checkpoint is of stream {brief_repr(checkpoint.get('stream'), 200)}, not of {stream!r}")
    try:
        return {str(name): Position.from_json(each) for name, each in checkpoint["shards"].items()}
    except ValueError as error:
        raise ValueError(f"the checkpoint is damaged: {error}") from None


def _number(name: str) -> int:
    """Return the number in a shard's id, by which the service counts a stream's shards."""
    digits = re.search(r"\d+$", name)
    return int(digits[0]) if digits else 0
