"""Lists the shards of a stream for a reader, with their parents and hash ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard and its inclusive hash key range. It has one parent after a split, two after a merge, else none."""

    id: str
    parents: tuple[str, ...]
    first_hash_key: int
    last_hash_key: int


_FILTERS = {"LATEST": "AT_LATEST", "TRIM_HORIZON": "AT_TRIM_HORIZON", "AT_TIMESTAMP": "AT_TIMESTAMP"}


def list_shards(
    client: KinesisClient, stream: Mapping[str, Any], kind: str, timestamp: datetime | None = None
) -> list[Shard]:
    """Return the shards that were open at the starting position. children_of() finds their children later.

    kind: LATEST, TRIM_HORIZON or AT_TIMESTAMP. boto3's paginator is not used, because it repeats the filter with a
    NextToken, which the service refuses.
    """
    wanted: dict[str, Any] = {"Type": _FILTERS[kind]}
    if timestamp is not None:
        wanted["Timestamp"] = timestamp
    return [
        _from_listing(each)
        for each in _pages(client, stream, ShardFilter=wanted)
        # An imitation of Kinesis that ignores filters lists closed shards too.
        if kind != "LATEST" or "EndingSequenceNumber" not in each["SequenceNumberRange"]
    ]


def children_of(
    client: KinesisClient, stream: Mapping[str, Any], shard: Shard, response: Mapping[str, Any]
) -> list[Shard]:
    """Return the children of a closed shard: from its last GetRecords response, else from a listing."""
    children = response.get("ChildShards")
    if children:
        return [_from_child(each) for each in children]
    return [each for each in map(_from_listing, _pages(client, stream)) if shard.id in each.parents]


def _pages(client: KinesisClient, stream: Mapping[str, Any], **arguments: Any) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    page: Mapping[str, Any] = client.list_shards(**stream, **arguments)
    while True:
        found += page["Shards"]
        token = page.get("NextToken")
        if not token:
            return found
        page = client.list_shards(NextToken=token)


def _from_listing(described: Mapping[str, Any]) -> Shard:
    parents = (described.get("ParentShardId"), described.get("AdjacentParentShardId"))
    return _make_shard(described, tuple(each for each in parents if each))


def _from_child(described: Mapping[str, Any]) -> Shard:
    return _make_shard(described, tuple(described["ParentShards"]))


def _make_shard(described: Mapping[str, Any], parents: tuple[str, ...]) -> Shard:
    keys = described["HashKeyRange"]
    return Shard(described["ShardId"], parents, int(keys["StartingHashKey"]), int(keys["EndingHashKey"]))
