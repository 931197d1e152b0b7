"""docs/kpl.md matches the recorded KPL and kplpy's table. `python scripts/kpl_page.py --write` updates the page."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[3]
_spec = importlib.util.spec_from_file_location("kpl_page", ROOT / "scripts/kpl_page.py")
assert _spec is not None
assert _spec.loader is not None
kpl_page = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kpl_page)


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs/kpl.md").read_text(encoding="utf-8")
    assert page == kpl_page.update(page), "run: python scripts/kpl_page.py --write"


def test_each_option_of_the_kpl_has_a_place_or_a_reason() -> None:
    rows = [row.strip("| ").split("|") for row in kpl_page.options().splitlines()[2:]]
    assert len(rows) == 51
    for name, _, _, place, *note in rows:
        assert place.strip(), name
        assert place != " no effect " or note, name
