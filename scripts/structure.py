"""Measures the code's structure: `python scripts/structure.py [REV]`, of the work tree or of a git revision.

Prints lines and files of each folder. For the package kplpy it also prints the lengths of functions, long files, the
import arrows between parts, and import circles. The output is plain and sorted, so that two revisions can be compared:
`diff <(make structure REV=v1) <(make structure)`.

A function's length is counted from `def` to its last line, docstring included. A function inside another function
counts for both. Imports are of three kinds: when the module is imported, later (inside a function), and for type
checkers only (under TYPE_CHECKING).
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "kplpy"
LONG_FUNCTION = 40  # lines
LONG_FILES = (450, 300)  # lines

Kind = Literal["import", "later", "types"]


class Function(NamedTuple):
    """One function: its length in lines, and its place as path:line name."""

    lines: int
    place: str


class Import(NamedTuple):
    """One import of a module of the package by another module of the package."""

    source: str
    target: str
    kind: Kind


def tree_sources(root: Path) -> dict[str, str]:
    """Return the text of every Python file in the work tree, by path, without files that git ignores."""
    names = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.py").decode()
    paths = [name for name in names.split("\0") if name and (root / name).is_file()]
    return {path: (root / path).read_text(encoding="utf-8") for path in sorted(set(paths))}


def revision_sources(root: Path, revision: str) -> dict[str, str]:
    """Return the text of every Python file of a git revision, by path."""
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", "--format=tar", revision))) as archive:
        files = [(each.name, archive.extractfile(each)) for each in archive if each.name.endswith(".py")]
        return {name: file.read().decode() for name, file in files if file is not None}


def functions(path: str, text: str) -> Iterator[Function]:
    """Yield all functions of a file, including methods and nested functions."""

    def walk(node: ast.AST, outer: tuple[str, ...]) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            name = outer
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = (*outer, child.name)
                length = (child.end_lineno or child.lineno) - child.lineno + 1
                yield Function(length, f"{path}:{child.lineno} {'.'.join(name)}")
            elif isinstance(child, ast.ClassDef):
                name = (*outer, child.name)
            yield from walk(child, name)

    yield from walk(ast.parse(text, path), ())


def imports(sources: dict[str, str]) -> list[Import]:
    """Return the imports between modules of the package, each once."""
    modules = {_module(path): path for path in sources if PurePosixPath(path).parts[0] == PACKAGE}
    found = set()
    for module, path in modules.items():
        package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
        for node, kind in _statements(ast.parse(sources[path], path), "import"):
            for target in _targets(node, package, modules):
                if target != module:
                    found.add(Import(module, target, kind))
    return sorted(found)


def arrows(found: list[Import]) -> Counter[tuple[str, str]]:
    """Count the imports from each part of the package to another, without imports for types only."""
    between = ((_part(each.source), _part(each.target)) for each in found if each.kind != "types")
    return Counter((source, target) for source, target in between if source != target)


def circles(edges: set[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of names in which each name leads to all others."""
    after: dict[str, set[str]] = {}
    for source, target in edges:
        after.setdefault(source, set()).add(target)
    reached = {name: _reached(name, after) for name in after}
    groups = {frozenset(each for each in reached[name] if name in reached.get(each, ())) for name in after}
    return sorted(sorted(group) for group in groups if group)  # a group is empty if nothing leads back to the name


def report(sources: dict[str, str]) -> list[str]:
    """Return the lines of the report."""
    package_files = {path: text for path, text in sources.items() if path.startswith(f"{PACKAGE}/")}
    return [
        *_sizes(sources),
        *_function_lines(package_files),
        *_long_files(package_files),
        *_import_lines(imports(package_files)),
    ]


def _sizes(sources: dict[str, str]) -> list[str]:
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for path, text in sources.items():
        folder = PurePosixPath(path).parts[0] if "/" in path else "."
        lines[folder] += len(text.splitlines())
        files[folder] += 1
    return ["lines of Python", *(f"  {lines[each]:6} in {files[each]:3} files  {each}" for each in sorted(lines))]


def _function_lines(package_files: dict[str, str]) -> list[str]:
    found = sorted((each for path, text in package_files.items() for each in functions(path, text)), reverse=True)
    lengths = [each.lines for each in found]
    long = [each for each in found if each.lines > LONG_FUNCTION]
    return [
        f"functions of {PACKAGE}: {len(found)}",
        f"  lines: median {percentile(lengths, 50)}, p90 {percentile(lengths, 90)}, longest {max(lengths, default=0)}",
        f"  over {LONG_FUNCTION} lines: {len(long)}",
        *(f"  {each.lines:6}  {each.place}" for each in long),
    ]


def _long_files(package_files: dict[str, str]) -> list[str]:
    sizes = sorted(((len(text.splitlines()), path) for path, text in package_files.items()), reverse=True)
    counts = ", ".join(f"{sum(size > limit for size, _ in sizes)} over {limit}" for limit in LONG_FILES)
    long = [f"  {size:6}  {path}" for size, path in sizes if size > min(LONG_FILES)]
    return [f"files of {PACKAGE} by lines: {counts}", *long]


def _import_lines(found: list[Import]) -> list[str]:
    lines = [f"import arrows between parts of {PACKAGE}: {len(arrows(found))}"]
    for source in sorted({_part(each.source) for each in found}):
        targets = [f"{target} {count}" for (part, target), count in sorted(arrows(found).items()) if part == source]
        lines += [f"  {source} -> {', '.join(targets)}"] if targets else []
    kinds: tuple[tuple[str, set[Kind]], ...] = (
        ("when modules are imported", {"import"}),
        ("with imports inside functions", {"import", "later"}),
        ("with imports under TYPE_CHECKING", {"import", "later", "types"}),
    )
    for words, wanted in kinds:
        chosen = [each for each in found if each.kind in wanted]
        between = {(_part(each.source), _part(each.target)) for each in chosen}
        lines += _circle_lines(f"modules, {words}", {(each.source, each.target) for each in chosen})
        lines += _circle_lines(f"parts, {words}", {pair for pair in between if pair[0] != pair[1]})
    return lines


def _circle_lines(words: str, edges: set[tuple[str, str]]) -> list[str]:
    groups = circles(edges)
    return [f"import circles of {words}: {len(groups)}", *(f"  {len(each)}: {' '.join(each)}" for each in groups)]


def percentile(values: list[int], percent: int) -> int:
    """Return the smallest value that at least `percent` percent of the values do not exceed, 0 without values."""
    if not values:
        return 0
    rank = -(-len(values) * percent // 100)  # rounded up
    return sorted(values)[max(rank, 1) - 1]


def _reached(start: str, after: dict[str, set[str]]) -> set[str]:
    """Return every name that `start` leads to. It includes `start` only if there is a circle."""
    seen: set[str] = set()
    waiting = list(after.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += after.get(name, ())
    return seen


def _statements(node: ast.AST, kind: Kind) -> Iterator[tuple[ast.Import | ast.ImportFrom, Kind]]:
    """Yield the import statements below `node`, with their kind."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, kind
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            for each in child.body:
                yield from _statements(ast.Module([each], []), "types")
            for each in child.orelse:
                yield from _statements(ast.Module([each], []), kind)
        elif kind == "import" and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _statements(child, "later")
        else:
            yield from _statements(child, kind)


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _targets(node: ast.Import | ast.ImportFrom, package: str, modules: dict[str, str]) -> Iterator[str]:
    """Yield the package's modules that a statement imports: the submodule if the name is one, else the module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
        return
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    for alias in node.names:
        inner = f"{module}.{alias.name}"
        if inner in modules:
            yield inner
        elif module in modules:
            yield module


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _part(module: str) -> str:
    """Return the folder or file directly in the package that a module belongs to."""
    return ".".join(module.split(".")[1:2]) or PACKAGE


def _git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout


def main(arguments: list[str], root: Path = ROOT) -> int:
    if len(arguments) > 1 or any(each.startswith("-") for each in arguments):
        print("usage: structure.py [REV]", file=sys.stderr)
        return 2
    try:
        if arguments:
            commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{arguments[0]}^{{commit}}")
            sources = revision_sources(root, commit.decode().strip())
        else:
            sources = tree_sources(root)
    except subprocess.CalledProcessError as error:
        why = error.stderr.decode().strip() or f"no such revision: {arguments[0] if arguments else ''}"
        print(f"structure.py: {why}", file=sys.stderr)
        return 1
    print("\n".join(report(sources)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
