"""Prints the tables of docs/options.md: `python scripts/options.py`, or with `--write` writes them into the page.

Types, defaults, ranges and meanings come from kplpy/config/options.py, the KPL's names from
kplpy/config/kpl_properties.py.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import Field, dataclass, fields
from pathlib import Path

from kplpy.config.kpl_properties import kpl_keys
from kplpy.config.options import Config
from kplpy.config.streams import STREAM_FIELDS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/options.md"
BEGIN, END = "<!-- options: begin -->", "<!-- options: end -->"
HEAD = "| option | type | default | range | meaning | KPL name |\n|---|---|---|---|---|---|"
GROUPS = {
    "connection": "Connection",
    "batching": "Batching",
    "compression": "Compression",
    "time": "Time",
    "order": "Order",
    "serializers": "Serializers",
    "single streams": "Single streams",
    "limits": "Limits",
    "buffer": "Buffer",
    "spool": "Spool",
    "failures and metrics": "Failures and metrics",
}
"""Headings in the page, by the section comments in Config's source."""


@dataclass(frozen=True)
class Option:
    """One row of a table. type: as in the source. meaning: the docstring below the field."""

    name: str
    type: str
    meaning: str


def sections(source: str) -> dict[str, list[Option]]:
    """Return the options by heading, in the source's order. Raises KeyError for a section that is not in GROUPS."""
    lines = source.splitlines()
    config = next(each for each in ast.parse(source).body if isinstance(each, ast.ClassDef) and each.name == "Config")
    marks = {at: text for at, line in enumerate(lines, 1) if (text := re.match(r"    # --- (.*) ---$", line))}
    found: dict[str, list[Option]] = {}
    for statement, following in zip(config.body, [*config.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            heading = GROUPS[max((at, mark[1]) for at, mark in marks.items() if at < statement.lineno)[1]]
            option = Option(statement.target.id, ast.unparse(statement.annotation), _docstring(following))
            found.setdefault(heading, []).append(option)
    return found


def _docstring(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    return ""


def range_of(option_field: Field[object]) -> str:
    """Return the values that Config accepts, from the rules in the field's metadata."""
    rules = option_field.metadata
    if "number" in rules:
        low, high, _, _ = rules["number"]
        return f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
    if "longest" in rules:
        return f"at most {rules['longest']} bytes"
    if option_field.name.endswith("_url"):
        return "http:// or https://"
    if "namespace" in rules:
        return "1 to 255 characters, not beginning with AWS/"
    return "at most 27; 1 to 255 ASCII characters each" if "dimensions" in rules else ""


def _default(option_field: Field[object]) -> str:
    value = option_field.default
    return f"{value:,}" if type(value) is int else f'"{value}"' if isinstance(value, str) else repr(value)


def _type(text: str) -> str:
    """Return the annotation as text for the page, with a Literal as its values."""
    text = re.sub(r"Literal\[([^\]]*)\]", lambda match: match[1].replace("'", '"').replace(", ", " | "), text)
    return text.replace("|", "\\|")


def tables() -> str:
    """Return the Markdown tables, one for each section."""
    option_fields = {each.name: each for each in fields(Config)}
    parts = []
    for heading, options in sections((ROOT / "kplpy/config/options.py").read_text(encoding="utf-8")).items():
        rows = [HEAD]
        for each in options:
            keys = ", ".join(f"`{key}`" for key in kpl_keys(each.name))
            option_field = option_fields[each.name]
            cells = [f"`{each.name}`", f"`{_type(each.type)}`", f"`{_default(option_field)}`", range_of(option_field)]
            rows.append(f"| {' | '.join(cells)} | {each.meaning.replace('|', chr(92) + '|')} | {keys} |")
        parts.append(f"## {heading}\n\n" + "\n".join(rows))
        if heading == GROUPS["single streams"]:
            names = ", ".join(f"`{name}`" for name in STREAM_FIELDS)
            parts.append(f"A stream takes these options of its own: {names}.")
    return "\n\n".join(parts)


def update(page: str) -> str:
    """Return the page with the current tables between its two marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(update(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tables())
