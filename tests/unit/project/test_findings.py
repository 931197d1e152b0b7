"""The scripts of findings/ follow the rules of its README, as far as that shows without running them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "findings"
SCRIPTS = sorted(each for each in FOLDER.iterdir() if each.name != "README.md")
PACKAGE = re.compile(r"[a-z][\w./\[\],-]*(==|@)v?\d[\w.-]*")  # of pip, npm and Go


def by_name(script: Path) -> str:
    return script.name


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name)
def test_it_is_an_executable_script_with_a_head_that_describes_it(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"[a-z0-9_]+\.sh", script.name)
    assert os.access(script, os.X_OK)
    assert lines[0] == "#!/usr/bin/env bash"
    head = lines[1 : lines.index("set -euo pipefail")]
    assert all(line.startswith("#") for line in head)
    assert head[-1].startswith("# Exits 0 while")
    subprocess.run(["bash", "-n", script], check=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name)
def test_it_installs_pinned_packages_into_a_temporary_folder(script: Path) -> None:
    text = script.read_text(encoding="utf-8").replace("\\\n", "")  # commands of several lines
    assert "work=$(mktemp -d)\n" in text
    assert re.search(r"^trap '.*rm -rf \"\$work\"' EXIT$", text, re.MULTILINE)
    installs = re.findall(r"^.*(?:(?:pip|npm)\"? install|go get) (.*)$", text, re.MULTILINE)
    assert installs
    for arguments in installs:
        packages = [each for each in arguments.replace('"', "").split() if each[0] != "-" and each != "$work"]
        assert packages
        assert all(PACKAGE.fullmatch(each) for each in packages), arguments


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name)
def test_it_runs_without_kplpy(script: Path) -> None:
    assert "kplpy" not in script.read_text(encoding="utf-8").lower()
