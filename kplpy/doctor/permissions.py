"""Checks the permission of each call that kplpy makes, without writing anything."""

from __future__ import annotations

from collections.abc import Iterator

from kplpy.aws.client import is_of_aws
from kplpy.doctor.calls import DRY_RUN, NO_ARN, NO_DRY_RUN, Answer, Calls
from kplpy.doctor.examination import Examination
from kplpy.doctor.finding import Finding, Level
from kplpy.doctor.policy import stream_arn

_CONSEQUENCES = {
    "PutRecords": "nothing can be put",
    "ListShards": "the producer knows no shards, so it aggregates nothing and sends each record alone",
    "DescribeStreamSummary": (
        "the producer does not know who chooses the shards, nor the largest record; "
        "assume_distribution_strategy can say the former"
    ),
    "GetShardIterator": "`kplpy tail` and StreamReader cannot read; a producer does not need it",
    "GetRecords": "`kplpy tail` and StreamReader cannot read; a producer does not need it",
    "DescribeStreamConsumer": "enhanced fan-out does not work for every consumer; a producer does not need it",
    "SubscribeToShard": "enhanced fan-out does not work for every consumer; a producer does not need it",
    "ListStreamConsumers": "the consumers are not listed; only this command calls it",
}
_CONSUMER = "kplpy-doctor"
_OF_NO_CONSUMER = ("DescribeStreamConsumer", "SubscribeToShard")
_LEVELS: dict[str, Level] = {"PutRecords": "failure", "ListShards": "warning", "DescribeStreamSummary": "warning"}


def check_permissions(examination: Examination) -> Iterator[Finding]:
    """Yield a finding "permission.…" for each call but GetRecords and ListStreamConsumers, which are really made."""
    yield Finding(
        "permission.others",
        "unchecked",
        "cloudwatch:PutMetricData, for the metrics in CloudWatch, and kinesis:RegisterStreamConsumer, for enhanced "
        "fan-out, have an effect and no dry run",
    )
    calls = examination.calls
    if calls is None or examination.obstacle:
        return
    for answer in (examination.description, examination.listing):
        if answer is not None:
            yield judge(examination, answer)
    iterator = _try_iterator(examination, calls)
    if iterator is not None:
        yield judge(examination, iterator)
    examination.put_answer = _try_put(examination, calls, iterator)
    yield judge(examination, examination.put_answer)
    for answer in _try_fan_out(examination, calls):
        yield judge(examination, answer)


def judge(examination: Examination, answer: Answer) -> Finding:
    """Return the finding of a call's permission, and note the call if it, or its KMS key, was denied."""
    if answer.is_denied_the_key:
        examination.denied_key.add(answer.operation)
    check = f"permission.{answer.operation}"
    if answer.is_denied:
        examination.denied.append(answer)
        level = _LEVELS.get(answer.operation, "note")
        advice = "add the policy to the identity's policies"
        text = f"denied: {_CONSEQUENCES[answer.operation]} ({answer.message})"
        return Finding(check, level, text, advice, {"code": answer.code})
    if answer.is_ok:
        return Finding(check, "ok", "allowed")
    if answer.code == DRY_RUN:
        return Finding(check, "ok", "allowed, by a dry run")
    if answer.is_throttled:
        return Finding(check, "ok", f"allowed; throttled just now ({answer.code})")
    if answer.is_missing and answer.operation in _OF_NO_CONSUMER:
        return Finding(check, "ok", f"allowed, for a consumer that does not exist ({_CONSUMER})")
    return Finding(check, "unchecked", answer.reason, "", {"code": answer.code})


def _try_iterator(examination: Examination, calls: Calls) -> Answer | None:
    """Return the answer of a dry run of GetShardIterator, which has no effect where DryRun is ignored."""
    if not examination.shards:
        return None
    shard = examination.shards[0].shard_id
    return calls.dry_run("GetShardIterator", **examination.place, ShardId=shard, ShardIteratorType="LATEST")


def _try_put(examination: Examination, calls: Calls, iterator: Answer | None) -> Answer:
    """Return the answer of a dry run of PutRecords.

    A server that ignores DryRun would write the record. So DryRun must have been seen to work, or be AWS's own.
    """
    is_honoured = iterator is not None and iterator.code == DRY_RUN
    is_ignored = iterator is not None and iterator.is_ok
    if is_ignored or not (is_honoured or is_of_aws(str(examination.endpoint))):
        message = "this endpoint may ignore DryRun, and would then write a record; --put writes one on purpose"
        return Answer("PutRecords", code=NO_DRY_RUN, message=message)
    record = {"Data": b"kplpy doctor, dry run", "PartitionKey": "kplpy-doctor"}
    return calls.dry_run("PutRecords", **examination.place, Records=[record])


def _try_fan_out(examination: Examination, calls: Calls) -> Iterator[Answer]:
    """Yield the answers of calls about a consumer that does not exist, so that they have no effect."""
    arn = stream_arn(examination)
    if ":*:" in arn:
        message = "the call needs the stream's ARN"
        yield from (Answer(each, code=NO_ARN, message=message) for each in _OF_NO_CONSUMER)
        return
    yield calls.ask("DescribeStreamConsumer", StreamARN=arn, ConsumerName=_CONSUMER)
    if examination.shards:
        shard = examination.shards[0].shard_id
        position = {"Type": "LATEST"}
        consumer = f"{arn}/consumer/{_CONSUMER}:1"
        yield calls.dry_run("SubscribeToShard", ConsumerARN=consumer, ShardId=shard, StartingPosition=position)
