"""A disk of its own that is soon full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(directory: Path, kib: int) -> Iterator[None]:
    """A file system in memory of so many KiB at `directory`; skips the test where it may not be mounted."""
    options = ["-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, text=True, timeout=30)
    except OSError as error:
        pytest.skip(f"no small disk can be mounted: {error}")
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True, timeout=30)


def fill(file: Path) -> None:
    """Write until the disk is full to the last byte."""
    with file.open("ab", buffering=0) as filler:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                pass
