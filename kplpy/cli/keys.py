"""Functions that take a line's partition key from its JSON or by a regular expression."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

# Returns the partition key of a line, or None if the line has no key.
KeyOf = Callable[[bytes], "str | None"]


def json_key(path: str) -> KeyOf:
    """Return a function that takes the key from a field of a JSON line.

    path: `id`, `customer.id` for a nested field, `items.0.id` for a field of a list's element. Texts, numbers (as they
    are written) and booleans are keys. Null, lists, objects and the empty text are not.
    """
    steps = path.split(".")

    def key_of(line: bytes) -> str | None:
        try:
            # Numbers stay as they are written, so that 1.10 and 1.1 are different keys.
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
    """Return a function that takes the key from the pattern's first group, or from the whole match.

    Bytes that are not UTF-8 are read as U+FFFD.
    """
    group = 1 if pattern.groups else 0

    def key_of(line: bytes) -> str | None:
        match = pattern.search(line.decode("utf-8", "replace"))
        return (match[group] or None) if match else None

    return key_of
