"""SplitShard, MergeShards and UpdateShardCount: checked at once, carried out when the stream's UPDATING phase ends.

UpdateShardCount is a series of splits and merges with short-lived shards in between, as in the service. They take place
one after the other during the phase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kplpy.local.model.errors import in_use, invalid_argument, not_found, validation
from kplpy.local.model.limits import Limits
from kplpy.local.model.sequence import HASH_KEYS, in_range, shard_index
from kplpy.local.model.shard import Shard
from kplpy.local.model.stream import PROVISIONED, Stream

Step = Callable[[float], None]


def require_active(stream: Stream, account: str) -> None:
    """Raise ResourceInUseException if the stream is not ACTIVE."""
    if stream.status != "ACTIVE":
        raise in_use(f"Stream {stream.name} under account {account} not ACTIVE, instead in state {stream.status}")


def split_shard(stream: Stream, params: Mapping[str, Any], now: float, seconds: float, account: str) -> None:
    require_active(stream, account)
    shard = _find(stream, params["ShardToSplit"], account)
    boundary = in_range(params["NewStartingHashKey"], "NewStartingHashKey")
    if not shard.first + 1 < boundary < shard.last:
        raise invalid_argument(
            f"NewStartingHashKey {boundary} used in SplitShard() on shard {shard.id} in stream {stream.name} under "
            f"account {account} is not both greater than one plus the shard's StartingHashKey {shard.first} and "
            f"less than the shard's EndingHashKey {shard.last}."
        )
    _require_open(stream, shard, account)
    _run(stream, [partial(stream.split, boundary)], now, seconds)


def merge_shards(stream: Stream, params: Mapping[str, Any], now: float, seconds: float, account: str) -> None:
    require_active(stream, account)
    left = _find(stream, params["ShardToMerge"], account)
    right = _find(stream, params["AdjacentShardToMerge"], account)
    for each in (left, right):
        _require_open(stream, each, account)
    if left.first > right.first:  # the service takes the pair in either order
        left, right = right, left
    if left.last + 1 != right.first:
        raise invalid_argument(
            f"Shards {params['ShardToMerge']} and {params['AdjacentShardToMerge']} in stream {stream.name} under "
            f"account {account} are not an adjacent pair of shards eligible for merging"
        )
    _run(stream, [partial(stream.merge, right.first)], now, seconds)


def update_shard_count(
    stream: Stream, params: Mapping[str, Any], now: float, seconds: float, account: str, limits: Limits
) -> dict[str, Any]:
    if stream.mode != PROVISIONED:
        raise validation(f"Request is invalid. Stream {stream.name} under account {account} is in On-Demand mode.")
    require_active(stream, account)
    current, target = len(stream.open), params["TargetShardCount"]
    if limits.update_shard_count_factor:
        _check_factor(stream, current, target, account)
    steps = _steps(stream, target)
    if steps:
        _run(stream, steps, now, seconds)
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "CurrentShardCount": current,
        "TargetShardCount": target,
    }


def scale(stream: Stream, target: int, now: float, seconds: float) -> None:
    """Turn the open shards into `target` equal shards over `seconds`, during which the stream is UPDATING."""
    _run(stream, _steps(stream, target), now, seconds)


def _check_factor(stream: Stream, current: int, target: int, account: str) -> None:
    if target > 2 * current:
        change, bound = "up to more than double", 2 * current
    elif 2 * target < current:
        change, bound = "down below half of", -(-current // 2)
    else:
        return
    raise invalid_argument(
        f"UpdateShardCount cannot scale {change} the current shard count of {current} (limit {bound}, requested "
        f"{target}) for stream {stream.name} under account {account}."
    )


def _steps(stream: Stream, target: int) -> list[Step]:
    """Return the splits, then the merges, that turn the open shards into `target` equal shards."""
    width = HASH_KEYS // target
    wanted = {width * each for each in range(1, target)}
    present = {each.first for each in stream.open[1:]}
    splits = [partial(stream.split, each) for each in sorted(wanted - present)]
    merges = [partial(stream.merge, each) for each in sorted(present - wanted)]
    return [*splits, *merges]


def _run(stream: Stream, steps: list[Step], now: float, seconds: float) -> None:
    stream.status = "UPDATING"
    for done, step in enumerate(steps, 1):
        stream.schedule(now + seconds * done / len(steps), step)
    stream.schedule(now + seconds, lambda _: stream.set_status("ACTIVE"))
    stream.apply_changes(now)


def _find(stream: Stream, name: str, account: str) -> Shard:
    index = shard_index(name)
    shard = stream.shards.get(index) if index is not None else None
    if shard is None:
        raise not_found(f"Could not find shard {name} in stream {stream.name} under account {account}.")
    return shard


def _require_open(stream: Stream, shard: Shard, account: str) -> None:
    if shard.closed is not None:
        raise invalid_argument(
            f"Shard {shard.id} in stream {stream.name} under account {account} is not open: it was split or merged."
        )
