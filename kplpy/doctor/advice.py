"""Advice with figures: aggregation, compression, shards needed at a rate, and dollars a month."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

from kplpy.core.policy import SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND
from kplpy.doctor import packing
from kplpy.doctor.examination import Examination
from kplpy.doctor.finding import Finding
from kplpy.doctor.packing import Packed
from kplpy.doctor.sample import Sample
from kplpy.doctor.skew import FULL
from kplpy.doctor.text import brief, counted

GAIN = 2.0
"""The gain from which aggregation or compression is worth a note."""
_MOST = 1 << 18  # user records of an aggregate
# The ways that need fewer shards, the simplest first, as an advice.
_MEANS = {
    "aggregated": "aggregate the records",
    "gzip": "compress the records with gzip",
    "zstd": "compress the records with zstd",
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send the records: its name, and what it makes of the sample."""

    name: str
    packed: Packed


def check_advice(examination: Examination) -> Iterator[Finding]:
    """Yield the findings "aggregation", "compression", "capacity" and "cost"."""
    sample = examination.sample
    ways: list[Way] = []
    rate = examination.options.rate
    if sample is not None and sample.total("user_records"):
        rate = rate if rate is not None else sample.per_second("user_records")
        ways = _ways(examination, sample, rate)
        yield _aggregation(examination, sample, ways, rate)
        yield _compression(ways, rate)
    elif examination.options.record_size is not None:
        alone = Packed()
        alone.add(examination.options.record_size, 1)
        ways = [Way("one by one", alone)]
    if examination.obstacle:
        return
    if rate is None or not ways:
        text = "a sample, or --rate and --record-size, would tell"
        yield Finding("capacity", "unchecked", text)
        yield Finding("cost", "unchecked", text)
        return
    yield _capacity(examination, ways, rate)
    yield _cost(examination, ways, rate)


def _ways(examination: Examination, sample: Sample, rate: float) -> list[Way]:
    config = examination.config
    # A batch is sent when it is full or when its first record has waited for the linger.
    waiting = rate / sample.open_shards * config.record_max_buffered_time_ms / 1000
    at_most = max(1, min(_MOST, config.aggregation_max_count, int(waiting)))
    ways = [Way("as now", packing.as_stored(sample)), Way("one by one", packing.plain(sample))]
    if not examination.is_auto:
        ways.append(Way("aggregated", packing.aggregated(sample, config, at_most)))
    codecs: tuple[Literal["gzip", "zstd"], ...] = ("gzip", "zstd")
    for codec in codecs:
        try:
            ways.append(Way(codec, packing.aggregated(sample, config, at_most, codec)))
        except ImportError:
            pass  # without zstandard
    return ways


def _aggregation(examination: Examination, sample: Sample, ways: list[Way], rate: float) -> Finding:
    by_name = {each.name: each.packed for each in ways}
    now = by_name["as now"]
    held = now.user_records / now.records
    if "aggregated" not in by_name:
        text = (
            f"{brief(held)} user records in a Kinesis record; on an AUTO stream kplpy aggregates only with compression"
        )
        return Finding("aggregation", "ok", text, "", {"now": round(held, 2)})
    at_rate = by_name["aggregated"]
    full = packing.aggregated(sample, examination.config, _MOST)
    could, most = at_rate.user_records / at_rate.records, full.user_records / full.records
    linger = examination.config.record_max_buffered_time_ms
    figures = {"now": round(held, 2), "at_rate": round(could, 2), "full": round(most, 2), "linger_ms": linger}
    text = (
        f"{brief(held)} user records in a Kinesis record now; {brief(could)} at {brief(rate)} records/s with a linger "
        f"of {linger} ms; {brief(most)} in a full aggregate"
    )
    if could >= held * GAIN:
        advice = "put with kplpy's or the KPL's aggregation; its readers must deaggregate (docs/readers.md)"
        return Finding("aggregation", "note", text, advice, figures)
    return Finding("aggregation", "ok", text, "", figures)


def _compression(ways: list[Way], rate: float) -> Finding:
    by_name = {each.name: each.packed for each in ways}
    now = by_name["as now"].per_user_record("bytes")
    found = {codec: by_name[codec].per_user_record("bytes") for codec in ("gzip", "zstd") if codec in by_name}
    best = min(found, key=lambda codec: found[codec])
    figures: dict[str, float] = {"now": round(now, 1)}
    figures.update({codec: round(size, 1) for codec, size in found.items()})
    sizes = ", ".join(f"{brief(size)} with {codec}" for codec, size in found.items())
    text = f"{brief(now)} bytes for a user record now; at {brief(rate)} records/s {sizes}"
    if now >= found[best] * GAIN:
        advice = f"compression={best!r}; its readers must know the format (docs/compression.md)"
        return Finding("compression", "note", text, advice, figures)
    return Finding("compression", "ok", text, "", figures)


def shards_needed(packed: Packed, rate: float) -> int:
    """Return the shards that take `rate` user records a second, each used up to 80 %."""
    records = packed.per_user_record("records") * rate / SHARD_RECORDS_PER_SECOND
    size = packed.per_user_record("bytes") * rate / SHARD_BYTES_PER_SECOND
    return max(1, ceil(max(records, size) / FULL))


def _capacity(examination: Examination, ways: list[Way], rate: float) -> Finding:
    needed = {each.name: shards_needed(each.packed, rate) for each in ways}
    shards = examination.open_shards
    figures: dict[str, Any] = {"rate": round(rate, 2), "shards_needed": needed, "shards_open": shards}
    name, wanted = next(iter(needed.items()))
    text = f"{counted(wanted, 'shard')} needed at {brief(rate)} user records/s, sent {name}"
    if examination.is_on_demand:
        return Finding("capacity", "ok", f"{text}; an on-demand stream adds them by itself", "", figures)
    if shards is None:
        return Finding("capacity", "ok", text, "", figures)
    text += f"; {shards:,} open"
    if wanted > shards:
        enough = [how for name, how in _MEANS.items() if needed.get(name, wanted) <= shards]
        advice = f"open {counted(wanted, 'shard')}"
        if enough:
            advice = f"{enough[0]}: then they fit into the open shards; or {advice}"
        return Finding("capacity", "warning", text, advice, figures)
    if shards > 1 and wanted * 2 <= shards:
        return Finding("capacity", "note", text, f"{wanted:,} would do, if this is the highest rate", figures)
    return Finding("capacity", "ok", text, "", figures)


def _cost(examination: Examination, ways: list[Way], rate: float) -> Finding:
    prices = examination.options.prices
    table = {}
    for each in ways:
        packed, shards = each.packed, shards_needed(each.packed, rate)
        billed, size = packed.per_user_record("billed") * rate, packed.per_user_record("bytes") * rate
        table[each.name] = {
            "shards": shards,
            "provisioned": round(prices.provisioned(shards, packed.per_user_record("units") * rate), 2),
            "on_demand": round(prices.on_demand(billed, size), 2),
        }
    text = f"dollars a month at {brief(rate)} user records/s, with the shards needed and one reader ({prices.source})"
    return Finding("cost", "ok", text, "", {"rate": round(rate, 2), "by_way": table})
