"""CreateChannel, UpdateChannel, DeleteChannel, DescribeChannel and ListChannels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kplpy.local.model.account import Account, Params, Response
from kplpy.local.model.channel import Channel
from kplpy.local.model.errors import in_use, invalid_argument, validation
from kplpy.local.model.pages import page
from kplpy.local.model.queue import generated_id
from kplpy.local.model.queue_operations import is_of
from kplpy.local.model.resharding import require_active
from kplpy.local.model.stream import ON_DEMAND
from kplpy.local.model.tags import checked_tags

SHORTEST_FRESHNESS, LONGEST_FRESHNESS = 300, 900
"""Seconds (docs.aws.amazon.com/streams/latest/dev/data-delivery-concepts.html)."""
_S3_FORMATS = ("JSON", "STRING", "BYTE_ARRAY")
_TABLE_FORMATS = ("JSON", "GSR_JSON")


def _create(account: Account, params: Params, now: float) -> Response:
    name, configurations = params["ChannelName"], params["StreamConfigurationList"]
    _check_new(params)
    tags = checked_tags(params.get("Tags"))
    stream = account.stream(configurations[0], now)
    require_active(stream, account.number)
    if stream.mode != ON_DEMAND:
        raise invalid_argument("Channels are supported only on data streams in On-Demand mode.")
    if any(each.name == name for each in account.all_of(account.channels, now)):
        raise in_use(f"Channel {name} under account {account.number} already exists.")
    last_part = generated_id((stream.arn, stream.created, name, now), account.channels)
    channel = Channel(
        stream, f"arn:aws:kinesis:{account.region}:{account.number}:channel/{last_part}", now, dict(params)
    )
    if not channel.is_to_tables:
        channel.key(now, "0")  # raises if the template is bad
    channel.tags = tags
    channel.failure = _failure(account, channel)
    account.channels[channel.id] = channel
    described = {"ChannelDescription": channel.describe()}
    channel.schedule(now + account.phases.creating, channel.activate)
    channel.apply_changes(now)
    return described


def _check_new(params: Params) -> None:
    """Raise an error if the settings of a new channel contradict each other."""
    configurations = params["StreamConfigurationList"]
    if len(configurations) != 1:
        raise validation(f"StreamConfigurationList must have exactly one entry; it has {len(configurations)}.")
    storage, tables = params.get("S3DestinationConfiguration"), params.get("S3TablesDestinationConfiguration")
    if (storage is None) == (tables is None):
        raise validation("Exactly one of S3DestinationConfiguration and S3TablesDestinationConfiguration is required.")
    record = configurations[0]["RecordConfiguration"]
    formats = _S3_FORMATS if tables is None else _TABLE_FORMATS
    if record["RecordFormatType"] not in formats:
        raise validation(f"RecordFormatType {record['RecordFormatType']} is not one of this destination: {formats}.")
    if tables is not None and record.get("GSRSchemaARN") is None:
        raise validation("GSRSchemaARN is required for S3 Tables.")
    destination = storage or tables or {}
    _check_freshness(destination.get("DataFreshnessInSeconds"))
    prefix = (destination.get("DeadLetterQueueS3Configuration") or {}).get("ErrorOutputPrefix") or ""
    if prefix.startswith("/") or ".." in prefix or "./" in prefix or "//" in prefix:
        raise validation(f"ErrorOutputPrefix must not begin with / or have .., ./ or //; got {prefix!r}.")


def _check_freshness(seconds: int | None) -> None:
    if seconds is not None and not SHORTEST_FRESHNESS <= seconds <= LONGEST_FRESHNESS:
        raise validation(
            f"DataFreshnessInSeconds must be from {SHORTEST_FRESHNESS} to {LONGEST_FRESHNESS}, got {seconds}."
        )


def _failure(account: Account, channel: Channel) -> str | None:
    """Return why a channel can never deliver here, None if it can."""
    if channel.is_to_tables:
        return "The local Kinesis writes no tables of Apache Iceberg."
    if channel.destination["StorageConfiguration"]["CompressionType"] == "ZSTD":
        return "The local Kinesis compresses with GZIP only."
    if not account.has_buckets:
        return "The local Kinesis has no folder for S3: start it with channels_dir (kplpy local --channels-dir)."
    return None


def can_deliver(account: Account, channel: Channel) -> bool:
    """Return True if a channel can deliver here."""
    return _failure(account, channel) is None


def _update(account: Account, params: Params, now: float) -> Response:
    channel = account.channel(params["ChannelARN"], now)
    if channel.status != "ACTIVE":
        raise in_use(f"Channel {channel.arn} not ACTIVE, instead in state {channel.status}")
    name = "S3TablesDestinationConfiguration" if channel.is_to_tables else "S3DestinationConfiguration"
    other = "S3DestinationConfiguration" if channel.is_to_tables else "S3TablesDestinationConfiguration"
    if params.get(other) is not None:
        raise invalid_argument(f"The channel's destination is not one of {other}.")
    seconds = (params.get(name) or {}).get("DataFreshnessInSeconds")
    _check_freshness(seconds)
    channel.freshness = seconds or channel.freshness
    channel.logging = params.get("LoggingConfiguration") or channel.logging
    channel.set_status("UPDATING")
    described = {"ChannelDescription": channel.describe()}
    channel.update(now, account.phases.updating)
    return described


def _delete(account: Account, params: Params, now: float) -> Response:
    channel = account.channel(params["ChannelARN"], now)
    if channel.status != "DELETING":
        channel.delete(now, account.phases.deleting, lambda _: account.channels.__delitem__(channel.id))
    return {}


def _describe(account: Account, params: Params, now: float) -> Response:
    return {"ChannelDescription": account.channel(params["ChannelARN"], now).describe()}


def _list(account: Account, params: Params, now: float) -> Response:
    wanted = params.get("StreamFilter")
    channels = {
        each.name: each
        for each in account.all_of(account.channels, now)
        if wanted is None or is_of(each.stream, wanted)
    }
    shown, token = page("channels", channels, params, now)
    return {"ChannelSummaries": [each.summary() for each in shown], **token}


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "CreateChannel": _create,
    "UpdateChannel": _update,
    "DeleteChannel": _delete,
    "DescribeChannel": _describe,
    "ListChannels": _list,
}

READ_ONLY_OPERATIONS = frozenset({"DescribeChannel", "ListChannels"})
