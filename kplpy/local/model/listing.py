"""The operations that list streams and shards: DescribeStream, DescribeStreamSummary, ListStreams, ListShards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kplpy.local.model.errors import invalid_argument
from kplpy.local.model.pages import page, unpack
from kplpy.local.model.sequence import pack_token, shard_index
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


def describe_stream_summary(stream: Stream, consumers: int) -> dict[str, Any]:
    described = _described(stream)
    described["OpenShardCount"] = len(stream.open)
    described["ConsumerCount"] = consumers
    described["MaxRecordSizeInKiB"] = stream.max_record_kib
    if stream.mode == ON_DEMAND:  # provisioned streams do not support the setting
        described["RecordDistributionStrategy"] = stream.strategy
    return {"StreamDescriptionSummary": described}


def _described(stream: Stream) -> dict[str, Any]:
    described = {
        **_summary(stream),
        "RetentionPeriodHours": stream.retention_hours,
        "EnhancedMonitoring": [{"ShardLevelMetrics": stream.metrics}],
        "EncryptionType": "NONE" if stream.key_id is None else "KMS",
    }
    if stream.key_id is not None:
        described["KeyId"] = stream.key_id
    return described


def _summary(stream: Stream) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": {"StreamMode": stream.mode},
        "StreamCreationTimestamp": round(stream.created, 3),
    }


def list_streams(streams: Mapping[str, Stream], params: Mapping[str, Any], now: float) -> dict[str, Any]:
    shown, token = page("streams", streams, params, now, params.get("ExclusiveStartStreamName") or "")
    return {
        "StreamNames": [each.name for each in shown],
        "StreamSummaries": [_summary(each) for each in shown],
        "HasMoreStreams": bool(token),
        **token,
    }


class ShardQuery:
    """The parameters of a ListShards call and of the pages that follow it.

    A NextToken carries them to the next page.

    stream: the stream's name
    after: list only shards with a higher index; -1 for all
    kind: the type of the ShardFilter
    moment: the time of the ShardFilter, epoch seconds
    """

    def __init__(self, stream: str, after: int, kind: str, moment: float) -> None:
        self.stream, self.after, self.kind, self.moment = stream, after, kind, moment
        # So that a page does not list a stream that was recreated since the first page.
        self.incarnation: int | None = None

    @classmethod
    def from_token(cls, token: str, now: float) -> ShardQuery:
        _, incarnation, after, kind, moment, stream = unpack("shards", token, 6, now)
        query = cls(stream, int(after), kind, float(moment))
        query.incarnation = int(incarnation)
        return query

    def token(self, stream: Stream, after: int, now: float) -> str:
        return pack_token("shards", f"{now:.6f}", stream.incarnation, after, self.kind, self.moment, self.stream)


def shard_query(stream: Stream, params: Mapping[str, Any], now: float) -> ShardQuery:
    """Return the query of a first page.

    Timestamps before the horizon count as the horizon.
    """
    shard_filter = params.get("ShardFilter") or {"Type": "FROM_TRIM_HORIZON"}
    kind, horizon = shard_filter["Type"], _horizon(stream, now)
    after = params.get("ExclusiveStartShardId")
    moment = horizon
    if kind == "AFTER_SHARD_ID":
        after = shard_filter.get("ShardId")
        if after is None:
            raise invalid_argument("ShardId is required in ShardFilter of type AFTER_SHARD_ID.")
    elif shard_filter.get("ShardId") is not None:
        raise invalid_argument(f"ShardId cannot be specified in ShardFilter of type {kind}.")
    if kind in ("AT_TIMESTAMP", "FROM_TIMESTAMP"):
        if shard_filter.get("Timestamp") is None:
            raise invalid_argument(f"Timestamp is required in ShardFilter of type {kind}.")
        if shard_filter["Timestamp"] > now:
            raise invalid_argument(f"Timestamp {shard_filter['Timestamp']} in ShardFilter is in the future.")
        moment = max(horizon, shard_filter["Timestamp"])
    elif shard_filter.get("Timestamp") is not None:
        raise invalid_argument(f"Timestamp cannot be specified in ShardFilter of type {kind}.")
    index = -1 if after is None else shard_index(after)
    return ShardQuery(stream.name, -1 if index is None else index, kind, moment)


def _horizon(stream: Stream, now: float) -> float:
    """Return the trim horizon, epoch seconds; minus infinity while the stream is younger than its retention.

    So AT_TRIM_HORIZON lists a young stream's first shards, even if they were split at the moment of creation.
    """
    horizon = stream.horizon(now)
    return horizon if horizon > stream.created else -FOREVER


def list_shards(stream: Stream, query: ShardQuery, params: Mapping[str, Any], now: float) -> dict[str, Any]:
    limit = min(params.get("MaxResults") or PAGE, PAGE)
    chosen = [each for each in stream.shards.values() if each.index > query.after and _chosen(each, query)]
    response: dict[str, Any] = {"Shards": [each.describe() for each in chosen[:limit]]}
    if len(chosen) > limit:
        response["NextToken"] = query.token(stream, chosen[limit - 1].index, now)
    return response


def _chosen(shard: Shard, query: ShardQuery) -> bool:
    closed = FOREVER if shard.closed is None else shard.closed
    if query.kind == "AT_LATEST":
        return shard.closed is None
    if query.kind in ("AT_TRIM_HORIZON", "AT_TIMESTAMP"):
        # A shard that was closed at this moment is not listed, because its children cover its range from then on.
        opened = shard.opened if shard.parents else -FOREVER
        return opened <= query.moment < closed
    return closed >= query.moment


def _after(shards: Sequence[Shard], name: str) -> list[Shard]:
    index = shard_index(name)
    return [each for each in shards if index is None or each.index > index]
