"""Reads a sample of the stream's records: for the same time from each shard."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from kplpy.core.policy import SHARD_RECORDS_PER_SECOND
from kplpy.core.shard_range import ShardRange
from kplpy.doctor.calls import TIME_IS_UP, Answer, Calls
from kplpy.doctor.examination import Examination
from kplpy.doctor.finding import Finding
from kplpy.doctor.permissions import judge
from kplpy.doctor.prices import billed_bytes, put_units
from kplpy.doctor.sample import Sample, ShardSample
from kplpy.doctor.text import brief
from kplpy.reading.source import READ_SPACING
from kplpy.wire.deaggregate import deaggregate

MOST_SHARDS = 32
"""Shards that are read; of more, these are taken at even distances."""
_READS = 5  # of each shard: a response may be empty although records follow
LEAST_SECONDS = 1.0
"""A shard that has more records than its part of the sample is read on until its records cover so long. A full shard
takes 62 records in 0.06 s, which is too short to tell a rate."""
_KEPT_BYTES = 16 << 20  # of user records, to pack them


def take_sample(examination: Examination) -> Iterator[Finding]:
    """Set the examination's sample. Yield the findings "permission.GetRecords" and "sample"."""
    calls, shards = examination.calls, examination.shards
    if calls is None or examination.obstacle or not shards:
        return
    if not examination.options.sample:
        for check in ("permission.GetRecords", "sample"):
            yield Finding(check, "unchecked", "no sample was wanted (--no-sample)")
        return
    since = examination.service_time - examination.options.since
    sample = Sample([ShardSample(each) for each in _chosen(shards)], len(shards))
    answers = _read_in_rounds(examination, calls, sample, since)
    read = [each for each in answers if each.operation == "GetRecords"]
    if read:
        yield judge(examination, next((each for each in read if each.is_ok), read[0]))
    _set_times(examination, sample, since)
    if sample.total("records"):
        examination.sample = sample
    yield _describe(examination, sample)


def _chosen(shards: Sequence[ShardRange]) -> list[ShardRange]:
    count = min(len(shards), MOST_SHARDS)
    return [shards[at * len(shards) // count] for at in range(count)]


def _read_in_rounds(examination: Examination, calls: Calls, sample: Sample, since: float) -> list[Answer]:
    """Read each shard once a round, READ_SPACING apart. Return all answers."""
    limit = max(1, min(10_000, examination.options.sample // len(sample.shards)))
    start = datetime.fromtimestamp(since, timezone.utc)
    places: dict[str, str] = {}
    answers: list[Answer] = []
    for turn in range(_READS):
        began = time.monotonic()
        for each in sample.shards:
            if not each.is_done:
                answers += _read(examination, calls, sample, each, places, start, limit)
        if all(each.is_done for each in sample.shards):
            break
        if turn < _READS - 1:
            time.sleep(max(0.0, min(READ_SPACING - (time.monotonic() - began), calls.seconds_left)))
    return answers


def _read(
    examination: Examination,
    calls: Calls,
    sample: Sample,
    one: ShardSample,
    places: dict[str, str],
    start: datetime,
    limit: int,
) -> Iterator[Answer]:
    """Read one shard once. Yield the answers."""
    shard_id = one.shard.shard_id
    if shard_id not in places:
        wanted = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": start}
        answer = calls.ask("GetShardIterator", **examination.place, ShardId=shard_id, **wanted)
        yield answer
        if not answer.is_ok:
            one.problem, one.is_done = answer, True
            return
        places[shard_id] = answer.response["ShardIterator"]
    more = limit - one.records if one.records < limit else SHARD_RECORDS_PER_SECOND
    answer = calls.ask("GetRecords", ShardIterator=places[shard_id], Limit=more)
    yield answer
    if not answer.is_ok:
        one.is_done = True
        if not one.records:
            one.problem = answer
        return
    records = answer.response.get("Records") or []
    for record in records:
        _count(sample, one, record)
    behind = bool(answer.response.get("MillisBehindLatest"))
    one.is_cut = behind
    places[shard_id] = answer.response.get("NextShardIterator") or ""
    is_enough = one.records >= limit and one.span >= LEAST_SECONDS
    one.is_done = is_enough or not behind or not places[shard_id]


def _count(sample: Sample, one: ShardSample, record: Mapping[str, Any]) -> None:
    size = len(record["Data"]) + len((record.get("PartitionKey") or "").encode())
    one.records += 1
    one.bytes += size
    one.units += put_units(size)
    one.billed += billed_bytes(size)
    arrival = record.get("ApproximateArrivalTimestamp")
    if isinstance(arrival, datetime):
        one.last = arrival.timestamp()
        one.first = one.first if one.first is not None else one.last
    try:
        users = deaggregate(record)
    except ValueError as error:
        sample.unreadable += 1
        sample.unreadable_reason = sample.unreadable_reason or str(error)
        return
    sizes = [len(each.data) + len((each.partition_key or "").encode()) for each in users]
    if not deaggregate(record, starting_hash_key=one.shard.start, ending_hash_key=one.shard.end):
        sample.misplaced += 1
    sample.aggregates += len(users) > 1
    one.user_records += len(users)
    one.user_bytes += sum(sizes)
    keyed = [(each.partition_key, weight) for each, weight in zip(users, sizes, strict=True) if each.partition_key]
    one.keys.add([key for key, _ in keyed], [weight for _, weight in keyed])
    if sample.kept_bytes < _KEPT_BYTES:
        one.kept += users
        sample.kept_bytes += sum(sizes)


def _set_times(examination: Examination, sample: Sample, since: float) -> None:
    """Set the seconds that each shard's sample covers, at least one.

    If each shard was read to its end, the sample covers all of the time since `since` that the stream keeps. If not, it
    begins with the first record of any shard, because the time before a burst is not part of its rate. It ends now, or
    with the last record of a shard that was not read to its end.
    """
    first = min((each.first for each in sample.shards if each.first is not None), default=since)
    begin = first if any(each.is_cut for each in sample.shards) else min(first, max(since, _oldest(examination)))
    for each in sample.shards:
        end = each.last if each.is_cut and each.last is not None else examination.service_time
        each.seconds = max(LEAST_SECONDS, end - begin)


def _oldest(examination: Examination) -> float:
    """Return the Unix time since which the stream keeps records: its retention, or its creation. 0 if unknown."""
    summary = examination.summary or {}
    created, hours = summary.get("StreamCreationTimestamp"), summary.get("RetentionPeriodHours")
    kept_since = examination.service_time - hours * 3600 if isinstance(hours, int) else 0.0
    return max(kept_since, created.timestamp()) if isinstance(created, datetime) else kept_since


def _describe(examination: Examination, sample: Sample) -> Finding:
    figures = {
        "shards_read": len(sample.read),
        "shards_open": sample.open_shards,
        "kinesis_records": sample.total("records"),
        "user_records": sample.total("user_records"),
        "bytes": sample.total("bytes"),
        "unreadable": sample.unreadable,
        "user_records_per_second": round(sample.per_second("user_records"), 2),
        "bytes_per_second": round(sample.per_second("bytes")),
    }
    problems = [each.problem for each in sample.shards if each.problem is not None]
    if len(problems) == len(sample.shards):
        return Finding("sample", "unchecked", problems[0].reason, "", figures)
    of = f"{len(sample.read)} of {sample.open_shards} shards"
    text = (
        f"{sample.total('user_records'):,} user records in {sample.total('records'):,} Kinesis records "
        f"({sample.total('bytes'):,} bytes) of {of}, which take about {brief(sample.per_second('user_records'))} user "
        "records a second"
    )
    if sample.unreadable:
        text += f"; {sample.unreadable:,} could not be read: {sample.unreadable_reason}"
        advice = "install the codec's extra, or look for another program that writes to the stream"
        return Finding("sample", "warning", text, advice, figures)
    if not sample.total("records"):
        text = f"no records in the last {examination.options.since:,.10g} s in {of}"
        return Finding("sample", "note", text, "give --since a longer time", figures)
    unread = [each for each in problems if each.code != TIME_IS_UP] or problems
    if unread:
        return Finding("sample", "note", f"{text}; {len(problems)} failed ({unread[0].reason})", "", figures)
    return Finding("sample", "ok", text, "", figures)
