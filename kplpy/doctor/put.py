"""Puts one record with a real producer, on request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from kplpy.doctor.examination import Examination
from kplpy.doctor.finding import Finding
from kplpy.hash_keys import hash_of
from kplpy.records import RecordResult

KEY = "kplpy-doctor"
PATIENCE = 10.0
"""Seconds until the record fails."""


def check_put(examination: Examination) -> Iterator[Finding]:
    """Yield the finding "test_put"."""
    if not examination.options.put:
        yield Finding("test_put", "unchecked", "no record was put (--put puts one)")
        return
    if examination.obstacle:
        return
    patience = min(PATIENCE, examination.deadline - time.monotonic())
    if patience <= 0.1:
        yield Finding("test_put", "unchecked", "the time for the examination is up (--timeout)")
        return
    try:
        result = _put(examination, patience)
    except Exception as error:  # whatever keeps a producer from putting is the finding
        text = f"not delivered: {type(error).__name__}: {error}"
        yield Finding("test_put", "failure", text, "see the other findings, and docs/recipes.md")
        return
    yield _judge(examination, result)


def _put(examination: Examination, patience: float) -> RecordResult:
    from kplpy.producer import Producer

    milliseconds = max(1000, int(patience * 1000))
    config = replace(
        examination.config,
        record_ttl_ms=milliseconds,
        record_max_buffered_time_ms=0,
        close_timeout_ms=milliseconds,
        metrics_level="none",
        spool=None,
        stats_path=None,
        streams=None,
        on_failure=None,
        value_serializer=None,
        key_serializer=None,
    )
    with Producer(config) as producer:
        text = f"kplpy doctor, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
        return producer.put_record(examination.stream, text.encode(), KEY).result(timeout=patience + 5)


def _judge(examination: Examination, result: RecordResult) -> Finding:
    milliseconds = result.attempts[-1].duration * 1000
    failed = [each for each in result.attempts if not each.success]
    figures = {
        "shard": result.shard_id,
        "sequence_number": result.sequence_number,
        "attempts": len(result.attempts),
        "ms": round(milliseconds, 1),
    }
    text = f"delivered to {result.shard_id} by a request of {milliseconds:,.0f} ms"
    if failed:
        codes = ", ".join(sorted({str(each.error_code) for each in failed}))
        text += f", at attempt {len(result.attempts)}: {codes}"
        return Finding("test_put", "warning", text, "see docs/recipes.md for throttling and failures", figures)
    expected = [each.shard_id for each in examination.shards or () if each.holds(hash_of(KEY))]
    if expected and expected[0] != result.shard_id and not examination.is_auto:
        text += f", but its key belongs to {expected[0]}"
        return Finding("test_put", "warning", text, "the shards changed just now, or the strategy is AUTO", figures)
    return Finding("test_put", "ok", text, "", figures)
