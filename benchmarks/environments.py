"""The peers' environments under build/bench/. Each is made once, from a lock file, when it is first needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, Driver, Sink

BUILD = ROOT / "build" / "bench"
PEERS = ROOT / "benchmarks" / "peers"
LOCKS = ROOT / "requirements"
# The locks of the peers are for this Python and later ones.
PYTHON = sys.executable if sys.version_info >= (3, 11) else ">=3.11"
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"

KPL_BEST: Mapping[str, str] = {}
"""System properties of peers/kpl/Kpl.java. `python -m benchmarks search` found none better than its defaults.

The defaults are those of the KPL, except that the oldest-future tracker and metrics are off and the rate limit is high.
"""

NAMES = ["kplpy", "kpl", "aiokpl", "async_kinesis", "boto3", "kinesis_agg"]


class UnavailableError(Exception):
    """A peer cannot be installed or started on this machine. The message has the reason."""


def start(name: str, sink: Sink, stream: str = "bench-16", accelerator: str = "auto", **options: Any) -> Driver:
    """Start the driver of a producer with `options`. Its environment is made if it is missing.

    accelerator: kplpy's KPLPY_ACCELERATOR.

    Raises UnavailableError if a peer cannot be installed or does not start.
    """
    place = {"url": sink.url, "stream": stream}
    if name == "kplpy":
        command = [sys.executable, "-m", "benchmarks.peers.run_kplpy", json.dumps(place | options)]
        return Driver(command, sink, KPLPY_ACCELERATOR=accelerator)
    if name == "kpl":
        command = _kpl_command(sink, stream, {**KPL_BEST, **options})
    else:
        if name == "kinesis_agg":
            name, options = "boto3", {"aggregated": True, **options}
        python = environment(name, f"bench-{name.replace('_', '-')}")
        command = [str(python), str(PEERS / f"run_{name}.py"), json.dumps(place | options)]
    try:
        return Driver(command, sink)
    except (RuntimeError, FileNotFoundError) as error:
        raise UnavailableError(f"it does not start: {error}") from None


def python_with_matplotlib() -> Path:
    return environment("plots", "bench-plots")


def python_with_spark() -> Path:
    """Return a Python with pyspark and what kplpy needs. It finds kplpy itself in the current directory."""
    return environment("distributed", "distributed")


def python_with_kplpy(version: str) -> Path:
    """Return another Python with the packages that kplpy needs. It finds kplpy itself in the current directory."""
    # pyenv's versions come first, because its shims on PATH may not work.
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return environment(f"python-{version}", "dev", str(found[-1]) if found else version)


def environment(name: str, lock: str, python: str = PYTHON) -> Path:
    """Return the Python of build/bench/<name>, with the lock's packages. It is made again when the lock changes."""
    home, locked = BUILD / name, LOCKS / f"{lock}.lock"
    made, ready, wanted = home / "bin" / "python", home / "ready", locked.read_text()
    if not ready.exists() or ready.read_text() != wanted:
        print(f"preparing {home.relative_to(ROOT)} (once, of {locked.relative_to(ROOT)})", file=sys.stderr)
        uv = [sys.executable, "-m", "uv"]
        _step([*uv, "venv", "-q", "--clear", "--no-project", "--no-python-downloads", "--python", python, str(home)])
        _step([*uv, "pip", "install", "-q", "--python", str(made), "--require-hashes", "-r", str(locked)])
        ready.write_text(wanted)
    return made


def _kpl_command(sink: Sink, stream: str, options: Mapping[str, Any]) -> list[str]:
    """Return the command of Kpl.java. options: its system properties, `heap`, and `version` instead of pom.xml's."""
    source, pom = PEERS / "kpl" / "Kpl.java", PEERS / "kpl" / "pom.xml"
    version = options.get("version", kpl_version())
    home = BUILD / f"kpl-{version}"  # one for each version, so that no jar of another is on the class path
    classes, libraries = home / "classes", home / "lib"
    ready, wanted = libraries / "ready", pom.read_text()
    if not ready.exists() or ready.read_text() != wanted:
        print(f"preparing {home.relative_to(ROOT)} (once; Maven, a Java compiler)", file=sys.stderr)
        maven = ["mvn", "-q", "-B", "-Dstyle.color=never", "-f", str(pom), f"-Dkpl.version={version}"]
        _step([*maven, f"-DoutputDirectory={libraries}", COPY_DEPENDENCIES])
        ready.write_text(wanted)
    compiled = classes / "Kpl.class"
    if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
        classes.mkdir(parents=True, exist_ok=True)
        _step(["javac", "-cp", f"{libraries}/*", "-d", str(classes), str(source)])
    java = [str(options["heap"])] if "heap" in options else []
    properties = {"port": sink.port, "stream": stream, "tempDirectory": home, **options}
    given = [f"-D{name}={str(value).lower() if value is True else value}" for name, value in properties.items()]
    return ["java", *java, *given, "-cp", f"{classes}:{libraries}/*", "Kpl"]


def kpl_version() -> str:
    """Return the KPL's version in pom.xml."""
    found = re.search(r"<kpl.version>(.*)</kpl.version>", (PEERS / "kpl" / "pom.xml").read_text())
    assert found is not None
    return found[1]


def _step(command: Sequence[str]) -> None:
    """Run a command. Raises UnavailableError with its output if it fails."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except FileNotFoundError:
        hint = "; the KPL needs Java 17 and Maven (Debian: apt install openjdk-17-jdk-headless maven)"
        raise UnavailableError(f"there is no {command[0]} here{hint}") from None
    if done.returncode:
        output = "\n".join(done.stdout.strip().splitlines()[:6])
        raise UnavailableError(f"`{' '.join(map(str, command))}` failed:\n{output}")
