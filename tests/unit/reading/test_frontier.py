"""The frontier: children after all their ancestors, and checkpoints of any state."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kplpy.reading.frontier import Frontier, checkpoint_of, positions_in
from kplpy.reading.position import OLDEST, Position
from kplpy.reading.shards import Shard


def shard(number: int, *parents: int) -> Shard:
    return Shard(f"shardId-{number:012}", tuple(f"shardId-{each:012}" for each in parents), 0, 1)


def names(shards: list[Shard]) -> list[int]:
    return [int(each.id[-12:]) for each in shards]


def frontier(*shards: Shard) -> Frontier:
    found = Frontier()
    for each in shards:
        found.add(each, OLDEST)
    return found


def test_children_begin_when_their_parents_are_read() -> None:
    reading = frontier(shard(0), shard(1))
    assert names(reading.begin()) == [0, 1]
    assert names(reading.begin()) == []
    merged = shard(2, 0, 1)
    reading.finish(shard(0).id, [merged])
    assert names(reading.begin()) == []
    reading.finish(shard(1).id, [merged])
    assert names(reading.begin()) == [2]
    assert list(reading.positions) == [merged.id]


def test_a_child_waits_for_an_ancestor_whose_children_are_not_known_yet() -> None:
    """0 was split into 2 and 3, and 3 was merged with 1 into 4. The reader is at the end of 1, and still in 0."""
    reading = frontier(shard(0), shard(1))
    reading.begin()
    listing = [shard(0), shard(1), shard(2, 0), shard(3, 0), shard(4, 3, 1)]
    reading.learn(listing)
    reading.finish(shard(1).id, [shard(4, 3, 1)])
    assert names(reading.begin()) == []
    reading.finish(shard(0).id, [shard(2, 0), shard(3, 0)])
    assert names(reading.begin()) == [2, 3]
    reading.finish(shard(3).id, [shard(4, 3, 1)])
    assert names(reading.begin()) == [4]


def test_a_checkpoint_has_children_that_wait() -> None:
    reading = frontier(shard(0), shard(1))
    reading.begin()
    reading.advance(shard(1).id, Position(None, "7", 3))
    reading.finish(shard(0).id, [shard(2, 0, 1)])
    saved = json.loads(json.dumps(checkpoint_of("orders", reading.positions)))
    assert saved == {
        "version": 1,
        "stream": "orders",
        "shards": {shard(1).id: {"sequence_number": "7", "sub_sequence_number": 3}, shard(2).id: {}},
    }
    listing = [shard(0), shard(1), shard(2, 0, 1)]
    resumed = Frontier.resume(positions_in(saved, "orders"), listing)
    assert resumed.positions == reading.positions
    assert names(resumed.begin()) == [1]
    resumed.finish(shard(1).id, [shard(2, 0, 1)])
    assert names(resumed.begin()) == [2]


def test_a_shard_that_left_the_retention_is_replaced_by_its_descendants() -> None:
    saved = {shard(1).id: Position(None, "7"), shard(2).id: OLDEST}
    # 1 was split into 3 and 4, and 3 into 5 and 6. 1 and 3 are gone. 0 is a parent of 2, read long ago.
    listing = [shard(0), shard(2, 0), shard(4, 1), shard(5, 3), shard(6, 3), shard(7, 5)]
    resumed = Frontier.resume(saved, listing)
    assert names(list(resumed.shards.values())) == [2, 4, 5, 6]
    assert set(resumed.positions.values()) == {OLDEST}
    assert names(resumed.begin()) == [2, 4, 5, 6]


def test_a_child_of_a_shard_that_is_still_to_be_read_is_not_read_twice() -> None:
    saved = {shard(0).id: Position(None, "7"), shard(1).id: OLDEST}
    resumed = Frontier.resume(saved, [shard(1), shard(2, 0, 1)])
    assert names(resumed.begin()) == [1]
    resumed.finish(shard(1).id, [shard(2, 0, 1)])
    assert names(resumed.begin()) == [2]


@pytest.mark.parametrize(
    ("checkpoint", "text"),
    [
        ({}, "start must be what checkpoint"),
        ({"version": 2, "stream": "orders", "shards": {}}, "of version 1"),
        ({"version": 1, "stream": "orders", "shards": []}, "start must be what checkpoint"),
        ({"version": 1, "stream": "others", "shards": {}}, "of stream 'others', not of 'orders'"),
        ({"version": 1, "stream": "orders", "shards": {"shardId-0": 7}}, "the checkpoint is damaged: a position may"),
    ],
)
def test_what_is_no_checkpoint_is_refused(checkpoint: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        positions_in(checkpoint, "orders")


@given(st.data())
def test_in_any_history_every_shard_is_read_once_after_its_ancestors(data: st.DataObject) -> None:
    """A reader that is behind, stops and resumes at any moment, while the stream is split and merged."""
    open_shards = [shard(0), shard(1), shard(2)]
    listing = {each.id: each for each in open_shards}
    children: dict[str, list[Shard]] = {}
    for _ in range(data.draw(st.integers(0, 8))):
        at = data.draw(st.integers(0, len(open_shards) - 1))
        number = len(listing)
        if at + 1 < len(open_shards) and data.draw(st.booleans()):
            parents, new = open_shards[at : at + 2], 1
        else:
            parents, new = open_shards[at : at + 1], 2
        numbers = [int(each.id[-12:]) for each in parents]
        born = [shard(number + each, *numbers) for each in range(new)]
        open_shards[at : at + len(parents)] = born
        listing.update((each.id, each) for each in born)
        children.update((each.id, born) for each in parents)

    reading = frontier(shard(0), shard(1), shard(2))
    begun = reading.begin()
    ended: set[str] = set()
    while begun:
        each = begun.pop(data.draw(st.integers(0, len(begun) - 1)))
        assert each.id not in ended
        assert ended.issuperset(each.parents)
        ended.add(each.id)
        born = children.get(each.id, [])
        if any(len(child.parents) > 1 for child in born):
            reading.learn(listing.values())
        reading.finish(each.id, born)
        if data.draw(st.booleans()):
            saved = json.loads(json.dumps(checkpoint_of("orders", reading.positions)))
            reading = Frontier.resume(positions_in(saved, "orders"), listing.values())
            begun = []
        begun += reading.begin()
    assert ended == set(listing)
