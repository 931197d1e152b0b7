"""Imports point one way: cli → producer → runtime → core → wire, records. Functions' own imports count too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "kplpy"

# Values and vocabulary, which anything may use.
COMMON = {
    "errors",
    "records",
    "escaping",
    "keys",
    "names",
    "totals",
    "reports",
    "log_events",
    "config",
    "config_fields",
    "properties",
    "forks",
    "repeats",
    "outliving",
    "private_files",
}

# part → the other parts of kplpy that it may import
ALLOWED: dict[str, set[str]] = {
    "errors": {"records"},
    "records": {"errors"},
    "keys": {"errors"},
    "names": {"errors"},
    "totals": set(),
    "reports": set(),
    "escaping": set(),
    "log_events": {"escaping"},
    "forks": set(),
    "repeats": {"forks", "log_events"},
    "outliving": set(),
    # metrics and config_fields for its types
    "config": {"errors", "escaping", "properties", "metrics", "config_fields"},
    "config_fields": {"errors", "metrics"},
    "properties": {"errors", "config", "log_events"},
    "private_files": set(),
    "wire": {"errors", "records", "log_events"},
    "core": {"wire", *COMMON},
    "failures": {"core", *COMMON},
    "awaiting": {"errors"},
    "future": {"core", "failures", "awaiting", *COMMON},
    "dead_letters": {"future", *COMMON},
    "aws": {"core", "wire", *COMMON},  # aws and metrics serve what the core asks for; it knows neither
    "metrics": {"core", *COMMON},
    # the model judges the producer, so it shares only the wire format
    # (LocalKinesis.producer() makes a producer, which local/clients.py imports then)
    "local": {"wire", "keys", "errors", "records", "log_events", "private_files", "producer"},
    "checks": {"future", "core", *COMMON},
    "runtime": {"awaiting", "failures", "future", "core", "wire", *COMMON},
    "logging": {"producer", "runtime", *COMMON},
    "aws_lambda": {"producer", *COMMON},
    "producer": {
        "awaiting",
        "checks",
        "runtime",
        "dead_letters",
        "future",
        "core",
        "wire",
        "aws",
        "metrics",
        *COMMON,
    },  # which hands aws and metrics to the runtime
    "cli": {"", "producer", "dead_letters", "local", "wire", "aws", "metrics", *COMMON},  # "" is `from kplpy import …`
    "__main__": {"cli"},
    "": {"producer", "future", "wire", "metrics", *COMMON},  # kplpy/__init__.py, the public names
}

# The core is told the time and returns what to do; chance is handed in as well.
CORE_NEVER = {
    *("threading", "_thread", "queue", "concurrent", "multiprocessing", "subprocess", "os", "signal"),
    *("time", "datetime", "random", "secrets"),
    *("socket", "ssl", "select", "selectors", "asyncio", "http", "urllib", "urllib3"),
    *("botocore", "boto3", "s3transfer", "aiohttp", "google"),
}
WIRE_THIRD_PARTY = {"google"}  # protobuf


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def part_of(file: Path) -> str:
    first = file.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(file: Path) -> Iterator[str]:
    """Full names of all modules that the file imports, wherever the statement stands."""
    package = ["kplpy", *file.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "kplpy":  # a part, or a public name
                yield from (f"kplpy.{a.name}" if a.name in ALLOWED else "kplpy" for a in node.names)
            else:
                yield module


def name(file: Path) -> str:
    return file.relative_to(ROOT.parent).as_posix()


@pytest.mark.parametrize("file", files(), ids=name)
def test_imports_point_one_way(file: Path) -> None:
    part = part_of(file)
    assert part in ALLOWED, f"say in ALLOWED what kplpy.{part} may import"
    for module in imports(file):
        if module.split(".")[0] == "kplpy":
            other = module.split(".")[1] if "." in module else ""
            assert other == part or other in ALLOWED[part], f"kplpy.{part} must not import {module}"


def test_the_local_model_knows_no_producer() -> None:
    """Only what hands one out does, and those whose method that is have it for their types."""
    local = [file for file in files() if part_of(file) == "local"]
    assert {file.name for file in local if "kplpy.producer" in imports(file)} == {
        "clients.py",
        "inprocess.py",
        "process.py",
    }


@pytest.mark.parametrize("file", [f for f in files() if part_of(f) == "core"], ids=name)
def test_the_core_does_no_io_and_reads_no_clock(file: Path) -> None:
    assert not {module.split(".")[0] for module in imports(file)} & CORE_NEVER


@pytest.mark.parametrize("file", [f for f in files() if part_of(f) == "wire"], ids=name)
def test_the_wire_format_needs_protobuf_only(file: Path) -> None:
    roots = {module.split(".")[0] for module in imports(file)}
    assert roots <= set(sys.stdlib_module_names) | WIRE_THIRD_PARTY | {"kplpy"}


def test_importing_kplpy_is_cheap() -> None:
    """Heavy things come with first use: many programs import a producer that they never use."""
    heavy = ("boto3", "botocore", "google.protobuf", "aiohttp", "asyncio", "click", "rich", "tenacity")
    program = f"import sys, kplpy; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
