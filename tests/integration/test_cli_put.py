"""kplpy put, as a process, against a local Kinesis."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kplpy.local import Fault, LocalKinesis
from tests.integration.cli_process import COMMAND, Running, environment, run, without_slowness
from tests.integration.reading import read_all, wait_until


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=2, limits=False) as running:
        yield running


@pytest.fixture
def at(kinesis: LocalKinesis) -> list[str]:
    return ["test", "--endpoint-url", kinesis.endpoint_url]


def data(kinesis: LocalKinesis) -> list[bytes]:
    return [each.data for each in read_all(kinesis)]


def entries(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_lines_of_standard_input_become_records(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    done = run(tmp_path, "put", *at, given="one\nzwölf\n\n".encode() + b"\xff\x00\r\nlast")
    assert (done.returncode, done.stdout) == (0, b"")
    assert sorted(data(kinesis)) == sorted([b"one", "zwölf".encode(), b"", b"\xff\x00\r", b"last"])
    # No terminal: a summary, no progress.
    said = without_slowness(done.stderr)
    assert said.startswith(b"put 5 records (16 B read) on test in ")
    assert said.count(b"\n") == 1
    assert b"\x1b" not in said


def test_files_in_their_order_with_standard_input_between(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1\n2\n")
    (tmp_path / "b").write_bytes(b"4")
    done = run(tmp_path, "put", *at, "a", "-", "b", "--key", "k", "--keep-newline", "--quiet", given=b"3\n")
    assert (done.returncode, without_slowness(done.stderr)) == (0, b"")
    assert data(kinesis) == [b"1\n", b"2\n", b"3\n", b"4"]
    assert {each.partition_key for each in read_all(kinesis)} == {"k"}


def test_keys_from_the_lines(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    given = b'{"a": {"b": "x"}}\n{"a": {"b": 1.10}}\n'
    assert run(tmp_path, "put", *at, "--json-key", "a.b", given=given).returncode == 0
    assert run(tmp_path, "put", *at, "--regex-key", r"user=(\w+)", given=b"?user=anna&x\n").returncode == 0
    assert {each.data: each.partition_key for each in read_all(kinesis)} == {
        b'{"a": {"b": "x"}}': "x",
        b'{"a": {"b": 1.10}}': "1.10",
        b"?user=anna&x": "anna",
    }


@pytest.mark.parametrize(("policy", "code", "arrived"), [("fail", 1, 1), ("random", 0, 2), ("skip", 0, 1)])
def test_lines_without_a_key(
    kinesis: LocalKinesis, at: list[str], tmp_path: Path, policy: str, code: int, arrived: int
) -> None:
    done = run(tmp_path, "put", *at, "--json-key", "id", "--missing-key", policy, given=b'{"id": 1}\nno json\n')
    assert done.returncode == code
    assert len(data(kinesis)) == arrived
    assert (b"no partition key" in done.stderr) == (policy == "fail")
    assert (b"1 line without a partition key left out" in done.stderr) == (policy == "skip")


def test_what_failed_is_kept_and_sent_again(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    large = b"x" * 100
    done = run(
        tmp_path,
        *("put", *at, "--failed", "failed", "--set", "max_user_record_size=64", "--key", "k"),
        given=b"small\n" + large + b"\n" + b"\xff" * 100 + b"\n",
    )
    assert done.returncode == 1
    assert data(kinesis) == [b"small"]
    assert b"2 records failed:" in done.stderr
    assert b"send them again with --from-failed failed" in done.stderr
    first, second = entries(tmp_path / "failed")
    assert (first["data"], first["partition_key"], first["stream"]) == ("x" * 100, "k", "test")
    assert "at most 64 bytes" in str(first["error"])
    assert "data_base64" in second

    again = run(tmp_path, "put", "--endpoint-url", kinesis.endpoint_url, "--from-failed", "failed", "--failed", "rest")
    assert again.returncode == 0, again.stderr
    assert sorted(data(kinesis)) == sorted([b"small", large, b"\xff" * 100])
    assert {each.partition_key for each in read_all(kinesis)} == {"k"}
    assert not (tmp_path / "rest").exists()


def test_what_the_service_refuses_is_kept_too(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    kinesis.faults.fail_entries()
    refused = run(
        tmp_path, "put", *at, "--failed", "f", "--set", "fail_if_throttled=true", "--key", "k", given=b"one\n"
    )
    assert refused.returncode == 1
    (entry,) = entries(tmp_path / "f")
    assert (entry["data"], entry["attempts"], entry["possible_duplicate"]) == ("one", 1, False)
    assert str(entry["error"]).startswith("ThrottledError: ")
    # Appended to, never overwritten.
    kinesis.faults.fail_entries()
    run(tmp_path, "put", *at, "--failed", "f", "--set", "fail_if_throttled=true", given=b"two\n")
    assert [each["data"] for each in entries(tmp_path / "f")] == ["one", "two"]
    assert run(tmp_path, "put", *at, "--from-failed", "f").returncode == 0
    assert sorted(data(kinesis)) == [b"one", b"two"]


def test_a_bad_line_of_a_failed_file_fails_alone(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    given = b'{"data": "fine"}\nnonsense\n{"data_base64": "!"}\n{"data": "x", "explicit_hash_key": "-1"}\n'
    done = run(tmp_path, "put", *at, "--from-failed", "-", given=given)
    assert done.returncode == 1
    assert b"3 records failed:" in done.stderr
    assert b"-, line 2: not a record as --failed writes it" in done.stderr
    assert data(kinesis) == [b"fine"]


def test_an_endless_line_is_one_failed_record(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    done = run(tmp_path, "put", *at, "--failed", "f", given=b"a\n" + b"x" * (20 << 20) + b"\nb\n")
    assert done.returncode == 1
    assert sorted(data(kinesis)) == [b"a", b"b"]
    (entry,) = entries(tmp_path / "f")
    assert entry["truncated"] == 20 << 20
    assert len(str(entry["data"])) == 1024
    # It cannot be sent again, and says so.
    assert run(tmp_path, "put", *at, "--from-failed", "f").returncode == 1


def test_the_rate_is_held(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    began = time.monotonic()
    assert run(tmp_path, "put", *at, "--rate", "50", given=b"x\n" * 30).returncode == 0
    assert time.monotonic() - began >= 29 / 50
    times = [each.time for each in kinesis.ledger("test")]
    assert max(times) - min(times) >= 0.3


def test_a_properties_file_and_single_fields(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    (tmp_path / "kpl.properties").write_text("AggregationEnabled = false\nLogLevel = info\n")
    given = b"1\n2\n3\n"
    done = run(tmp_path, "put", *at, "--config", "kpl.properties", given=given)
    assert done.returncode == 0
    assert b"without meaning in kplpy and ignored: LogLevel" in done.stderr
    assert len(kinesis.ledger("test")) == 3
    # --set is the stronger.
    stronger = ("--config", "kpl.properties", "--set", "aggregation_enabled=true", "--key", "k")
    done = run(tmp_path, "put", *at, *stronger, given=given)
    assert done.returncode == 0
    late = without_slowness(done.stderr) != done.stderr  # then they went alone
    assert len(kinesis.ledger("test")) == 4 or late


def test_ctrl_c_delivers_what_was_read(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    lines = [b"%06d" % number for number in range(30_000)]
    with Running(tmp_path, "put", *at, "--key", "k", "--set", "record_max_buffered_time_ms=100000") as command:
        command.write(b"\n".join(lines) + b"\n")  # more than the pipe holds: much of it has been read by now
        command.process.send_signal(signal.SIGINT)
        assert command.end() == 130
    arrived = data(kinesis)
    assert len(arrived) > 10_000
    assert arrived == lines[: len(arrived)]
    assert b"put %s records" % f"{len(arrived):,}".encode() in command.err
    assert b"Traceback" not in command.err


def test_a_second_ctrl_c_ends_at_once(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    kinesis.faults.add(Fault(code="InternalFailure", status=500), times=1_000_000)
    with Running(tmp_path, "put", *at, "--failed", "f", "--set", "close_timeout_ms=600000") as command:
        command.write(b"one\ntwo\n")
        wait_until(lambda: kinesis.model.requests > 2)  # they were read, and tried
        command.process.send_signal(signal.SIGINT)
        command.wait_for(b"stopping: 2 records to deliver")
        command.process.send_signal(signal.SIGINT)
        assert command.end(15) == 130
    assert sorted(str(each["data"]) for each in entries(tmp_path / "f")) == ["one", "two"]
    assert b"2 records failed:" in command.err
    assert b"Traceback" not in command.err


def test_the_close_timeout_bounds_the_end(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    kinesis.faults.add(Fault(code="InternalFailure", status=500), times=1_000_000)
    with Running(tmp_path, "put", *at, "--failed", "f", "--set", "close_timeout_ms=100") as command:
        command.write(b"one\n")
        wait_until(lambda: kinesis.model.requests > 2)
        command.process.send_signal(signal.SIGTERM)
        assert command.end(15) == 128 + signal.SIGTERM
    assert [each["data"] for each in entries(tmp_path / "f")] == ["one"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_progress_on_a_terminal(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    import pty
    import subprocess

    kinesis.faults.delay(1.0)  # time to see it
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "put", *at, "/dev/stdin"],
        stdin=subprocess.PIPE,
        stderr=theirs,
        env=environment(tmp_path, TERM="xterm", COLUMNS="120"),
    )
    os.close(theirs)
    assert process.stdin is not None
    process.stdin.write(b"x\n")
    process.stdin.close()
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how Linux tells that the other end is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0
    assert b"0 records  0 B/s  1 outstanding  0 throttled" in shown
    assert b"put 1 record " in shown
    # What kplpy top shows, shard by shard.
    assert b"used limit" in shown
    assert b"1 waiting, " in shown
    assert "░" * 20 in shown.decode("utf-8", "replace")


def test_a_closed_standard_error_stops_nothing(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    code = os.spawnve(
        os.P_WAIT,
        "/bin/sh",
        ["sh", "-c", f"echo x | {' '.join(COMMAND)} put {' '.join(at)} 2>&-"],
        environment(tmp_path),
    )
    assert code == 0
    assert data(kinesis) == [b"x"]


def test_memory_stays_flat(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    """The most memory that a process held is much the same for 20,000 lines and for 200,000."""
    peak = []
    for count in (20_000, 200_000):
        (tmp_path / "lines").write_bytes(b"%0100d\n" % 7 * count)
        child = os.posix_spawn(
            sys.executable,
            [
                *COMMAND,
                "put",
                *at,
                str(tmp_path / "lines"),
                "--quiet",
                "--set",
                "max_buffered_records=5000",
                "--set",
                "rate_limit=10000",
            ],
            environment(tmp_path),
        )
        _, status, usage = os.wait4(child, 0)
        assert status == 0
        peak.append(usage.ru_maxrss)
    assert peak[1] - peak[0] < 40_000  # KiB; 200,000 lines and their futures would be 80 MB and more
