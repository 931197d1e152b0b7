"""Only tests/inside.py reaches into private state: of kplpy's objects, and of the libraries' that kplpy uses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
INSIDE = TESTS / "inside.py"
OWN = {"self", "cls", "super()"}
ALLOWED = {
    "os._exit": "documented, in spite of its name: how a forked child ends",
}
BY_NAME = {"setattr", "getattr", "hasattr", "delattr"}
PRIVATE = re.compile(r"_(?!_)\w")
LIMIT = re.compile(r"_[A-Z0-9_]+")  # a module's constant: a time or a limit, which a test may set
IN_A_SCRIPT = re.compile(r"([\w.)\]]+)\.(_(?!_)[A-Za-z]\w*)")


def reaches(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each use of a private name of another object."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and PRIVATE.match(node.attr):
            yield from _unless_allowed(node.lineno, ast.unparse(node.value), node.attr)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"import {each.name}") for each in node.names if PRIVATE.match(each.name))
        elif isinstance(node, ast.Call):
            yield from _reached_by_name(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):  # subprocesses' scripts
            text = node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
            for found in IN_A_SCRIPT.finditer(text):
                line = node.lineno + text.count("\n", 0, found.start())
                yield from _unless_allowed(line, found[1], found[2])


def _reached_by_name(call: ast.Call) -> Iterator[tuple[int, str]]:
    """Of setattr and its like, monkeypatch's too."""
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if called not in BY_NAME or len(call.args) < 2:
        return
    owner, name = call.args[:2]
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        return
    if PRIVATE.match(name.value) and not LIMIT.fullmatch(name.value) and ast.unparse(owner) not in OWN:
        yield call.lineno, f"{called}({ast.unparse(owner)}, {name.value!r})"


def _unless_allowed(line: int, owner: str, name: str) -> Iterator[tuple[int, str]]:
    if owner not in OWN and f"{owner}.{name}" not in ALLOWED:
        yield line, f"{owner}.{name}"


def test_only_inside_reaches_into_private_state() -> None:
    files = [each for each in sorted(TESTS.rglob("*.py")) if each != INSIDE and each != Path(__file__)]
    assert len(files) > 100
    found = [
        f"{path.relative_to(TESTS.parent)}:{line}: {text}" for path in files for line, text in reaches(path.read_text())
    ]
    assert not found, "\n".join(["give tests/inside.py a function for:", *found])


def test_each_function_of_inside_is_used() -> None:
    functions = [each.name for each in ast.parse(INSIDE.read_text()).body if isinstance(each, ast.FunctionDef)]
    text = "\n".join(path.read_text() for path in TESTS.rglob("*.py"))
    assert [name for name in functions if len(re.findall(rf"\b{name}\b", text)) < 2] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\nproducer._engine.streams", [(2, "producer._engine")]),
        ("self.buffer._waiters", [(1, "self.buffer._waiters")]),
        ("self._x = cls._y + super()._z()", []),
        ("producer.__class__", []),
        ("os._exit(1)", []),
        ("from kplpy.aws.clock import _offsets", [(1, "import _offsets")]),
        ("monkeypatch.setattr(clock, '_offsets', {})", [(1, "setattr(clock, '_offsets')")]),
        ("monkeypatch.setattr('kplpy.aws.clock._offsets', {})", [(1, "kplpy.aws.clock._offsets")]),
        ("monkeypatch.setattr(hash_keys, '_CACHE_LIMIT', 10)", []),
        ("getattr(future, '_waits')", [(1, "getattr(future, '_waits')")]),
        ("script = '''\nimport os\nwhile producer._engine: os._exit(1)\n'''", [(3, "producer._engine")]),
        ("name = '_total'", []),
    ],
)
def test_what_is_found(source: str, expected: list[tuple[int, str]]) -> None:
    assert list(reaches(source)) == expected
