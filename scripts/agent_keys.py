"""Prints the tables of keys in docs/agent.md, or with `--write` writes them into the page.

Names, defaults, rules and meanings come from kplpy/agent/configuration/keys.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kplpy.agent.configuration.keys import FLOW_KEYS, GLOBAL_KEYS, Key, default_of
from kplpy.escaping import escape_controls

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/agent.md"
BEGIN, END = "<!-- keys: begin -->", "<!-- keys: end -->"
HEAD = "| key | default | value | meaning |\n|---|---|---|---|"


def default_text(key: Key) -> str:
    """Return the default as the page shows it."""
    value: Any = default_of(key)
    if key.default is not None or value is None:
        return key.default or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = value.decode() if isinstance(value, bytes) else str(value)
    return f"`{text.lower() if isinstance(value, bool) else escape_controls(text)}`"


def row(key: Key) -> str:
    """Return the row of a key that has an effect."""
    return f"| `{key.name}` | {default_text(key)} | {key.rule.text} | {key.meaning} |"


def table(keys: Iterable[Key]) -> str:
    """Return a table of keys that have an effect."""
    return "\n".join([HEAD, *map(row, keys)])


def tables() -> str:
    """Return all tables with their headings."""
    agents, flows = GLOBAL_KEYS.values(), FLOW_KEYS.values()
    unused = [key for key in (*agents, *flows) if key.no_effect]
    parts = [
        ("Keys of a flow", table(key for key in flows if not key.own and not key.no_effect)),
        ("Keys of a flow, kplpy's own", table(key for key in flows if key.own)),
        ("Keys of the whole agent", table(key for key in agents if not key.own and not key.no_effect)),
        ("Keys of the whole agent, kplpy's own", table(key for key in agents if key.own)),
        (
            "Keys without effect",
            "\n".join(["| key | because |", "|---|---|", *(f"| `{key.name}` | {key.no_effect} |" for key in unused)]),
        ),
    ]
    return "\n\n".join(f"## {heading}\n\n{text}" for heading, text in parts)


def update(page: str) -> str:
    """Return the page with current tables."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def main() -> None:
    if "--write" in sys.argv[1:]:
        PAGE.write_text(update(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tables())


if __name__ == "__main__":
    main()
