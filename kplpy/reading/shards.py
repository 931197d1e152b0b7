"""Lists the shards of a stream for a reader, with their parents and hash ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
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
) -> tuple[list[Shard], datetime]:
    """Return the shards that were open at the starting position, and the service's time before they were listed.

    kind: LATEST, TRIM_HORIZON or AT_TIMESTAMP. boto3's paginator is not used, because it repeats the filter with a
    NextToken, which the service refuses.
    """
    wanted: dict[str, Any] = {"Type": _FILTERS[kind]}
    if timestamp is not None:
        wanted["Timestamp"] = timestamp
    pages = list(_pages(client, stream, ShardFilter=wanted))
    shards = [
        _from_listing(each)
        for page in pages
        for each in page["Shards"]
        # An imitation of Kinesis that ignores filters lists closed shards too.
        if kind != "LATEST" or "EndingSequenceNumber" not in each["SequenceNumberRange"]
    ]
    return shards, _service_time(pages[0])


def list_all_shards(client: KinesisClient, stream: Mapping[str, Any]) -> list[Shard]:
    """Return all shards that still have a record within the retention, open and closed."""
    return [_from_listing(each) for page in _pages(client, stream) for each in page["Shards"]]


def children_of(
    client: KinesisClient, stream: Mapping[str, Any], shard: Shard, response: Mapping[str, Any]
) -> tuple[list[Shard], list[Shard]]:
    """Return the children of a closed shard, and all shards if a child has another parent too.

    response: the last response of the shard's GetRecords, or the last event of its subscription. Without ChildShards
    the shards are listed.
    """
    children = [_from_child(each) for each in response.get("ChildShards") or ()]
    if children and all(each.parents == (shard.id,) for each in children):
        return children, []
    listing = list_all_shards(client, stream)
    return children or [each for each in listing if shard.id in each.parents], listing


def _pages(client: KinesisClient, stream: Mapping[str, Any], **arguments: Any) -> Iterator[Mapping[str, Any]]:
    page: Mapping[str, Any] = asked(lambda: client.list_shards(**stream, **arguments))
    while True:
        yield page
        token = page.get("NextToken")
        if not token:
            return
        page = asked(lambda token=token: client.list_shards(NextToken=token))  # type: ignore[misc]


def _service_time(response: Mapping[str, Any]) -> datetime:
    """Return the service's time of a response, cut to the second. This machine's clock may be wrong."""
    try:
        return parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):  # an imitation of Kinesis that sends no Date
        return datetime.now(timezone.utc).replace(microsecond=0)


def _from_listing(described: Mapping[str, Any]) -> Shard:
    parents = (described.get("ParentShardId"), described.get("AdjacentParentShardId"))
    return _make_shard(described, tuple(each for each in parents if each))


def _from_child(described: Mapping[str, Any]) -> Shard:
    return _make_shard(described, tuple(described["ParentShards"]))


def _make_shard(described: Mapping[str, Any], parents: tuple[str, ...]) -> Shard:
    keys = described["HashKeyRange"]
    return Shard(described["ShardId"], parents, int(keys["StartingHashKey"]), int(keys["EndingHashKey"]))


def asked(call: Callable[[], Any]) -> Any:
    """Return what a control-plane call returns, after retries where they can help.

    Imports botocore at the first call, so that the package can be imported without it.
    """
    from kplpy.aws.errors import is_retryable_response, retrying

    return retrying(call, is_retryable_response)
