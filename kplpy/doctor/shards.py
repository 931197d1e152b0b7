"""Checks the open shards: their number, and how even their hash ranges are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kplpy.core.shard_range import LAST_KEY, ShardRange
from kplpy.doctor.examination import Examination
from kplpy.doctor.finding import Finding
from kplpy.doctor.text import percent

UNEVEN = 1.5
"""The largest shard's share of the hash keys, in even shares, from which the shards are uneven."""
_NAMED = 50  # shards whose shares are in the figures


def share(shard: ShardRange) -> float:
    """Return the part of all hash keys that the shard takes, 0 to 1."""
    return (shard.end - shard.start + 1) / (LAST_KEY + 1)


def check_shards(examination: Examination) -> Iterator[Finding]:
    """Yield the finding "shards"."""
    shards = examination.shards
    if shards is None:
        if examination.open_shards is not None and not examination.obstacle:
            text = f"{examination.open_shards} open; they cannot be listed"
            yield Finding("shards", "unchecked", text, "", {"open": examination.open_shards})
        return
    largest = max(shards, key=share, default=None)
    if largest is None:
        yield Finding("shards", "unchecked", "no shard is open yet")
        return
    figures = {
        "open": len(shards),
        "shares": {each.shard_id: round(share(each), 4) for each in shards[:_NAMED]},
        "largest": largest.shard_id,
        "largest_in_even_shares": round(share(largest) * len(shards), 2),
    }
    problem = _gap_or_overlap(shards)
    if problem:
        advice = "list the shards again: a listing may be late after a reshard"
        yield Finding("shards", "failure", f"{len(shards)} open; {problem}", advice, figures)
    elif not examination.is_on_demand and share(largest) * len(shards) >= UNEVEN:
        text = (
            f"{len(shards)} open, uneven: {largest.shard_id} takes {percent(share(largest))} of the hash keys, an even "
            f"share is {percent(1 / len(shards))}"
        )
        advice = "split the largest shard, or set the number of shards with UpdateShardCount, which makes them even"
        yield Finding("shards", "warning", text, advice, figures)
    else:
        shares = "all hash keys" if len(shards) == 1 else f"{_range(shards)} of the hash keys each"
        yield Finding("shards", "ok", f"{len(shards)} open, {shares}", "", figures)


def _range(shards: Sequence[ShardRange]) -> str:
    least, most = percent(min(map(share, shards))), percent(max(map(share, shards)))
    return least if least == most else f"{least} to {most}"


def _gap_or_overlap(shards: Sequence[ShardRange]) -> str:
    """Return a text if the ranges, in order, do not cover each hash key once."""
    expected = 0
    for each in shards:
        if each.start != expected:
            return f"{'a gap' if each.start > expected else 'an overlap'} before {each.shard_id}"
        expected = each.end + 1
    return "" if expected == LAST_KEY + 1 else "a gap after the last shard"
