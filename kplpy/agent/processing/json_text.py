r"""JSON as Jackson reads and writes it, which the Kinesis Agent does with: compact, or pretty-printed.

Characters outside ASCII, "/" and DEL stay as they are. Control characters without a short escape are \u00XX with
capital letters, where Python's json writes small ones. Numbers with a fraction have the form of Java's Double.toString.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from json import JSONDecoder
from json.encoder import encode_basestring
from typing import Any


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_decode = JSONDecoder(parse_constant=_no_constant).raw_decode


def object_of(text: str) -> dict[str, Any]:
    """Return the JSON object that a text begins with. What follows the object is ignored. Raises ValueError."""
    try:
        value, _ = _decode(text.lstrip(" \t\r\n"))
    except RecursionError:
        raise ValueError("the record's JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("the record is no JSON object")
    return value


_HEX = re.compile(r"\\u00([01][0-9a-f])|\\\\")


def with_capitals(text: str) -> str:
    r"""Return JSON text with the \u00xx of Python's json as Jackson writes them."""
    return _HEX.sub(lambda match: f"\\u00{match[1].upper()}" if match[1] else match[0], text)


def quote(text: str) -> str:
    quoted = encode_basestring(text)
    return with_capitals(quoted) if "\\u00" in quoted else quoted


def double(value: float) -> str:
    """Return a number as Java's Double.toString: 1.0, 0.001, 1.0E7. Infinity and NaN are texts in Jackson's JSON."""
    if not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    sign = "-" if math.copysign(1, value) < 0 else ""
    size = abs(value)
    if size == 0 or 1e-3 <= size < 1e7:
        return f"{sign}{Decimal(repr(size)):f}" if "e" in repr(size) else sign + repr(size)
    digits = "".join(map(str, Decimal(repr(size)).as_tuple().digits)).rstrip("0")
    exponent = Decimal(repr(size)).adjusted()
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def _scalar(value: Any) -> str | None:
    if isinstance(value, str):
        return quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return double(value) if isinstance(value, float) else None


def compact(value: Any) -> str:
    text = _scalar(value)
    if text is not None:
        return text
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{quote(str(key))}:{compact(each)}" for key, each in value.items()) + "}"
    return "[" + ",".join(map(compact, value)) + "]"


def pretty(value: Any, depth: int = 0) -> str:
    """Return JSON with an object's fields on lines of their own, and arrays within a line."""
    text = _scalar(value)
    if text is not None:
        return text
    if isinstance(value, Mapping):
        if not value:
            return "{ }"
        indent = "  " * (depth + 1)
        fields = (f"{indent}{quote(str(key))} : {pretty(each, depth + 1)}" for key, each in value.items())
        return "{\n" + ",\n".join(fields) + "\n" + "  " * depth + "}"
    return "[ " + ", ".join(pretty(each, depth) for each in value) + " ]" if value else "[ ]"


def object_writer(names: Sequence[str], pretty_print: bool) -> Callable[[list[str]], bytes]:
    """Return a function that writes one object and a newline from the JSON texts of its values, in names' order.

    A name that occurs twice is written once, at its first place with its last value, as Java's LinkedHashMap has it.
    """
    last = {name: n for n, name in enumerate(names)}
    order = list(last.values())
    keys = [quote(name).replace("%", "%%") for name in last]
    if pretty_print:
        template = "{\n" + ",\n".join(f"  {key} : %s" for key in keys) + "\n}\n" if keys else "{ }\n"
    else:
        template = "{" + ",".join(f"{key}:%s" for key in keys) + "}\n"
    in_order = order == list(range(len(names)))

    def write(values: list[str]) -> bytes:
        text = template % tuple(values if in_order else [values[n] for n in order])
        # "replace", as Java writes a lone surrogate
        return (with_capitals(text) if "\\u00" in text else text).encode("utf-8", "replace")

    return write
