"""Runs a real framework with tests/integration/frameworks_app.py, and checks the records that arrive."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kplpy.local import LocalKinesis
from tests.integration.reading import read_all

ROOT = Path(__file__).parents[2]
APP = "tests.integration.frameworks_app"
PATIENCE = 60.0
ENOUGH = 40
"""Reports that collect() waits for."""
FORKED = "ForkedError"
"""The outcome that workers find in their parent's futures, which were pending at the fork."""
DELIVERED = "NoneType"

Report = dict[str, Any]


def needed(module: str) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed (dependency group frameworks)")


@dataclass
class Running:
    process: subprocess.Popen[str]
    output: str = ""
    """The output of the process after its end."""


@contextmanager
def running(command: Sequence[str], kinesis: LocalKinesis, **settings: str) -> Iterator[Running]:
    """Run a framework's first process, and end it by SIGTERM."""
    program, *arguments = command
    process = subprocess.Popen(
        [str(Path(sysconfig.get_path("scripts")) / program), *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "KINESIS_URL": kinesis.endpoint_url,
            "PYTHONPATH": str(ROOT),
            "BUFFER_AT_IMPORT": "yes",
            **settings,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    run = Running(process)
    try:
        yield run
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            run.output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            run.output, _ = process.communicate()
            run.output += "\nIT HAD TO BE KILLED"


def collect(ask: Callable[[], list[Report]], workers: int) -> list[Report]:
    """Collect enough reports from enough workers."""
    reports: list[Report] = []
    deadline = time.monotonic() + PATIENCE
    while (len({each["pid"] for each in reports}) < workers or len(reports) < ENOUGH) and time.monotonic() < deadline:
        try:
            reports += ask()
        except OSError:  # not listening yet
            time.sleep(0.05)
    return reports


def check(
    kinesis: LocalKinesis,
    reports: list[Report],
    run: Running,
    workers: int = 2,
    inherited: str = FORKED,
    at_import: int = 20,
) -> None:
    """Check that the parent's records from import, and each record of a report, arrived once."""
    got = Counter(record.data.decode() for record in read_all(kinesis))
    parent, output = run.process.pid, run.output
    from_parent = Counter({name: times for name, times in got.items() if "at import" in name})
    assert from_parent == Counter(f"{parent} at import, {number}" for number in range(at_import)), output
    assert len({each["pid"] for each in reports} - {parent}) >= workers, output
    assert Counter(each["record"] for each in reports) - got == Counter(), output
    assert {name for name, times in got.items() if times > 1} == set(), output
    assert {each["inherited"] for each in reports} == {inherited}, output
    for noise in ("Traceback", "KILLED", "undelivered"):
        assert noise not in output
