"""What streams and shards there are: DescribeStream, DescribeStreamSummary, ListStreams, ListShards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kplpy.local.model.errors import ServiceError, invalid_argument
from kplpy.local.model.sequence import TOKEN_SECONDS, pack_token, shard_index, unpack_token
from kplpy.local.model.shard import Shard
from kplpy.local.model.stream import ON_DEMAND, Stream

PAGE = 1000
FOREVER = float("inf")


def describe_stream(stream: Stream, params: Mapping[str, Any]) -> dict[str, Any]:
    start = params.get("ExclusiveStartShardId")
    shards = _after(list(stream.shards.values()), start) if start is not None else list(stream.shards.values())
    limit = min(params.get("Limit") or 100, PAGE)
    described = _described(stream)
    described["Shards"] = [each.describe() for each in shards[:limit]]
    described["HasMoreShards"] = len(shards) > limit
    return {"StreamDescription": described}


def describe_stream_summary(stream: Stream) -> dict[str, Any]:
    described = _described(stream)
    described["OpenShardCount"] = len(stream.open)
    described["ConsumerCount"] = 0
    described["MaxRecordSizeInKiB"] = stream.max_record_kib
    if stream.mode == ON_DEMAND:  # provisioned streams do not support the setting
        described["RecordDistributionStrategy"] = stream.strategy
    return {"StreamDescriptionSummary": described}


def _described(stream: Stream) -> dict[str, Any]:
    return {
        **_summary(stream),
        "RetentionPeriodHours": stream.retention_hours,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }


def _summary(stream: Stream) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": {"StreamMode": stream.mode},
        "StreamCreationTimestamp": round(stream.created, 3),
    }


def list_streams(streams: Mapping[str, Stream], params: Mapping[str, Any], now: float) -> dict[str, Any]:
    start = params.get("ExclusiveStartStreamName", "")
    if params.get("NextToken") is not None:
        start = _unpack("streams", params["NextToken"], 2, now)[1]
    limit = params.get("Limit") or 100
    following = [streams[name] for name in sorted(streams) if name > start]
    page = following[:limit]
    answer: dict[str, Any] = {
        "StreamNames": [each.name for each in page],
        "StreamSummaries": [_summary(each) for each in page],
        "HasMoreStreams": len(following) > limit,
    }
    if len(following) > limit:
        answer["NextToken"] = pack_token("streams", f"{now:.6f}", page[-1].name)
    return answer


class ShardQuery:
    """What one series of ListShards pages asks for; a NextToken carries it from page to page."""

    def __init__(self, stream: str, after: int, kind: str, moment: float) -> None:
        self.stream, self.after, self.kind, self.moment = stream, after, kind, moment
        # Pages must not mix the stream of the first page with one recreated since.
        self.incarnation: int | None = None

    @classmethod
    def from_token(cls, token: str, now: float) -> ShardQuery:
        _, incarnation, after, kind, moment, stream = _unpack("shards", token, 6, now)
        query = cls(stream, int(after), kind, float(moment))
        query.incarnation = int(incarnation)
        return query

    def token(self, stream: Stream, after: int, now: float) -> str:
        return pack_token("shards", f"{now:.6f}", stream.incarnation, after, self.kind, self.moment, self.stream)


def shard_query(stream: Stream, params: Mapping[str, Any], now: float) -> ShardQuery:
    """The query of a first page. Timestamps before the horizon count as the horizon."""
    asked = params.get("ShardFilter") or {"Type": "FROM_TRIM_HORIZON"}
    kind, horizon = asked["Type"], _horizon(stream, now)
    after = params.get("ExclusiveStartShardId")
    moment = horizon
    if kind == "AFTER_SHARD_ID":
        after = asked.get("ShardId")
        if after is None:
            raise invalid_argument("ShardId is required in ShardFilter of type AFTER_SHARD_ID.")
    elif asked.get("ShardId") is not None:
        raise invalid_argument(f"ShardId cannot be specified in ShardFilter of type {kind}.")
    if kind in ("AT_TIMESTAMP", "FROM_TIMESTAMP"):
        if asked.get("Timestamp") is None:
            raise invalid_argument(f"Timestamp is required in ShardFilter of type {kind}.")
        if asked["Timestamp"] > now:
            raise invalid_argument(f"Timestamp {asked['Timestamp']} in ShardFilter is in the future.")
        moment = max(horizon, asked["Timestamp"])
    elif asked.get("Timestamp") is not None:
        raise invalid_argument(f"Timestamp cannot be specified in ShardFilter of type {kind}.")
    index = -1 if after is None else shard_index(after)
    return ShardQuery(stream.name, -1 if index is None else index, kind, moment)


def _horizon(stream: Stream, now: float) -> float:
    """The trim horizon; before everything while the stream is younger than its retention, so that AT_TRIM_HORIZON
    then means its first shards, however soon they were split."""
    horizon = stream.horizon(now)
    return horizon if horizon > stream.created else -FOREVER


def list_shards(stream: Stream, query: ShardQuery, params: Mapping[str, Any], now: float) -> dict[str, Any]:
    limit = min(params.get("MaxResults") or PAGE, PAGE)
    chosen = [each for each in stream.shards.values() if each.index > query.after and _chosen(each, query)]
    answer: dict[str, Any] = {"Shards": [each.describe() for each in chosen[:limit]]}
    if len(chosen) > limit:
        answer["NextToken"] = query.token(stream, chosen[limit - 1].index, now)
    return answer


def _chosen(shard: Shard, query: ShardQuery) -> bool:
    closed = FOREVER if shard.closed is None else shard.closed
    if query.kind == "AT_LATEST":
        return shard.closed is None
    if query.kind in ("AT_TRIM_HORIZON", "AT_TIMESTAMP"):
        # Closed at the very moment counts as closed: its children cover the range, and it is covered once.
        opened = shard.opened if shard.parents else -FOREVER
        return opened <= query.moment < closed
    return closed >= query.moment


def _after(shards: Sequence[Shard], name: str) -> list[Shard]:
    index = shard_index(name)
    return [each for each in shards if index is None or each.index > index]


def _unpack(kind: str, token: str, parts: int, now: float) -> list[str]:
    found = unpack_token(kind, token, parts)
    if found is None:
        raise invalid_argument("The NextToken provided is invalid.")
    if now - float(found[0]) > TOKEN_SECONDS:
        raise ServiceError("ExpiredNextTokenException", "The NextToken provided has expired: it is older than 300 s.")
    return found
