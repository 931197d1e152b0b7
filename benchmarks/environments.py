"""The peers' environments, each its own, under build/bench/: made once, by Maven and uv, when they are first needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, Driver, Sink

BUILD = ROOT / "build" / "bench"
PEERS = ROOT / "benchmarks" / "peers"

PACKAGES: Mapping[str, list[str]] = {
    "aiokpl": ["aiokpl==0.2.0"],
    "async_kinesis": ["async-kinesis==3.0.1", "aws-kinesis-agg==1.2.3", "six"],
    "boto3": ["boto3", "aws-kinesis-agg==1.2.3", "six"],
}

KPL_BEST: Mapping[str, str] = {}
"""System properties of peers/kpl/Kpl.java. `python -m benchmarks search` found none better than its defaults: the KPL's
own, but for the oldest-future tracker and metrics, which are off, and a rate limit out of the way."""

NAMES = ["kplpy", "kpl", "aiokpl", "async_kinesis", "boto3", "kinesis_agg"]


def start(name: str, sink: Sink, stream: str = "bench-16", **options: Any) -> Driver:
    """The driver of a producer, its environment made if it is not there. `options` are the driver's own."""
    place = {"url": sink.url, "stream": stream}
    if name == "kplpy":
        return Driver([sys.executable, "-m", "benchmarks.peers.run_kplpy", json.dumps(place | options)], sink)
    if name == "kpl":
        return Driver(_kpl_command(sink, stream, {**KPL_BEST, **options}), sink)
    if name == "kinesis_agg":
        name, options = "boto3", {"aggregated": True, **options}
    script, python = PEERS / f"run_{name}.py", _environment(name, sys.executable, PACKAGES[name])
    return Driver([str(python), str(script), json.dumps(place | options)], sink)


def python_with_matplotlib() -> Path:
    """pyproject.toml's group `bench`."""
    found = _environment("plots", sys.executable, ["--group", "bench"])
    assert found is not None
    return found


def python_with_kplpy(version: str) -> Path | None:
    """Another Python's environment with kplpy and what it needs at run time; None when there is no such Python."""
    # pyenv's are looked for first: its shims on PATH may be there, dead
    there = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return _environment(f"python-{version}", str(there[-1]) if there else version, ["-e", str(ROOT)])


def _environment(name: str, python: str, packages: list[str]) -> Path | None:
    """build/bench/<name> with these packages, made anew when they change; None when there is no such Python."""
    home = BUILD / name
    made, ready, wanted = home / "bin" / "python", home / "ready", " ".join(packages)
    if not ready.exists() or ready.read_text() != wanted:
        print(f"preparing {home.relative_to(ROOT)} (once)", file=sys.stderr)
        uv = [sys.executable, "-m", "uv"]
        options = ["-q", "--clear", "--no-project", "--no-python-downloads", "--python", python]
        if subprocess.run([*uv, "venv", *options, str(home)], check=False).returncode:
            return None
        subprocess.run([*uv, "pip", "install", "-q", "--python", str(made), *packages], cwd=ROOT, check=True)
        ready.write_text(wanted)
    return made


def _kpl_command(sink: Sink, stream: str, options: Mapping[str, Any]) -> list[str]:
    home = BUILD / "kpl"
    source, classes, libraries = PEERS / "kpl" / "Kpl.java", home / "classes", home / "lib"
    if not (libraries / "ready").exists():
        print(f"preparing {home.relative_to(ROOT)} (once; Maven, a Java compiler)", file=sys.stderr)
        project = ["-f", str(PEERS / "kpl" / "pom.xml"), f"-DoutputDirectory={libraries}"]
        subprocess.run(["mvn", "-q", *project, "dependency:copy-dependencies"], check=True)
        (libraries / "ready").touch()
    compiled = classes / "Kpl.class"
    if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
        classes.mkdir(parents=True, exist_ok=True)
        subprocess.run(["javac", "-cp", f"{libraries}/*", "-d", str(classes), str(source)], check=True)
    java = [str(options["heap"])] if "heap" in options else []
    properties = {"port": sink.port, "stream": stream, "tempDirectory": home, **options}
    given = [f"-D{name}={str(value).lower() if value is True else value}" for name, value in properties.items()]
    return ["java", *java, *given, "-cp", f"{classes}:{libraries}/*", "Kpl"]
