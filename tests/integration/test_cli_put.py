"""Runs `kplpy put` as a process against a local Kinesis."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kplpy.local import Fault, LocalKinesis
from tests.integration.cli_process import COMMAND, Running, environment, on_terminal, run, without_slowness
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
    # Without a terminal there is a summary, but no progress.
    output = without_slowness(done.stderr)
    assert output.startswith(b"put 5 records (16 B read) on test in ")
    assert output.count(b"\n") == 1
    assert b"\x1b" not in output


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
    assert (b"skipped 1 line without a partition key" in done.stderr) == (policy == "skip")


def test_failed_records_are_kept_and_sent_again(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
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


def test_records_that_the_service_refuses_are_kept_too(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    kinesis.faults.fail_entries()
    refused = run(
        tmp_path, "put", *at, "--failed", "f", "--set", "fail_if_throttled=true", "--key", "k", given=b"one\n"
    )
    assert refused.returncode == 1
    (entry,) = entries(tmp_path / "f")
    assert (entry["data"], entry["attempts"], entry["possible_duplicate"]) == ("one", 1, False)
    assert str(entry["error"]).startswith("ThrottledError: ")
    # The file is appended to, never overwritten.
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
    assert b"-, line 2: not a record as --failed writes them" in done.stderr
    assert data(kinesis) == [b"fine"]


def test_an_endless_line_is_one_failed_record(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    done = run(tmp_path, "put", *at, "--failed", "f", given=b"a\n" + b"x" * (20 << 20) + b"\nb\n")
    assert done.returncode == 1
    assert sorted(data(kinesis)) == [b"a", b"b"]
    (entry,) = entries(tmp_path / "f")
    assert entry["truncated"] == 20 << 20
    assert len(str(entry["data"])) == 1024
    # The truncated record cannot be sent again, and fails.
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
    assert b"keys without a meaning in kplpy are ignored: LogLevel" in done.stderr
    assert len(kinesis.ledger("test")) == 3
    # --set wins over --config.
    stronger = ("--config", "kpl.properties", "--set", "aggregation_enabled=true", "--key", "k")
    done = run(tmp_path, "put", *at, *stronger, given=given)
    assert done.returncode == 0
    late = without_slowness(done.stderr) != done.stderr  # without a shard map each record is sent alone
    assert len(kinesis.ledger("test")) == 4 or late


def test_ctrl_c_delivers_the_records_read_so_far(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    lines = [b"%06d" % number for number in range(30_000)]
    with Running(tmp_path, "put", *at, "--key", "k", "--set", "record_max_buffered_time_ms=100000") as command:
        command.write(b"\n".join(lines) + b"\n")  # more than the pipe holds, so much of it was read by now
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
        wait_until(lambda: kinesis.model.requests > 2)  # both were read, and sent
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


def test_lines_that_an_earlier_run_put_are_skipped(kinesis: LocalKinesis, at: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1\n2\n")
    (tmp_path / "b").write_bytes(b"4\n5")
    done = run(tmp_path, "put", *at, "a", "-", "b", "--key", "k", "--skip", "3", given=b"3\n")
    assert done.returncode == 0
    assert data(kinesis) == [b"4", b"5"]
    assert b"skipped the first 3 lines (--skip)\n" in done.stderr
    assert run(tmp_path, "put", *at, "--key", "k", "--skip", "2", "-q", given=b"x\ny\nz\n").returncode == 0
    assert data(kinesis) == [b"4", b"5", b"z"]
    # Skipping the whole input succeeds, and skipping more fails.
    assert run(tmp_path, "put", *at, "--skip", "2", "a", "-q").returncode == 0
    done = run(tmp_path, "put", *at, "--skip", "3", "a", "-q")
    assert (done.returncode, done.stderr) == (1, b"--skip 3: the input has only 2 lines\n")
    assert len(data(kinesis)) == 3


def test_failed_records_of_an_earlier_run_can_be_skipped_too(
    kinesis: LocalKinesis, at: list[str], tmp_path: Path
) -> None:
    given = b'{"data": "1"}\n{"data": "2"}\n{"data": "3"}\n'
    assert run(tmp_path, "put", *at, "--from-failed", "-", "--skip", "2", given=given).returncode == 0
    assert data(kinesis) == [b"3"]


def test_an_interrupted_run_prints_where_the_next_run_continues(
    kinesis: LocalKinesis, at: list[str], tmp_path: Path
) -> None:
    lines = [b"%06d" % number for number in range(30_000)]
    (tmp_path / "lines").write_bytes(b"\n".join(lines))
    with Running(tmp_path, "put", *at, "--key", "k", "lines", "--rate", "2000") as command:
        wait_until(lambda: len(kinesis.ledger("test")) > 2, 60)
        command.process.send_signal(signal.SIGINT)
        assert command.end() == 130
    first = data(kinesis)
    assert 0 < len(first) < len(lines)
    skip = re.search(rb"stopped after [\d,]+ lines?; continue with --skip (\d+)", command.err)
    assert skip is not None, command.err
    assert int(skip[1]) == len(first)
    assert run(tmp_path, "put", *at, "--key", "k", "lines", "--skip", skip[1].decode()).returncode == 0
    assert sorted(data(kinesis)) == lines  # requests may overtake each other


PLAIN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("columns", [80, 120])
def test_progress_on_a_terminal(kinesis: LocalKinesis, at: list[str], tmp_path: Path, columns: int) -> None:
    kinesis.faults.delay(3.0)  # time to see it, on a busy machine too
    code, shown = on_terminal(tmp_path, "put", *at, "/dev/stdin", given=b"x\n", columns=columns)
    assert code == 0
    text = PLAIN.sub("", shown.decode())
    assert "0 records  0 B/s  1 outstanding  0 throttled" in text
    assert "put 1 record " in text
    # The table of shards, as in `kplpy top`.
    assert "used limit" in text
    assert "1 waiting, " in text
    assert "░" * (10 if columns == 80 else 20) in text
    assert "…" not in text
    live = text[: text.index("put 1 record ")]
    assert max(map(len, re.split(r"[\r\n]+", live))) <= columns
    assert "%  ETA" not in text  # the size of a pipe is unknown


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_how_much_of_a_file_is_put_and_how_long_it_will_take(
    kinesis: LocalKinesis, at: list[str], tmp_path: Path
) -> None:
    (tmp_path / "lines").write_bytes(b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * 199)
    code, shown = on_terminal(
        tmp_path, "put", *at, "lines", "--skip", "100", "--rate", "50", "--set", "record_max_buffered_time_ms=50"
    )
    assert code == 0
    text = PLAIN.sub("", shown.decode())
    portions = [int(each) for each in re.findall(r"(\d+) %  ETA ", text)]
    assert portions[0] < 60  # skipped lines count as done
    assert 50 <= portions[0] <= portions[-1] <= 100
    assert portions == sorted(portions)
    assert len(set(portions)) > 3
    left = [60 * int(minutes) + int(seconds) for minutes, seconds in re.findall(r"ETA (\d+):(\d\d) ", text)]
    assert left
    assert left[-1] <= 1


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
    """The peak memory is nearly the same for 20,000 lines and for 200,000."""
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
