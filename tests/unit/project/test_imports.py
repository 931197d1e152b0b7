"""Imports point one way: cli → producer → runtime → core → wire, records. Imports inside functions count too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "kplpy"

# Values and helpers that every part may use.
COMMON = {
    "accelerator",
    "concurrency",
    "config",
    "errors",
    "escaping",
    "hash_keys",
    "logs",
    "private_files",
    "process",
    "rate_limited_log",
    "records",
    "reports",
    "stream_names",
}

# part (a folder, or a module directly in kplpy/) → the other parts that it may import
ALLOWED: dict[str, set[str]] = {
    "accelerator": set(),
    "records": {"accelerator"},
    "errors": {"records"},
    "escaping": set(),
    "reports": set(),
    "hash_keys": {"concurrency", "errors", "escaping"},
    "stream_names": {"errors", "escaping"},
    "headers": {"errors", "escaping", "wire"},
    "logs": {"escaping"},
    "process": {"logs", "private_files"},
    "rate_limited_log": {"process", "logs", "concurrency"},
    "concurrency": {"errors"},
    "private_files": set(),
    "config": {"errors", "escaping", "logs", "stream_names"},
    "wire": {"accelerator", "errors", "escaping", "records", "logs"},
    "core": {"wire", *COMMON},
    "futures": {"core", *COMMON},
    "serializers": set(),
    "serialization": {"errors", "escaping", "records"},
    "validation": {"serialization", "headers", "futures", "core", "wire", *COMMON},
    "delivery_validation": {"validation", "serialization", "headers", "futures", "core", *COMMON},
    "tracing": {"futures", "headers", "validation", *COMMON},
    "dead_letters": {"futures", "headers", *COMMON},
    "aws": {"core", "wire", *COMMON},  # aws and metrics serve what the core asks for; the core knows neither
    "metrics": {"core", *COMMON},
    # The model judges the producer, so it shares only the wire format. local/clients.py makes a producer on request.
    "local": {"wire", "hash_keys", "errors", "records", "logs", "private_files", "producer"},
    "spool": {"core", *COMMON},  # files alone: it knows nothing of the runtime
    "runtime": {"spool", "validation", "futures", "core", "wire", *COMMON},
    # hands aws and metrics to the runtime
    "build": {"runtime", "validation", "delivery_validation", "core", "aws", "metrics", "wire", *COMMON},
    "producer": {
        *("build", "headers", "tracing", "validation", "runtime", "dead_letters", "futures", "core", "metrics"),
        *COMMON,
    },
    "integrations": {"aws", "headers", "producer", "runtime", "futures", "validation", "serializers", *COMMON},
    "reading": {"wire", "aws", *COMMON},
    # It puts through the public Producer only. `aws` is CloudWatch's client; tailing keeps records apart from sending.
    "agent": {"", "aws", "metrics", *COMMON},
    # It examines with what the producer and the readers stand on, and puts with the public Producer.
    "doctor": {"producer", "reading", "wire", "core", "aws", *COMMON},
    # "" is `from kplpy import …`
    "cli": {
        "",
        "headers",
        "producer",
        "reading",
        "dead_letters",
        "spool",
        "local",
        "wire",
        "aws",
        "metrics",
        "agent",
        "doctor",
        *COMMON,
    },
    "__main__": {"cli"},
    "": {"producer", "serializers", "futures", "wire", "metrics", *COMMON},  # kplpy/__init__.py, the public names
}

# The stages of the core, in a record's order. A stage may import itself and earlier stages. The types that stages pass
# to each other come first.
STAGES: list[set[str]] = [
    {
        *("policy", "record", "exchange", "shard_range", "size_limits", "notice", "gauges"),
        *("flush_tracker", "hot_keys", "space_saving"),
    },
    {"batching"},
    {"outcome"},
    {"routing"},
    {"results"},
    {"ordering", "pipeline"},
]

# Folders and files, and the parts of their package that they must not import.
APART = {
    "local/model": {"local.server", "local.clients"},
    "metrics/registry.py": {"metrics.sinks"},
    "aws/client.py": {"aws.kinesis"},
}

# The core gets the time as an argument and returns what to do. Randomness is passed in too.
CORE_NEVER = {
    *("threading", "_thread", "queue", "concurrent", "multiprocessing", "subprocess", "os", "signal"),
    *("time", "datetime", "random", "secrets"),
    *("socket", "ssl", "select", "selectors", "asyncio", "http", "urllib", "urllib3"),
    *("botocore", "boto3", "s3transfer", "aiohttp", "google"),
}
WIRE_THIRD_PARTY = {"google", "zstandard", "compression"}  # protobuf; zstd, of which Python 3.14 has its own


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def part_of(file: Path) -> str:
    first = file.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(file: Path) -> Iterator[str]:
    """Yield the full names of all modules that the file imports, at any place."""
    package = ["kplpy", *file.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # a module, or a name in one
                yield full if is_module(full := f"{module}.{alias.name}") else module


def is_module(full: str) -> bool:
    path = ROOT.parent.joinpath(*full.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def module_of(file: Path) -> str:
    return ".".join(("kplpy", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


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


def stage_of(module: str) -> int:
    """Return the index in STAGES of a module of the core."""
    name = module.split(".")[2]
    (stage,) = [place for place, names in enumerate(STAGES) if name in names]
    return stage


@pytest.mark.parametrize("file", [f for f in files() if part_of(f) == "core"], ids=name)
def test_the_stages_of_the_core_follow_each_other(file: Path) -> None:
    here = module_of(file)
    if here == "kplpy.core":
        return
    for module in imports(file):
        if module.startswith("kplpy.core."):
            assert stage_of(module) <= stage_of(here), f"{here} is of an earlier stage than {module}"


@pytest.mark.parametrize("place", APART)
def test_folders_of_a_part_stand_apart(place: str) -> None:
    found = [file for file in files() if name(file).startswith(f"kplpy/{place}")]
    assert found
    for file in found:
        assert not [m for m in imports(file) if m.removeprefix("kplpy.").startswith(tuple(APART[place]))], name(file)


def test_no_module_imports_itself_through_others() -> None:
    """Imports for types count too. What two modules share belongs into one of them, or into a third."""
    modules = {module_of(file): file for file in files()}
    arrows = {module: {*imports(file)} & modules.keys() - {module} for module, file in modules.items()}
    del arrows["kplpy"]  # it imports the public names on demand
    # Repeatedly remove modules that import no remaining module, or that no remaining module imports.
    while free := [
        m for m, others in arrows.items() if not others & arrows.keys() or m not in set().union(*arrows.values())
    ]:
        for module in free:
            del arrows[module]
    assert sorted(arrows) == []


def test_the_local_model_knows_no_producer() -> None:
    """Only clients.py makes a producer. Classes with a method that returns one import its type."""
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
def test_the_wire_format_needs_protobuf_and_zstd_only(file: Path) -> None:
    roots = {module.split(".")[0] for module in imports(file)}
    assert roots <= set(sys.stdlib_module_names) | WIRE_THIRD_PARTY | {"kplpy"}


def test_importing_kplpy_is_cheap() -> None:
    """Large packages are imported at first use, because many programs import a producer that they never use."""
    heavy = ("boto3", "botocore", "google.protobuf", "aiohttp", "asyncio", "click", "rich", "tenacity", "pyarrow")
    program = f"import sys, kplpy; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
