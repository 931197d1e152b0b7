"""Running a real framework around tests/integration/frameworks_app.py, and judging what arrived."""

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
"""Answers from the workers."""
FORKED = "ForkedError"
"""What the workers find in the futures that their parent made: they wait in its memory."""
DELIVERED = "NoneType"

Told = dict[str, Any]


def needed(module: str) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed (dependency group frameworks)")


@dataclass
class Running:
    process: subprocess.Popen[str]
    output: str = ""
    """What it said, once it has ended."""


@contextmanager
def running(command: Sequence[str], kinesis: LocalKinesis, **settings: str) -> Iterator[Running]:
    """A framework's first process; ended by SIGTERM."""
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


def collect(ask: Callable[[], list[Told]], workers: int) -> list[Told]:
    """Enough answers, from enough workers."""
    answers: list[Told] = []
    deadline = time.monotonic() + PATIENCE
    while (len({each["pid"] for each in answers}) < workers or len(answers) < ENOUGH) and time.monotonic() < deadline:
        try:
            answers += ask()
        except OSError:  # not listening yet
            time.sleep(0.05)
    return answers


def check(
    kinesis: LocalKinesis,
    answers: list[Told],
    run: Running,
    workers: int = 2,
    inherited: str = FORKED,
    at_import: int = 20,
) -> None:
    """All that the parent buffered at import, and each record that was answered for, has arrived once."""
    got = Counter(record.data.decode() for record in read_all(kinesis))
    parent, output = run.process.pid, run.output
    from_parent = Counter({name: times for name, times in got.items() if "at import" in name})
    assert from_parent == Counter(f"{parent} at import, {number}" for number in range(at_import)), output
    assert len({each["pid"] for each in answers} - {parent}) >= workers, output
    assert Counter(each["record"] for each in answers) - got == Counter(), output
    assert {name for name, times in got.items() if times > 1} == set(), output
    assert {each["inherited"] for each in answers} == {inherited}, output
    for noise in ("Traceback", "KILLED", "undelivered"):
        assert noise not in output
