"""Calls DescribeStreamSummary, for a stream's distribution strategy and its largest record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kplpy.aws import errors
from kplpy.core.routing.placement import BY_KEY, Summary

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

STRATEGY = "RecordDistributionStrategy"
RECORD_SIZE = "MaxRecordSizeInKiB"


def read_strategy(client: KinesisClient) -> None:
    """Make the client's responses carry the distribution strategy and the size of the largest record.

    Only botocore 1.43 and later know the strategy. Older versions drop unknown members silently, so a handler reads
    them.
    """
    client.meta.events.register("before-parse.kinesis.DescribeStreamSummary", _take_members)


def _take_members(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    try:
        summary = json.loads(response_dict["body"])["StreamDescriptionSummary"]
        customized_response_dict.update({name: summary[name] for name in (STRATEGY, RECORD_SIZE) if name in summary})
    except (ValueError, LookupError, TypeError):
        pass  # an error, or not JSON: botocore handles both


def describe(client: KinesisClient, place: dict[str, Any]) -> Summary:
    """Return who chooses the stream's shards, its keys or the service, and its limits. Raises botocore's exceptions."""
    response: Any = errors.retrying(lambda: client.describe_stream_summary(**place), errors.is_retryable_response)
    summary = response["StreamDescriptionSummary"]
    shards = int(summary.get("OpenShardCount", 0))
    arn = summary.get("StreamARN")
    size = _record_size(response.get(RECORD_SIZE) or summary.get(RECORD_SIZE))
    if summary.get("StreamModeDetails", {}).get("StreamMode") != "ON_DEMAND":
        return Summary(BY_KEY, shards, max_record_size=size, arn=arn)  # only on-demand streams have a strategy
    strategy = response.get(STRATEGY) or summary.get(STRATEGY)
    problem = "" if strategy else f"DescribeStreamSummary: the response has no {STRATEGY}"
    return Summary(strategy, shards, problem, size, arn)


def _record_size(kib: object) -> int | None:
    """Return the size in bytes. None if it is no number above 0, as a stand-in may send."""
    return kib * 1024 if type(kib) is int and kib > 0 else None
