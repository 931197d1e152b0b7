"""The clients that scripts/outside_clients.py runs: their versions are pinned, and the page has what it printed."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts/outside_clients.py"
OUTSIDE = ROOT / "tests/outside"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("outside_clients", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # its dataclasses look for their module
        patch.setattr(sys, "path", sys.path[:])
        spec.loader.exec_module(module)
        yield module


def test_the_page_has_each_client_with_its_pinned_version_and_checks(script: Any) -> None:
    page = (ROOT / "docs/local.md").read_text(encoding="utf-8")
    rows = {row[0]: row for line in page.splitlines() if len(row := line.strip("| ").split(" | ")) == 5}
    for client in script.CLIENTS:
        row = rows[client.name]
        assert (row[1], row[3]) == (client.pinned(), ", ".join(client.checks))


def test_the_locks_have_the_pinned_versions(script: Any) -> None:
    pinned = {each.name: each.pinned() for each in script.CLIENTS}
    locked = json.loads((OUTSIDE / "node/package-lock.json").read_text(encoding="utf-8"))
    assert locked["packages"]["node_modules/@aws-sdk/client-kinesis"]["version"] == pinned["js"]
    assert f"service/kinesis v{pinned['go']} h1:" in (OUTSIDE / "go/go.sum").read_text(encoding="utf-8")
    crates = (OUTSIDE / "rust/Cargo.lock").read_text(encoding="utf-8")
    assert f'name = "aws-sdk-kinesis"\nversion = "{pinned["rust"]}"' in crates


def test_the_readme_names_each_program() -> None:
    text = (OUTSIDE / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))
    assert {each for each in named if not (OUTSIDE / each).exists()} == set()
    programs = {f"python/{each.name}" for each in (OUTSIDE / "python").glob("*.py")}
    assert programs <= named
    assert {each.split("/")[0] for each in named} == {each.name for each in OUTSIDE.iterdir()} - {"README.md"}


def test_a_name_that_is_unknown_is_refused() -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "cobol"], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 2
    assert "the names are aws-cli aiobotocore js" in run.stderr
