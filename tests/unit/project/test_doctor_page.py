"""docs/doctor.md has the outputs and the checks as they are. `python scripts/doctor_page.py --write` updates it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from kplpy.doctor.prices import PRICE_NAMES, Prices

ROOT = Path(__file__).parents[3]
_spec = importlib.util.spec_from_file_location("doctor_page", ROOT / "scripts/doctor_page.py")
assert _spec is not None
assert _spec.loader is not None
doctor_page = importlib.util.module_from_spec(_spec)
sys.modules["doctor_page"] = doctor_page  # dataclasses look up their module there
_spec.loader.exec_module(doctor_page)

PAGE = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")


def without_codecs(page: str) -> str:
    """Return the page without the sizes and costs of compressed data: versions of zlib and zstd differ a little."""
    page = re.sub(r"[\d.]+ with (gzip|zstd)", r"N with \1", page)
    return re.sub(r"^( +(?:gzip|zstd) ).*$", r"\1N", page, flags=re.MULTILINE)


def test_the_page_has_what_the_command_prints() -> None:
    if sys.version_info < (3, 14):
        pytest.importorskip("zstandard")
    assert without_codecs(PAGE) == without_codecs(doctor_page.update(PAGE)), (
        "run: python scripts/doctor_page.py --write"
    )


def test_the_page_shows_a_sound_and_five_broken_set_ups() -> None:
    codes = re.findall(r"^exit code (\d)$", PAGE, re.MULTILINE)
    assert codes == ["0", "1", "1", "1", "1", "1"]


def test_the_page_has_the_default_prices() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| .* \|$", PAGE, re.MULTILINE)
    assert [(name, float(dollars)) for name, dollars in rows] == [
        (name, getattr(Prices(), name)) for name in PRICE_NAMES
    ]
