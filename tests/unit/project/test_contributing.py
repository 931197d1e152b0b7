"""CONTRIBUTING.md names targets of make, files and folders that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TARGET = re.compile(r"^make (?:[A-Z]+=\S+ )*([a-z]+)")


def code_of(page: str) -> list[str]:
    """Return the code spans of a page, and the lines of its code blocks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", text)


def test_the_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = {found[1] for code in code_of("CONTRIBUTING.md") if (found := TARGET.match(code))}
    assert {"test", "check", "simulate", "mutate", "docs", "structure"} <= used <= targets


def test_the_files_and_folders_exist() -> None:
    first = {each.name for each in ROOT.iterdir() if each.is_dir()} - {"build"}
    paths = [code for code in code_of("CONTRIBUTING.md") if "/" in code and code.split("/")[0] in first]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_of_the_package_and_of_tests_is_on_the_map() -> None:
    named = code_of("CONTRIBUTING.md")
    for parent in ("kplpy", "tests"):
        folders = {each for each in (ROOT / parent).iterdir() if each.is_dir() and each.name != "__pycache__"}
        assert sorted(f"{parent}/{each.name}/" for each in folders if f"{parent}/{each.name}/" not in named) == []
