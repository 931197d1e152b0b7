"""Checks what the service says of the stream: status, mode, strategy, largest record, encryption, consumers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kplpy.aws.kinesis.control_plane import RECORD_SIZE
from kplpy.core.routing.placement import AUTO
from kplpy.doctor.examination import Examination
from kplpy.doctor.finding import Finding
from kplpy.doctor.permissions import judge
from kplpy.doctor.policy import stream_arn

MOST_CONSUMERS = 20
"""Registered consumers of a stream in most accounts (https://docs.aws.amazon.com/streams/latest/dev/limits.html)."""


def check_stream(examination: Examination) -> Iterator[Finding]:
    """Yield the findings "status", "mode", "strategy" and "record_size"."""
    summary = examination.summary
    answers = [each for each in (examination.description, examination.listing) if each is not None]
    missing = [each for each in answers if each.is_missing]
    if missing:
        region = examination.region
        advice = f"check the name, the region ({region}), and that the credentials are of the right account"
        yield Finding("status", "failure", f"no such stream: {missing[0].message}", advice)
    if summary is None:
        return
    yield _status(summary)
    yield _mode(summary)
    yield _strategy(examination)
    yield _record_size(examination)


def _status(summary: Mapping[str, Any]) -> Finding:
    status = str(summary["StreamStatus"])
    figures = {"status": status}
    if status == "ACTIVE":
        return Finding("status", "ok", "ACTIVE", "", figures)
    if status == "UPDATING":
        return Finding("status", "note", "UPDATING: puts work; shards or settings change", "", figures)
    return Finding("status", "failure", f"{status}: records cannot be put", "wait until the stream is ACTIVE", figures)


def _mode(summary: Mapping[str, Any]) -> Finding:
    mode = str(summary.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED"))
    hours = summary.get("RetentionPeriodHours")
    warm = (summary.get("WarmThroughput") or {}).get("CurrentMiBps")
    text = f"{mode}, records are kept for {hours} hours" + (f", warm throughput {warm} MiB/s" if warm else "")
    return Finding("mode", "ok", text, "", {"mode": mode, "retention_hours": hours, "warm_mibps": warm})


def _strategy(examination: Examination) -> Finding:
    strategy = examination.strategy
    if strategy is None:
        return Finding("strategy", "unchecked", "the response has no RecordDistributionStrategy")
    figures = {"strategy": strategy}
    if strategy == AUTO:
        text = (
            "AUTO: the service chooses each record's shard. Records of one key have no order, and kplpy aggregates "
            "nothing without compression"
        )
        return Finding("strategy", "note", text, "compression='zstd' sends batches here too", figures)
    return Finding("strategy", "ok", f"{strategy}: the partition keys choose the shards", "", figures)


def _record_size(examination: Examination) -> Finding:
    answer, summary = examination.description, examination.summary or {}
    kib = (answer.response.get(RECORD_SIZE) if answer is not None else None) or summary.get(RECORD_SIZE)
    if not isinstance(kib, int):
        return Finding("record_size", "unchecked", f"the response has no {RECORD_SIZE}")
    config = examination.config
    largest = max(config.max_user_record_size, config.aggregation_max_size if config.aggregation_enabled else 0)
    figures = {"limit_bytes": kib * 1024, "producer_bytes": largest}
    if largest > kib * 1024:
        text = f"the stream takes records up to {kib:,} KiB, the producer accepts {largest:,} bytes"
        advice = "lower max_user_record_size and aggregation_max_size, or raise the limit with UpdateMaxRecordSize"
        return Finding("record_size", "warning", text, advice, figures)
    return Finding("record_size", "ok", f"up to {kib:,} KiB", "", figures)


def check_encryption(examination: Examination) -> Iterator[Finding]:
    """Yield the finding "encryption"."""
    summary, answer = examination.summary, examination.put_answer
    kind = str((summary or {}).get("EncryptionType") or "")
    key = (summary or {}).get("KeyId")
    figures = {"type": kind or None, "key": key}
    if answer is not None and answer.code.startswith("KMS") and answer.code != "KMSThrottlingException":
        advice = "enable the key, and allow the identity kms:GenerateDataKey on it"
        yield Finding("encryption", "failure", f"puts fail: {answer.error}", advice, figures)
    elif kind == "KMS":
        text = f"KMS key {key}; producers need kms:GenerateDataKey on it, readers kms:Decrypt"
        yield Finding("encryption", "ok", text, "", figures)
    elif kind:
        yield Finding("encryption", "ok", "no KMS key", "", figures)


def check_consumers(examination: Examination) -> Iterator[Finding]:
    """Yield the findings "consumers" and "permission.ListStreamConsumers"."""
    calls = examination.calls
    arn = stream_arn(examination) if calls is not None else ""
    if calls is None or examination.obstacle:
        return
    if ":*:" in arn:
        yield Finding("permission.ListStreamConsumers", "unchecked", "the call needs the stream's ARN")
        return
    answer = calls.ask("ListStreamConsumers", StreamARN=arn, MaxResults=100)
    yield judge(examination, answer)
    if answer.is_ok:
        names = [str(each["ConsumerName"]) for each in answer.response.get("Consumers", [])]
        count, text = len(names), ", ".join(names) or "none registered"
    elif isinstance((examination.summary or {}).get("ConsumerCount"), int):
        count = int((examination.summary or {})["ConsumerCount"])
        names, text = [], f"{count} registered; their names are not known ({answer.reason})"
    else:
        yield Finding("consumers", "unchecked", answer.reason)
        return
    figures = {"count": count, "names": names}
    if count >= MOST_CONSUMERS:
        text = f"{count} registered: {text}; most accounts allow {MOST_CONSUMERS}"
        yield Finding("consumers", "note", text, "deregister consumers that nothing uses", figures)
    else:
        yield Finding("consumers", "ok", text, "", figures)
