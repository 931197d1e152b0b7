"""The recipes of images in examples/: a wheel can be built of what each copies. There is no Docker here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.examples.helpers import EXAMPLES, ROOT

RECIPES = sorted(EXAMPLES.glob("*/Dockerfile"))


def instructions(recipe: Path) -> list[str]:
    """Return the instructions of a Dockerfile, each as one line."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", recipe.read_text(encoding="utf-8")))
    return [line for line in text.splitlines() if line]


def copied(recipe: Path) -> list[str]:
    """Return what a Dockerfile copies from the checkout."""
    copies = [each.split()[1:-1] for each in instructions(recipe) if each.startswith("COPY ") and "--from" not in each]
    return [path for paths in copies for path in paths]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda each: each.parent.name)
def test_a_wheel_can_be_built_of_what_the_image_copies(recipe: Path, tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for each in copied(recipe):
        if (ROOT / each).is_dir():
            shutil.copytree(ROOT / each, source / each, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / each, source)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    environment = {**os.environ, "KPLPY_ACCELERATOR": "no"}  # the image has no compiler
    done = subprocess.run(command, cwd=source, env=environment, timeout=100, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert {"kplpy/cli/app.py", "kplpy/local/__init__.py"} <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda each: each.parent.name)
def test_docker_is_sent_what_the_image_copies_and_no_more(recipe: Path) -> None:
    lines = recipe.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    assert [each[1:] for each in lines if each.startswith("!")] == copied(recipe)


def test_the_local_kinesis_is_started_with_options_that_it_has() -> None:
    entry = next(each for each in instructions(EXAMPLES / "local/Dockerfile") if each.startswith("ENTRYPOINT"))
    _, *arguments = json.loads(entry.partition(" ")[2])
    command = [sys.executable, "-c", "from kplpy.cli import main; main()", *arguments, "--help"]
    done = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert arguments == ["local", "--host", "0.0.0.0"]
