"""The tables of docs/agent.md match the keys that are read. `python scripts/agent_keys.py --write` updates them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from kplpy.agent.configuration.keys import FLOW_KEYS, GLOBAL_KEYS
from kplpy.agent.processing import OPTION_KEYS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/agent.md").read_text(encoding="utf-8")
_spec = importlib.util.spec_from_file_location("agent_keys", ROOT / "scripts/agent_keys.py")
assert _spec is not None
assert _spec.loader is not None
agent_keys = importlib.util.module_from_spec(_spec)
sys.modules["agent_keys"] = agent_keys
_spec.loader.exec_module(agent_keys)


def test_the_page_is_up_to_date() -> None:
    assert agent_keys.update(PAGE) == PAGE, "run: python scripts/agent_keys.py --write"


def test_every_key_is_in_a_table() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)
    assert [name for name in (*GLOBAL_KEYS, *FLOW_KEYS) if rows.count(name) != 1] == []


def test_every_key_has_a_meaning_or_says_why_it_has_none() -> None:
    for key in (*GLOBAL_KEYS.values(), *FLOW_KEYS.values()):
        assert bool(key.meaning) != bool(key.no_effect), key.name


def test_the_processors_and_their_keys_are_in_the_page() -> None:
    section = PAGE[PAGE.index("## Processors") : PAGE.index("## What differs")]
    named = set(re.findall(r"`([A-Za-z]\w+)`", section)) | set(re.findall(r'"(\w+)":', section))
    assert {*OPTION_KEYS, *(key for keys in OPTION_KEYS.values() for key in keys)} <= named


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("maxBufferAgeMillis", "60,000"),
        ("truncatedRecordTerminator", "`\\n`"),
        ("cloudwatch.emitMetrics", "`true`"),
        ("multiLineStartPattern", "none"),
        ("filePattern", "required"),
        ("initialPosition", "`END_OF_FILE`"),
    ],
)
def test_defaults_are_those_of_the_settings(name: str, expected: str) -> None:
    assert agent_keys.default_text({**GLOBAL_KEYS, **FLOW_KEYS}[name]) == expected
