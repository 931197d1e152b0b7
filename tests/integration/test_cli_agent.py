"""`kplpy agent` as a process: its log, exit codes, signals, status, and the check."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kplpy.agent.status import lines_of
from kplpy.cli.agent import agent
from kplpy.local import LocalKinesis
from tests.integration.cli_process import COMMAND, environment, run
from tests.integration.reading import read_all, wait_until

PATIENCE = 30.0
KEYS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(streams={"one": 1, "two": 1}, limits=False) as running:
        yield running


def configure(home: Path, kinesis: LocalKinesis, *streams: str, **keys: Any) -> None:
    """Write agent.json with a flow for each stream, which follows <stream>.log."""
    flows = [
        {
            "filePattern": str(home / f"{stream}.log"),
            "kinesisStream": stream,
            "initialPosition": "START_OF_FILE",
            "maxBufferAgeMillis": 1000,
        }
        for stream in streams
    ]
    common = {
        "kinesis.endpoint": kinesis.endpoint_url,
        "cloudwatch.emitMetrics": False,
        "checkpointFile": str(home / "checkpoints"),
        "statusSocket": str(home / "socket"),
    }
    (home / "agent.json").write_text(json.dumps({**common, "flows": flows, **keys}))


def lines(kinesis: LocalKinesis, stream: str = "one") -> list[bytes]:
    return sorted(each.data for each in read_all(kinesis, stream))


class Started:
    """A running `kplpy agent -c agent.json`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [*COMMAND, "agent", "-c", "agent.json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(home, **KEYS),
            cwd=home,
        )
        wait_until((home / f"socket.{self.process.pid}").exists, PATIENCE)

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, log.decode()


def test_once_sends_what_is_there(tmp_path: Path, kinesis: LocalKinesis) -> None:
    configure(tmp_path, kinesis, "one")
    (tmp_path / "one.log").write_text("a\nb\n")
    done = run(tmp_path, "agent", "-c", "agent.json", "--once", given=b"", **KEYS)
    assert (done.returncode, done.stdout) == (0, b"")
    assert re.search(r"^20\S+Z INFO the agent follows 1 flows", done.stderr.decode(), re.MULTILINE)
    assert b"the agent has ended; 2 records were sent" in done.stderr
    assert lines(kinesis) == [b"a\n", b"b\n"]


def test_a_running_agent_shows_its_state_and_delivers_all_before_it_ends(tmp_path: Path, kinesis: LocalKinesis) -> None:
    configure(tmp_path, kinesis, "one", "two")
    log = tmp_path / "one.log"
    log.write_text("a\n")
    started = Started(tmp_path)
    wait_until(lambda: status_of(tmp_path)["flows"][0]["parsed"] == 1, PATIENCE)
    status = status_of(tmp_path)
    assert (status["process"], len(status["flows"])) == (started.process.pid, 2)
    text = "\n".join(lines_of(status))
    assert f"kinesis:one:{log}: 1 file, " in text
    assert f"{log}: offset" in text
    shown = CliRunner().invoke(agent, ["status", "-c", str(tmp_path / "agent.json")])
    assert f"process {started.process.pid}: 2 flows" in shown.output
    code, messages = started.end()
    assert (code, lines(kinesis)) == (0, [b"a\n"]), messages
    assert "Traceback" not in messages
    ended = CliRunner().invoke(agent, ["status", "-c", str(tmp_path / "agent.json")])
    assert ended.exit_code == 1
    assert "no agent runs with the statusSocket" in ended.output


def status_of(home: Path) -> Any:
    """Return the status as `kplpy agent status --json` prints it."""
    return json.loads(CliRunner().invoke(agent, ["status", "--json", "--socket", str(home / "socket")]).output)


def test_hangup_reads_the_configuration_again(tmp_path: Path, kinesis: LocalKinesis) -> None:
    configure(tmp_path, kinesis, "one")
    (tmp_path / "two.log").write_text("two\n")
    started = Started(tmp_path)
    (tmp_path / "agent.json").write_text("{")
    started.process.send_signal(signal.SIGHUP)
    configure_later = tmp_path / "one.log"
    configure_later.write_text("still\n")
    wait_until(lambda: lines(kinesis) == [b"still\n"], PATIENCE)
    configure(tmp_path, kinesis, "one", "two")
    started.process.send_signal(signal.SIGHUP)
    wait_until(lambda: lines(kinesis, "two") == [b"two\n"], PATIENCE)
    code, messages = started.end()
    assert code == 0
    assert "the old configuration stays, because the new one is wrong: " in messages
    assert "the new configuration is in use, with 2 flows" in messages


def test_a_killed_agent_loses_nothing(tmp_path: Path, kinesis: LocalKinesis) -> None:
    configure(tmp_path, kinesis, "one")
    kinesis.faults.outage(operation="PutRecords")
    (tmp_path / "one.log").write_text("a\nb\n")
    started = Started(tmp_path)
    wait_until(lambda: status_of(tmp_path)["flows"][0]["outstanding"] == 2, PATIENCE)
    started.end(signal.SIGKILL)
    kinesis.faults.clear()
    run(tmp_path, "agent", "-c", "agent.json", "--once", given=b"", **KEYS)
    assert lines(kinesis) == [b"a\n", b"b\n"]


def test_a_wrong_configuration_ends_with_1_and_its_lines(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_text('{\n  "flows": [{"filePattern": "/a", "kinesisStream": "b",}]\n}')
    done = run(tmp_path, "agent", "-c", "agent.json")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"line 2" in done.stderr
    checked = CliRunner().invoke(agent, ["-c", str(tmp_path / "agent.json"), "--check"])
    assert checked.exit_code == 1
    assert "line 2" in checked.output


def test_the_check_explains_and_sends_nothing(tmp_path: Path, kinesis: LocalKinesis) -> None:
    configure(tmp_path, kinesis, "one", initialPostion="START_OF_FILE")
    (tmp_path / "one.log").write_text("a\n")
    done = CliRunner().invoke(agent, ["-c", str(tmp_path / "agent.json"), "--check"])
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "one.log") in done.output
    assert "initialPostion" in done.output
    assert CliRunner().invoke(agent, ["-c", str(tmp_path / "agent.json"), "--check", "--strict"]).exit_code == 1
    assert lines(kinesis) == []
    assert sorted(os.listdir(tmp_path)) == ["agent.json", "one.log"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--check", "--once"], "contradict"), (["--strict"], "needs --check"), (["status", "--nothing"], "No such")],
)
def test_wrong_options_are_usage_errors(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(agent, arguments)
    assert done.exit_code == 2
    assert message in done.output
