"""Running the files of examples/ against a local Kinesis: as modules of this process, and as programs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kplpy.local import LocalKinesis
from tests.integration.reading import read_all

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def settings(kinesis: LocalKinesis, stream: str = "orders") -> dict[str, str]:
    """Return the environment that leads an example to the local Kinesis."""
    return {"AWS_ENDPOINT_URL_KINESIS": kinesis.endpoint_url, "AWS_REGION": kinesis.region_name, "STREAM": stream}


def objects(kinesis: LocalKinesis) -> list[Any]:
    """Return the records of the stream "orders", read as JSON."""
    return [json.loads(each.data) for each in read_all(kinesis, "orders")]


@contextmanager
def imported(name: str, kinesis: LocalKinesis, **more: str) -> Iterator[Any]:
    """Import the example, with a producer of its own, and close that afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {**settings(kinesis), **more}.items():
            patch.setenv(key, value)
        patch.delitem(sys.modules, f"examples.{name}", raising=False)
        module = importlib.import_module(f"examples.{name}")
        try:
            yield module
        finally:
            if hasattr(module, "producer"):
                module.producer.close()
            del sys.modules[f"examples.{name}"]


@contextmanager
def started(
    command: list[str | Path], kinesis: LocalKinesis, stream: str = "orders", **more: str
) -> Iterator[subprocess.Popen[str]]:
    """A Python program with these arguments, as a user would start it; killed at the end if it still runs."""
    program = subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **settings(kinesis, stream), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            program.kill()
            program.communicate()
