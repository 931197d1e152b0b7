"""DescribeStreamSummary: who chooses the shards of a stream, its keys or the service, and how large a record may be."""

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
    """Have the client's answers carry the strategy and the largest record's size.

    botocore knows the strategy only since 1.43, and drops what it does not know without a word; so they are read here.
    """
    client.meta.events.register("before-parse.kinesis.DescribeStreamSummary", _take_members)


def _take_members(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    try:
        summary = json.loads(response_dict["body"])["StreamDescriptionSummary"]
        customized_response_dict.update({name: summary[name] for name in (STRATEGY, RECORD_SIZE) if name in summary})
    except (ValueError, LookupError, TypeError):
        pass  # an error, or not JSON: then what botocore makes of it


def describe(client: KinesisClient, place: dict[str, Any]) -> Summary:
    """Raises what botocore raises."""
    answer: Any = errors.retrying(lambda: client.describe_stream_summary(**place), errors.passing_answer)
    summary = answer["StreamDescriptionSummary"]
    shards = int(summary.get("OpenShardCount", 0))
    arn = summary.get("StreamARN")
    size = _record_size(answer.get(RECORD_SIZE) or summary.get(RECORD_SIZE))
    if summary.get("StreamModeDetails", {}).get("StreamMode") != "ON_DEMAND":
        return Summary(BY_KEY, shards, max_record_size=size, arn=arn)  # other streams have no such setting
    strategy = answer.get(STRATEGY) or summary.get(STRATEGY)
    problem = "" if strategy else f"DescribeStreamSummary: the answer has no {STRATEGY}"
    return Summary(strategy, shards, problem, size, arn)


def _record_size(kib: object) -> int | None:
    """Return the size in bytes; None for what is no number above 0, as a stand-in may send."""
    return kib * 1024 if type(kib) is int and kib > 0 else None
