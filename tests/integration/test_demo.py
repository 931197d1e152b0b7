"""`kplpy demo` on a small input: its output, the differences it finds, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from kplpy.cli.app import cli
from kplpy.cli.demo.command import Run
from tests.inside import put_intruder
from tests.integration.cli_process import Running, run
from tests.integration.reading import wait_until

TABLE = [
    "lines",
    "user records",
    "Kinesis records",
    "PutRecords requests",
    "records per Kinesis record",
    "bytes",
    "entries throttled",
    "entries retried",
    "seconds",
    "buffering p50 / p99",
    "records out of order",
]


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_files_are_put_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "a:1:b").write_bytes("é\n\n\xff no UTF-8\r\n".encode("latin-1") + b"no newline at the end")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "many").write_bytes(b"".join(b"%d\n" % each for each in range(20_000)))
    done = run(tmp_path, "demo", "a:1:b", "empty", "many", "./many")
    output = done.stdout.decode()
    assert done.returncode == 0, done
    assert output.startswith("input: 20,004 lines in 3 files")
    assert output.endswith("\nidentical\n")
    for name in TABLE:
        assert re.search(rf"^  {re.escape(name)} {{2,}}\S", output, re.MULTILINE), name
    assert re.search(r"^  user records +20,004 put, 20,004 read back$", output, re.MULTILINE)
    assert "bottleneck: " in output
    assert b"\x1b" not in done.stdout + done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a:1:b", "empty", "many"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at /proc")
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"%01000d\n" % 1 * 30_000)  # takes half a minute with one shard
    with Running(tmp_path, "demo", "lines", "--shards", "1") as command:
        command.wait_for(b"put ")  # the first line of progress
        (server,) = children(command.process.pid)
        os.killpg(command.process.pid, signal.SIGINT)  # to both processes, as a terminal does
        assert command.end(30) == 130
    assert not alive(server)
    assert b"Traceback" not in command.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lines"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at /proc")
def test_the_kinesis_of_a_killed_demo_ends(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"%01000d\n" % 1 * 30_000)
    with Running(tmp_path, "demo", "lines", "--shards", "1") as command:
        command.wait_for(b"put ")
        (server,) = children(command.process.pid)
        command.process.kill()
        command.end(30)
        wait_until(lambda: not alive(server), seconds=15)


def test_a_difference_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines").write_text("one\ntwo\n")
    put = Run.put

    def put_and_meddle(run: Run) -> None:
        put(run)
        put_intruder(run, b"intruder")

    monkeypatch.setattr(Run, "put", put_and_meddle)
    before = signal.getsignal(signal.SIGTERM)
    try:
        result = CliRunner().invoke(cli, ["demo", str(tmp_path / "lines")])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 1
    assert result.output.endswith("\ndifferent: a record that was never put: b'intruder'\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the input has no lines"), (b"x\n" + b"y" * (1 << 20), "lines, line 2: 1048584 bytes")],
)
def test_input_that_cannot_be_put(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "lines").write_bytes(content)
    done = run(tmp_path, "demo", "lines")
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"Error: {message}")
    assert done.stderr.count(b"\n") == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", "nothing")
    assert done.returncode == 2
    assert b"'nothing' does not exist" in done.stderr
