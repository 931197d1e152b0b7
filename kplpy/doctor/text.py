"""Numbers as the report's sentences have them."""

from __future__ import annotations

from math import floor, log10


def brief(number: float) -> str:
    """Return a number of 0 or more with two significant digits: 0.53, 1.2, 790, 12,000."""
    if not number > 0:
        return "0"
    digits = 1 - floor(log10(number))
    rounded = round(number, digits)
    digits = max(0, 1 - floor(log10(rounded)))  # 9.96 became 10
    return f"{rounded:,.{digits}f}"


def percent(part: float) -> str:
    """Return a part of 1 as percent with two significant digits."""
    return f"{brief(part * 100)} %"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 shard, 1,200 shards, no shards."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}" if number else f"no {noun}s"
