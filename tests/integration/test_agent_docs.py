"""The first example of docs/agent.md runs as it is printed: a log, an agent.json, `kplpy agent` and `kplpy tail`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from kplpy.local import LocalKinesis
from tests.integration.cli_process import environment

ROOT = Path(__file__).parents[2]


def test_the_pages_first_example(tmp_path: Path) -> None:
    page = (ROOT / "docs/agent.md").read_text(encoding="utf-8")
    (program, printed) = (re.findall(rf"^```{kind}\n(.*?)^```$", page, re.M | re.S)[0] for kind in ("sh", "text"))
    commands = tmp_path / "bin"
    commands.mkdir()
    command = commands / "kplpy"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m kplpy "$@"\n')
    command.chmod(0o755)
    with LocalKinesis(stream="logs") as kinesis:
        keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
        variables = environment(tmp_path, AWS_ENDPOINT_URL_KINESIS=kinesis.endpoint_url, **keys)
        variables["PATH"] = f"{commands}:{variables['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env=variables,
        )
    log = tmp_path / "agent.log"
    assert (done.returncode, done.stdout) == (0, printed), done.stderr + (log.read_text() if log.exists() else "")
