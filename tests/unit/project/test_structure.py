"""scripts/structure.py counts lines, functions, import arrows and import circles."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("structure", Path(__file__).parents[3] / "scripts/structure.py")
assert _spec is not None
assert _spec.loader is not None
structure = importlib.util.module_from_spec(_spec)
sys.modules["structure"] = structure
_spec.loader.exec_module(structure)

SOURCES = {
    "kplpy/__init__.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from kplpy.producer import Producer\n"
    ),
    "kplpy/producer.py": "from kplpy.core.queue import Queue\nfrom .core import item\nimport kplpy.errors, os\n",
    "kplpy/errors.py": "",
    "kplpy/core/__init__.py": "",
    "kplpy/core/queue.py": "from kplpy.core.item import Item\n\n\ndef late():\n    from kplpy import producer\n",
    "kplpy/core/item.py": (
        "import typing\nif typing.TYPE_CHECKING:\n    from . import queue\nelse:\n    from kplpy import errors\n"
    ),
    "tests/test_queue.py": "from kplpy.core.queue import Queue\n",
    "setup.py": "",
}


def test_imports_are_sorted_by_when_they_happen() -> None:
    assert structure.imports(SOURCES) == [
        ("kplpy", "kplpy.producer", "types"),
        ("kplpy.core.item", "kplpy.core.queue", "types"),
        ("kplpy.core.item", "kplpy.errors", "import"),
        ("kplpy.core.queue", "kplpy.core.item", "import"),
        ("kplpy.core.queue", "kplpy.producer", "later"),
        ("kplpy.producer", "kplpy.core.item", "import"),
        ("kplpy.producer", "kplpy.core.queue", "import"),
        ("kplpy.producer", "kplpy.errors", "import"),
    ]


def test_arrows_lead_between_parts_and_leave_types_out() -> None:
    assert structure.arrows(structure.imports(SOURCES)) == {
        ("core", "errors"): 1,
        ("core", "producer"): 1,
        ("producer", "core"): 2,
        ("producer", "errors"): 1,
    }


def test_circles_are_the_names_that_lead_to_one_another() -> None:
    edges = {("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d"), ("f", "a"), ("e", "g")}
    assert structure.circles(edges) == [["a", "b", "c"], ["d", "e"]]
    assert structure.circles({("a", "b"), ("b", "c")}) == []


def test_functions_are_measured_from_def_to_their_last_line() -> None:
    text = "class A:\n  @property\n  def b(self):\n    'Doc.'\n\n    async def c():\n      pass\n    return c\n"
    found = list(structure.functions("kplpy/x.py", text))
    assert found == [(6, "kplpy/x.py:3 A.b"), (2, "kplpy/x.py:6 A.b.c")]


def test_a_percentile_is_one_of_the_values() -> None:
    assert structure.percentile([3, 1, 2], 50) == 2
    assert structure.percentile(list(range(1, 11)), 90) == 9
    assert structure.percentile(list(range(1, 12)), 90) == 10
    assert structure.percentile([], 90) == 0


def test_the_report_shows_circles_with_their_kind_and_what_is_long() -> None:
    long = {"kplpy/long.py": "def f():\n" + "    pass\n" * 500}
    lines = structure.report(SOURCES | long)
    assert "       1 in   1 files  tests" in lines
    assert "       0 in   1 files  ." in lines
    assert "  lines: median 2, p90 501, longest 501" in lines
    assert "     501  kplpy/long.py:1 f" in lines
    assert "files of kplpy by lines: 1 over 450, 1 over 300" in lines
    assert "import circles of modules, when modules are imported: 0" in lines
    assert "  2: core producer" in lines  # through the import inside a function
    assert "  3: kplpy.core.item kplpy.core.queue kplpy.producer" in lines[-4:]
    assert lines[-2:] == ["import circles of parts, with imports under TYPE_CHECKING: 1", "  2: core producer"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository with one commit, and a work tree with later changes."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    (tmp_path / "kplpy").mkdir()
    (tmp_path / "kplpy/a.py").write_text("x = 1\n")
    (tmp_path / "kplpy/b.py").write_text("")
    (tmp_path / ".gitignore").write_text("build/\n")
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
    (tmp_path / "kplpy/a.py").write_text("x = 1\ny = 2\n")
    (tmp_path / "kplpy/b.py").unlink()
    (tmp_path / "kplpy/c.py").write_text("z = 3\n")
    (tmp_path / "build").mkdir()
    (tmp_path / "build/d.py").write_text("")
    return tmp_path


def test_the_tree_and_a_revision_are_read(repository: Path) -> None:
    assert structure.tree_sources(repository) == {"kplpy/a.py": "x = 1\ny = 2\n", "kplpy/c.py": "z = 3\n"}
    assert structure.revision_sources(repository, "HEAD") == {"kplpy/a.py": "x = 1\n", "kplpy/b.py": ""}


def test_the_command_takes_one_revision(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert structure.main(["HEAD"], repository) == 0
    assert "       1 in   2 files  kplpy" in capsys.readouterr().out
    assert structure.main([], repository) == 0
    assert "       3 in   2 files  kplpy" in capsys.readouterr().out
    assert structure.main(["nowhere"], repository) == 1
    assert capsys.readouterr().err == "structure.py: no such revision: nowhere\n"
    assert structure.main(["--output=x"], repository) == 2
    assert structure.main(["a", "b"], repository) == 2
