"""The page of options matches Config. `python scripts/options.py --write` updates the page."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from kplpy.config.kpl_properties import kpl_keys, read
from kplpy.config.options import Config

ROOT = Path(__file__).parents[3]
_spec = importlib.util.spec_from_file_location("options", ROOT / "scripts/options.py")
assert _spec is not None
assert _spec.loader is not None
options = importlib.util.module_from_spec(_spec)
sys.modules["options"] = options  # dataclasses look up their module there
_spec.loader.exec_module(options)

ROWS = {
    each.name: each
    for section in options.sections((ROOT / "kplpy/config/options.py").read_text(encoding="utf-8")).values()
    for each in section
}


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs/options.md").read_text(encoding="utf-8")
    assert page == options.update(page), "run: python scripts/options.py --write"


def test_every_option_is_in_a_table_with_a_meaning() -> None:
    assert list(ROWS) == [each.name for each in fields(Config)]
    assert [name for name, each in ROWS.items() if not each.meaning] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rate_limit", "1 or more"),
        ("collection_max_size", "52,224 to 10,485,760"),
        ("stats_path", "at most 80 bytes"),
        ("endpoint_url", "http:// or https://"),
        ("ordered", ""),
    ],
)
def test_ranges_are_those_that_config_checks(name: str, expected: str) -> None:
    assert options.range_of(Config.__dataclass_fields__[name]) == expected


def test_the_named_kpl_keys_set_the_option(tmp_path: Path) -> None:
    assert kpl_keys("record_ttl_ms") == ["RecordTtl"]
    assert kpl_keys("endpoint_url") == ["KinesisEndpoint", "CustomEndpoint", "KinesisPort", "Port"]
    assert kpl_keys("ordered") == []
    properties = tmp_path / "kpl.properties"
    for each in fields(Config):
        for key in kpl_keys(each.name):
            properties.write_text(f"{key} = 443\n" if "Port" in key else f"{key} = {_example(each.name)}\n")
            assert set(read(properties)) <= {each.name}
            assert "Port" in key or each.name in read(properties)


def _example(name: str) -> str:
    if choices := Config.__dataclass_fields__[name].metadata.get("choice"):
        return str(choices[-1])
    default = Config.__dataclass_fields__[name].default
    if isinstance(default, bool):
        return str(default).lower()
    return str(default) if default is not None else "true"
