"""The IAM policy that allows what was denied."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from kplpy.doctor.examination import Examination

_PRODUCER = ("DescribeStreamSummary", "ListShards", "PutRecords")
_FAN_OUT = ("DescribeStreamConsumer", "SubscribeToShard")
# A statement's name, the call that needs the KMS key, and what it needs of the key.
# https://docs.aws.amazon.com/streams/latest/dev/permissions-user-key-KMS.html
_KEY_USES = (("ProducerKey", "PutRecords", "GenerateDataKey"), ("ReaderKey", "GetRecords", "Decrypt"))
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
    statements += [_key_statement(examination, *each) for each in _KEY_USES]
    found = [each for each in statements if each is not None]
    return {"Version": "2012-10-17", "Statement": found} if found else None


def _statement(sid: str, operations: Collection[str], resource: str) -> dict[str, Any] | None:
    if not operations:
        return None
    actions = sorted(f"kinesis:{each}" for each in operations)
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}


def _key_statement(examination: Examination, sid: str, operation: str, use: str) -> dict[str, Any] | None:
    """Return the statement about the stream's KMS key, if the operation may not use the key.

    The stream may name its key by an ARN, an ID, an alias or an alias's ARN. An alias as a statement's resource allows
    nothing, so an alias is a condition: https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html
    """
    if operation not in examination.denied_key:
        return None
    named = str((examination.summary or {}).get("KeyId") or "*")
    prefix, _, key = named.rpartition(":")
    prefix = prefix or f"arn:{examination.partition}:kms:{examination.region}:*"
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": [f"kms:{use}"]}
    if key.startswith("alias/"):
        condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": key}}
        return {**statement, "Resource": f"{prefix}:key/*", "Condition": condition}
    return {**statement, "Resource": f"{prefix}:key/{key.removeprefix('key/')}"}


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
