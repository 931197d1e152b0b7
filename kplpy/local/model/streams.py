"""The operations that create, delete, describe and list streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kplpy.local.model import listing
from kplpy.local.model.account import ON_DEMAND_SHARDS, Account, Params, Response
from kplpy.local.model.account_settings import check_quotas
from kplpy.local.model.errors import in_use, invalid_argument, over_limit, validation
from kplpy.local.model.limits import CallRate
from kplpy.local.model.stream import AUTO, ON_DEMAND, PROVISIONED, USER_KEY, Stream
from kplpy.local.model.stream_settings import check_warm_throughput
from kplpy.local.model.tags import checked_tags


def _create(account: Account, params: Params, now: float) -> Response:
    name = params["StreamName"]
    mode = (params.get("StreamModeDetails") or {"StreamMode": PROVISIONED})["StreamMode"]
    _check_new(account, params, mode, now)
    tags = checked_tags(params.get("Tags"))
    if name in account.streams:
        account.streams[name].apply_changes(now)
    if name in account.streams:
        raise in_use(f"Stream {name} under account {account.number} already exists.")
    warm = params.get("WarmThroughputMiBps")
    count = params.get("ShardCount") or max(ON_DEMAND_SHARDS, warm or 0)
    check_quotas(account, mode, count)
    account.incarnations += 1
    arn = f"arn:aws:kinesis:{account.region}:{account.number}:stream/{name}"
    stream = Stream(name, arn, now, account.incarnations, account.limits, account.random)
    stream.mode, stream.strategy = mode, params.get("RecordDistributionStrategy") or USER_KEY
    stream.max_record_kib = params.get("MaxRecordSizeInKiB") or 1024
    stream.tags, stream.warm_mibps = tags, warm
    account.streams[name] = stream

    def activate(at: float) -> None:
        stream.open_shards(count, at)
        stream.set_status("ACTIVE")

    stream.schedule(now + account.phases.creating, activate)
    stream.apply_changes(now)
    return {}


def _check_new(account: Account, params: Params, mode: str, now: float) -> None:
    """Raise an error if the settings of a new stream contradict each other or the account's."""
    count = params.get("ShardCount")
    if mode == PROVISIONED and count is None:
        raise validation("ShardCount must be provided for streams in Provisioned mode.")
    if mode == ON_DEMAND and count is not None:
        raise validation("ShardCount must not be provided for streams in On-Demand mode.")
    if mode == PROVISIONED and params.get("RecordDistributionStrategy") == AUTO:
        raise invalid_argument("RecordDistributionStrategy AUTO is supported only for streams in On-Demand mode.")
    check_warm_throughput(account, mode, params.get("WarmThroughputMiBps"), now)


def _delete(account: Account, params: Params, now: float) -> Response:
    stream = account.stream(params, now)
    if stream.status == "DELETING":
        raise in_use(f"Stream {stream.name} under account {account.number} not ACTIVE, instead in state DELETING")
    if account.consumers.of(stream) and not params.get("EnforceConsumerDeletion"):
        raise in_use(
            f"Stream {stream.name} under account {account.number} has registered consumers. Deregister them first, or "
            "set EnforceConsumerDeletion."
        )
    account.check_detached(stream, now)
    account.consumers.forget(stream)

    def remove(_: float) -> None:
        del account.streams[stream.name]
        if account.keep_deleted:
            account.deleted.append(stream)

    stream.delete(now, account.phases.deleting, remove)
    return {}


def _describe(account: Account, params: Params, now: float) -> Response:
    return listing.describe_stream(account.stream(params, now), params)


def _describe_summary(account: Account, params: Params, now: float) -> Response:
    if account.limits.describe_summary_per_second is not None:
        if account.summary_rate is None:
            account.summary_rate = CallRate(account.limits.describe_summary_per_second, now)
        if not account.summary_rate.take(now):
            raise over_limit(f"Rate exceeded for DescribeStreamSummary under account {account.number}.")
    stream = account.stream(params, now)
    described = listing.describe_stream_summary(stream, len(account.consumers.of(stream)))
    described["StreamDescriptionSummary"]["ChannelCount"] = len(account.channels_of(stream, now))
    described["StreamDescriptionSummary"]["QueueCount"] = len(account.queues_of(stream, now))
    if stream.mode == ON_DEMAND and account.commitment.is_enabled(now):
        described["StreamDescriptionSummary"]["WarmThroughput"] = stream.warm_throughput()
    return described


def _list(account: Account, params: Params, now: float) -> Response:
    for stream in list(account.streams.values()):
        stream.apply_changes(now)
    return listing.list_streams(account.streams, params, now)


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "CreateStream": _create,
    "DeleteStream": _delete,
    "DescribeStream": _describe,
    "DescribeStreamSummary": _describe_summary,
    "ListStreams": _list,
}

READ_ONLY_OPERATIONS = frozenset({"DescribeStream", "DescribeStreamSummary", "ListStreams"})
