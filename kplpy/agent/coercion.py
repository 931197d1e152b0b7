"""The Kinesis Agent's coercions: numbers and booleans for texts, and texts for booleans."""

from __future__ import annotations

from typing import Any

_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


def as_text(value: Any) -> str:
    """Return a text, or the text of a number or boolean. Raises ValueError for a list or an object."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError


def as_flag(value: Any) -> bool:
    """Return a boolean, or that of a word or number: true, t, yes, y, 1; false, f, no, n, 0. Raises ValueError."""
    word = as_text(value).lower()
    if word not in (*_TRUE, *_FALSE):
        raise ValueError
    return word in _TRUE
