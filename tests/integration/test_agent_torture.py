"""Rotations and kills at random moments lose nothing: half a minute of scripts/agent_torture.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_rotations_and_kills_at_random_moments_lose_nothing() -> None:
    arguments = ["--rotations", "40", "--kills", "6", "--seed", "5"]
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts/agent_torture.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
