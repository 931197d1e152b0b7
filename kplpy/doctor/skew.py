"""Judges where the sample's records are: on their shards, how evenly, and which partition keys are hot."""

from __future__ import annotations

from collections.abc import Iterator

from kplpy.core.policy import SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND
from kplpy.doctor.examination import Examination
from kplpy.doctor.finding import Finding
from kplpy.doctor.sample import Sample, ShardSample
from kplpy.doctor.text import brief, counted, percent
from kplpy.escaping import brief_repr

FULL = 0.8
"""The part of a shard's limit from which it is a warning."""
UNBALANCED = 2.0
"""The busiest shard's load, in average loads, from which the shards are unbalanced."""
LEAST = 100
"""Records below which skew may be chance."""
_SHOWN = 5  # keys


def check_skew(examination: Examination) -> Iterator[Finding]:
    """Yield the findings "placement", "load", "balance" and "hot_keys"."""
    sample = examination.sample
    if sample is None:
        return
    yield _placement(sample)
    yield _load(examination, sample)
    yield _balance(examination, sample)
    yield _hot_keys(examination, sample)


def _placement(sample: Sample) -> Finding:
    figures = {"aggregates": sample.aggregates, "misplaced": sample.misplaced}
    if not sample.misplaced:
        text = "no aggregates"
        if sample.aggregates:
            text = f"{counted(sample.aggregates, 'aggregate')} on the right shard"
        return Finding("placement", "ok", text, "", figures)
    count = counted(sample.misplaced, "aggregate")
    text = f"{count} on another shard than the records' keys; the KCL drops such aggregates whole"
    advice = "look for a writer that aggregates on an AUTO stream, or with a partition key of its own for the aggregate"
    return Finding("placement", "warning", text, advice, figures)


def _part_of_limit(one: ShardSample) -> float:
    return max(
        one.bytes_per_second / SHARD_BYTES_PER_SECOND,
        one.records_per_second / SHARD_RECORDS_PER_SECOND,
    )


def _load(examination: Examination, sample: Sample) -> Finding:
    busiest = max(sample.read, key=_part_of_limit)
    part = _part_of_limit(busiest)
    text = (
        f"busiest shard {busiest.shard.shard_id}: {brief(busiest.records_per_second)} Kinesis records/s, "
        f"{brief(busiest.bytes_per_second / 1024)} KiB/s, {percent(part)} of what a shard takes"
    )
    figures = {
        "shard": busiest.shard.shard_id,
        "records_per_second": round(busiest.records_per_second, 2),
        "bytes_per_second": round(busiest.bytes_per_second),
        "part_of_limit": round(part, 4),
    }
    if part >= FULL:
        more = "the service adds shards by itself, after a while" if examination.is_on_demand else "add shards"
        advice = f"{more}; aggregation and compression put more into each (see below)"
        return Finding("load", "warning", text, advice, figures)
    return Finding("load", "ok", text, "", figures)


def _balance(examination: Examination, sample: Sample) -> Finding:
    if len(sample.read) < 2:
        return Finding("balance", "ok", "one shard was read")
    loads = {each.shard.shard_id: each.bytes_per_second for each in sample.read}
    busiest = max(loads, key=lambda each: loads[each])
    mean = sum(loads.values()) / len(loads)
    ratio = loads[busiest] / mean if mean else 1.0  # empty records without keys have no bytes
    figures = {
        "busiest": busiest,
        "times_average": round(ratio, 2),
        "bytes_per_second": {name: round(load) for name, load in loads.items()},
    }
    text = f"{busiest} takes {ratio:.1f} times the average shard's bytes"
    if ratio >= UNBALANCED and sample.total("records") >= LEAST and not examination.is_auto:
        split = "" if examination.is_on_demand else "if the shard is large, split it; "
        advice = f"if it is one key, see hot_keys; {split}else use more distinct keys"
        return Finding("balance", "warning", text, advice, figures)
    return Finding("balance", "ok", text, "", figures)


def _hot_keys(examination: Examination, sample: Sample) -> Finding:
    loads: dict[str, float] = {}
    for each in sample.read:
        for key, (weight, overcount) in each.keys.counters().items():
            loads[key] = loads.get(key, 0.0) + (weight - overcount) / each.seconds
    total = sum(each.user_bytes / each.seconds for each in sample.read)
    if not loads or not total:
        return Finding("hot_keys", "unchecked", "no record has a partition key")
    heaviest = sorted(loads, key=lambda key: (-loads[key], key))[:_SHOWN]
    shares = {key: loads[key] / total for key in heaviest}
    text = "of the bytes: " + ", ".join(f"{brief_repr(key, 40)} {percent(part)}" for key, part in shares.items())
    figures = {"keys": [{"partition_key": key, "share": round(part, 4)} for key, part in shares.items()]}
    hottest = shares[heaviest[0]]
    is_hot = hottest * sample.open_shards >= 1 and sample.open_shards > 1 and not examination.is_auto
    if is_hot and sample.total("user_records") >= LEAST:
        text += f"; so the stream takes at most {1 / hottest:.1f} shards' worth, of {sample.open_shards}"
        advice = (
            "more shards do not help one key: add a suffix to it (key-1, key-2, …), choose a finer key, or put without "
            "a key where order does not matter"
        )
        return Finding("hot_keys", "warning", text, advice, figures)
    return Finding("hot_keys", "ok", text, "", figures)
