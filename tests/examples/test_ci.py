"""examples/ci: the workflow is valid YAML, and the commands of its job start a local Kinesis, put and read."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.examples.helpers import EXAMPLES

WORKFLOW = EXAMPLES / "ci/github-actions.yml"


def workflow() -> Any:
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))


def step(job: str, name: str) -> str:
    return next(str(each["run"]) for each in workflow()["jobs"][job]["steps"] if each.get("name") == name)


def test_each_job_has_a_machine_a_bound_and_steps() -> None:
    for job in workflow()["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        assert job["timeout-minutes"] <= 10
        assert all(("uses" in each) != ("run" in each) for each in job["steps"])
    assert workflow()[True] == ["push", "pull_request"]  # YAML 1.1 reads the key "on" as True


def test_the_service_has_the_port_of_the_endpoint() -> None:
    assert workflow()["jobs"]["container"]["services"]["kinesis"]["ports"] == ["4567:4567"]
    assert workflow()["env"]["AWS_ENDPOINT_URL_KINESIS"].endswith(":4567")
    assert "EXPOSE 4567" in (EXAMPLES / "local/Dockerfile").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for bash")
def test_the_commands_start_a_kinesis_put_a_record_and_read_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    start = step("process", "Start a local Kinesis").replace("kplpy local", f"kplpy local --port {port}")
    commands = [start.replace("/4567", f"/{port}"), step("process", "Put a record and read it")]
    without_aws = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    variables = {name: value.replace("4567", port) for name, value in workflow()["env"].items()}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = subprocess.Popen(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env={**without_aws, **variables, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = shell.communicate(timeout=60)
    finally:
        os.killpg(shell.pid, signal.SIGTERM)  # the server, which stays in the job
    assert shell.returncode == 0, printed + (tmp_path / "kinesis.log").read_text()
    assert "7 pears" in printed
