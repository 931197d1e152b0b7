"""Values of Config's fields from texts: KPL properties files, options of Spark."""

from __future__ import annotations

import json
import re
from dataclasses import Field
from typing import Any


def flag(text: str) -> bool:
    """Return the flag. ValueError: neither true nor false, in any case."""
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError("must be true or false")
    return lowered == "true"


def whole_number(text: str) -> int:
    """Return the number. ValueError: the text is not decimal digits, perhaps with a sign."""
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError("must be a whole number")
    return int(text)


def has_text(field: Field[Any]) -> bool:
    """Return True if the field's values can be given as texts. Sessions and functions cannot."""
    return field.name == "streams" or bool(field.metadata.keys() - {"call"})


def value_of(field: Field[Any], text: str) -> Any:
    """Return the value of a field for which has_text() is true, as Config takes it.

    "none" is None where None is a value that switches something off. Mappings and tuples are JSON.
    ValueError: the text has the wrong form. Config checks the value itself.
    """
    rules = field.metadata
    if "number" in rules:
        _, _, optional, _ = rules["number"]
        return None if optional and text.lower() == "none" else whole_number(text)
    if "flag" in rules:
        return flag(text)
    if "verify" in rules:
        return flag(text) if text.lower() in ("true", "false") else text
    if "dimensions" in rules:
        return tuple(tuple(each) if isinstance(each, list) else each for each in _parsed(text, list))
    if field.name == "streams":
        return _parsed(text, dict)
    return text


def _parsed(text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"must be JSON ({error})") from None
    if not isinstance(value, kind):
        raise ValueError(f"must be a JSON {'object' if kind is dict else 'array'}")
    return value
