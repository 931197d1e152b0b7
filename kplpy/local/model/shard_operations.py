"""ListShards, SplitShard, MergeShards and UpdateShardCount."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kplpy.local.model import listing, resharding
from kplpy.local.model.account import Account, Params, Response
from kplpy.local.model.account_settings import check_quotas
from kplpy.local.model.errors import in_use, invalid_argument, not_found, over_limit
from kplpy.local.model.stream import PROVISIONED
from kplpy.local.model.validation import requested_stream


def _list_shards(account: Account, params: Params, now: float) -> Response:
    token = params.get("NextToken")
    query = None
    if token is not None:
        for each in ("StreamName", "StreamARN", "StreamCreationTimestamp", "ExclusiveStartShardId", "ShardFilter"):
            if params.get(each) is not None:
                raise invalid_argument(f"NextToken and {each} cannot be provided together.")
        query = listing.ShardQuery.from_token(token, now)
        stream = account.find(query.stream, now)
        if query.incarnation != stream.incarnation:
            raise not_found(f"Stream {stream.name} under account {account.number} of this NextToken not found.")
    else:
        if requested_stream(params) is None:
            raise invalid_argument("Either NextToken or StreamName should be provided.")
        stream = account.stream(params, now)
    if stream.list_rate is not None and not stream.list_rate.take(now):
        raise over_limit(f"Rate exceeded for stream {stream.name} under account {account.number}.")
    if stream.status in ("CREATING", "DELETING"):
        raise in_use(
            f"Stream {stream.name} under account {account.number} not ACTIVE, instead in state {stream.status}"
        )
    created = params.get("StreamCreationTimestamp")
    if created is not None and int(created) != int(stream.created):
        raise not_found(f"Stream {stream.name} under account {account.number} created at {created} not found.")
    return listing.list_shards(stream, query or listing.shard_query(stream, params, now), params, now)


def _split_shard(account: Account, params: Params, now: float) -> Response:
    stream = account.stream(params, now)
    if stream.mode == PROVISIONED:
        check_quotas(account, PROVISIONED, 1)
    resharding.split_shard(stream, params, now, account.phases.updating, account.number)
    return {}


def _merge_shards(account: Account, params: Params, now: float) -> Response:
    resharding.merge_shards(account.stream(params, now), params, now, account.phases.updating, account.number)
    return {}


def _update_shard_count(account: Account, params: Params, now: float) -> Response:
    stream, seconds = account.stream(params, now), account.phases.updating
    check_quotas(account, PROVISIONED, params["TargetShardCount"] - len(stream.open))
    return resharding.update_shard_count(stream, params, now, seconds, account.number, account.limits)


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "ListShards": _list_shards,
    "SplitShard": _split_shard,
    "MergeShards": _merge_shards,
    "UpdateShardCount": _update_shard_count,
}

READ_ONLY_OPERATIONS = frozenset({"ListShards"})
