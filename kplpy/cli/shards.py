"""The shards of a stream, as a reader needs them: with their parents and their hash ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


@dataclass(frozen=True, slots=True)
class Shard:
    """`parents`: none, one (it comes from a split) or two (from a merge)."""

    id: str
    parents: tuple[str, ...]
    first_hash_key: int
    last_hash_key: int


_FILTERS = {"LATEST": "AT_LATEST", "TRIM_HORIZON": "AT_TRIM_HORIZON", "AT_TIMESTAMP": "AT_TIMESTAMP"}


def list_shards(
    client: KinesisClient, place: Mapping[str, Any], kind: str, timestamp: datetime | None = None
) -> list[Shard]:
    """The shards that were open at the place to start from; their children follow from theirs (children_of).

    Page by page by hand: boto3's paginator repeats the filter with a NextToken, which the service refuses.
    """
    wanted: dict[str, Any] = {"Type": _FILTERS[kind]}
    if timestamp is not None:
        wanted["Timestamp"] = timestamp
    return [
        _shard(each)
        for each in _pages(client, place, ShardFilter=wanted)
        # A stand-in that knows no filters lists the closed ones too.
        if kind != "LATEST" or "EndingSequenceNumber" not in each["SequenceNumberRange"]
    ]


def children_of(
    client: KinesisClient, place: Mapping[str, Any], shard: Shard, answer: Mapping[str, Any]
) -> list[Shard]:
    """What a shard became, from the answer that told its end; from the list where that does not say it."""
    children = answer.get("ChildShards")
    if children:
        return [_child(each) for each in children]
    return [each for each in map(_shard, _pages(client, place)) if shard.id in each.parents]


def _pages(client: KinesisClient, place: Mapping[str, Any], **arguments: Any) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    page: Mapping[str, Any] = client.list_shards(**place, **arguments)
    while True:
        found += page["Shards"]
        token = page.get("NextToken")
        if not token:
            return found
        page = client.list_shards(NextToken=token)


def _shard(described: Mapping[str, Any]) -> Shard:
    parents = (described.get("ParentShardId"), described.get("AdjacentParentShardId"))
    return _made(described, tuple(each for each in parents if each))


def _child(described: Mapping[str, Any]) -> Shard:
    return _made(described, tuple(described["ParentShards"]))


def _made(described: Mapping[str, Any], parents: tuple[str, ...]) -> Shard:
    keys = described["HashKeyRange"]
    return Shard(described["ShardId"], parents, int(keys["StartingHashKey"]), int(keys["EndingHashKey"]))
