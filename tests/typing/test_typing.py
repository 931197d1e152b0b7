"""The public face is typed as its users see it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(600)
def test_mypy_strict_reads_the_public_face(tmp_path: Path) -> None:
    # Outside the checkout, without its settings: what a user's own project sees of the installed package.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--warn-unreachable", "--config-file", os.devnull),
            *("--cache-dir", str(tmp_path / "cache"), str(HERE / "public_api.py")),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
