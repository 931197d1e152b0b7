"""The IAM policy that allows what was denied."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from kplpy.doctor.examination import Examination

_PRODUCER = ("DescribeStreamSummary", "ListShards", "PutRecords")
_FAN_OUT = ("DescribeStreamConsumer", "SubscribeToShard")
# AWS's own text of a denial names the resource: "User: … is not authorized to perform: kinesis:PutRecords on resource:
# arn:aws:kinesis:eu-west-1:123456789012:stream/orders because no identity-based policy allows …".
_RESOURCE = re.compile(r"on resource: (arn:aws[a-z-]*:kinesis:[a-z0-9-]*:[0-9]*:stream/[a-zA-Z0-9_.-]+)")


def policy_to_add(examination: Examination) -> dict[str, Any] | None:
    """Return a policy with a statement for each purpose, so that each can be left out. None if nothing was denied."""
    denied = {each.operation for each in examination.denied}
    arn = stream_arn(examination) if denied else ""
    readers = denied - {*_PRODUCER, *_FAN_OUT}
    statements = [
        _statement("Producer", denied.intersection(_PRODUCER), arn),
        _statement("Reader", readers, arn),
        _statement("FanOut", denied.intersection(_FAN_OUT), f"{arn}/consumer/*"),
    ]
    if examination.put_answer is not None and examination.put_answer.code == "KMSAccessDeniedException":
        statements.append(_statement("ProducerKey", {"GenerateDataKey"}, _key_arn(examination), "kms"))
    found = [each for each in statements if each is not None]
    return {"Version": "2012-10-17", "Statement": found} if found else None


def _statement(sid: str, operations: Collection[str], resource: str, service: str = "kinesis") -> dict[str, Any] | None:
    if not operations:
        return None
    actions = sorted(f"{service}:{each}" for each in operations)
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}


def stream_arn(examination: Examination) -> str:
    """Return the stream's ARN; with * for the account if nothing names it."""
    if examination.arn:
        return examination.arn
    if examination.summary is not None and examination.summary.get("StreamARN"):
        return str(examination.summary["StreamARN"])
    for answer in examination.denied:
        found = _RESOURCE.search(answer.message)
        if found:
            return found[1]
    return f"arn:{examination.partition}:kinesis:{examination.region}:*:stream/{examination.name}"


def _key_arn(examination: Examination) -> str:
    """Return the KMS key's ARN; that of any key if the stream names an alias or nothing."""
    key = str((examination.summary or {}).get("KeyId") or "*")
    if key.startswith("arn:"):
        return key
    return f"arn:{examination.partition}:kms:{examination.region}:*:key/{'*' if key.startswith('alias/') else key}"
