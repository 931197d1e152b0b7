"""DescribeStreamSummary: who chooses the shards of a stream, its keys or the service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kplpy.aws import errors
from kplpy.core.distribution import BY_KEY, Summary

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

STRATEGY = "RecordDistributionStrategy"


def read_strategy(client: KinesisClient) -> None:
    """Have the client's answers carry the strategy.

    botocore knows it only since 1.43, and drops what it does not know without a word; so it is read here.
    """
    client.meta.events.register("before-parse.kinesis.DescribeStreamSummary", _take_strategy)


def _take_strategy(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    try:
        summary = json.loads(response_dict["body"])["StreamDescriptionSummary"]
        if STRATEGY in summary:
            customized_response_dict[STRATEGY] = summary[STRATEGY]
    except (ValueError, LookupError, TypeError):
        pass  # an error, or not JSON: then what botocore makes of it


def describe(client: KinesisClient, place: dict[str, Any]) -> Summary:
    """Raises what botocore raises."""
    answer: Any = errors.retrying(lambda: client.describe_stream_summary(**place), errors.passing_answer)
    summary = answer["StreamDescriptionSummary"]
    shards = int(summary.get("OpenShardCount", 0))
    arn = summary.get("StreamARN")
    if summary.get("StreamModeDetails", {}).get("StreamMode") != "ON_DEMAND":
        return Summary(BY_KEY, shards, arn=arn)  # other streams have no such setting
    strategy = answer.get(STRATEGY) or summary.get(STRATEGY)
    problem = "" if strategy else f"DescribeStreamSummary: the answer has no {STRATEGY}"
    return Summary(strategy, shards, problem, arn)
