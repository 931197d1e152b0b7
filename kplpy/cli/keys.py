"""Where a line's partition key comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

# A line's key; None: it has none.
KeyOf = Callable[[bytes], "str | None"]


def json_key(path: str) -> KeyOf:
    """The value of a field, `customer.id` for one within another, `items.0.id` for one within a list.

    Texts, numbers (as they are written) and booleans are keys; null, lists, objects and the empty text are not.
    """
    steps = path.split(".")

    def key_of(line: bytes) -> str | None:
        try:
            # Numbers stay as they are written: 1.10 and 1.1 are the producer's business, not ours.
            value: Any = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            return None
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        if isinstance(value, bool):
            return "true" if value else "false"
        return value if isinstance(value, str) and value else None

    return key_of


def regex_key(pattern: re.Pattern[str]) -> KeyOf:
    """The pattern's first group, or its whole match without a group; bytes that are not UTF-8 read as U+FFFD."""
    group = 1 if pattern.groups else 0

    def key_of(line: bytes) -> str | None:
        match = pattern.search(line.decode("utf-8", "replace"))
        return (match[group] or None) if match else None

    return key_of
