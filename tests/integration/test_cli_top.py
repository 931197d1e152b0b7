"""`kplpy top` shows producers of other processes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kplpy import Producer
from kplpy.cli.top import UNLIMITED, render
from kplpy.local import LocalKinesis
from tests.integration.cli_process import COMMAND, environment, on_terminal, run
from tests.integration.reading import wait_until


@pytest.fixture(scope="module")
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(stream="orders", shards=2) as running:
        yield running


def new_producer(kinesis: LocalKinesis, path: Path) -> Producer:
    return Producer(
        endpoint_url=kinesis.endpoint_url,
        stats_path=str(path),
        metrics_granularity="shard",
    )


def socket_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}")


def test_each_shard_is_shown(kinesis: LocalKinesis, tmp_path: Path) -> None:
    path = tmp_path / "stats"
    with new_producer(kinesis, path) as producer:
        assert not socket_path(path).exists()
        for number in range(1000):
            producer.put_record("orders", b"x" * 100, f"key-{number}")
        producer.flush()
        assert stat.S_IMODE(socket_path(path).stat().st_mode) == 0o600

        def read_stats() -> dict[str, Any]:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(30)
                connection.connect(str(socket_path(path)))
                with connection.makefile("rb") as answer:
                    answered: dict[str, Any] = json.load(answer)
            return answered

        def stream() -> dict[str, Any]:
            found: dict[str, Any] = read_stats()["streams"]["orders"]
            return found

        wait_until(lambda: stream()["counts"]["records_per_second"] == 100.0)
        found = stream()
        assert found["counts"]["bytes_per_second"] == 10_000.0
        assert 0 < found["counts"]["p50_ms"] <= found["counts"]["p99_ms"] <= found["counts"]["max_ms"]
        shards = found["shards"]
        assert sorted(shards) == ["shardId-000000000000", "shardId-000000000001"]
        assert sum(each["counts"]["records_per_second"] for each in shards.values()) == pytest.approx(100.0)
        assert all(75 < each["limit_percent"] <= 100 for each in shards.values())  # a new limiter begins below 100

        printed = run(tmp_path, "top", str(path), "--once", COLUMNS="40").stdout.decode()  # not cut in a pipe
        assert re.search(rf"process {os.getpid()}: 0 of 100,000 records", printed)
        assert re.search(r"^  1 +[█░]{20} +\d+ % +[\d.,]+ +[\d.,]+ k?B +0 +0", printed, re.MULTILINE), printed
    assert not socket_path(path).exists()


def busy_producer(name: str, shards: int) -> dict[str, Any]:
    """Return the statistics of a busy producer."""
    counts: dict[str, float | None] = {
        "records_per_second": 1595.0,
        "bytes_per_second": 2.4e6,
        "throttled": 1234.0,
        "retries": 3630.0,
        "average_ms": 1054.0,
        "p50_ms": 1200.0,
        "p99_ms": 13606.0,
        "max_ms": 23695.0,
    }
    of_a_shard = {"limit_percent": 100, "used_percent": 103, "counts": counts}
    stream = {
        "outstanding_records": 93612,
        "oldest_ms": 23700,
        "counts": counts,
        "shards": {f"shardId-{number:012}": of_a_shard for number in range(shards)},
    }
    bounds = {"buffered_records": 3612, "max_buffered_records": 100_000, "buffered_bytes": 7, "max_buffered_bytes": 9}
    spool = {"records": 93_612, "bytes": 9_700_000, "oldest_ms": 23_700.0, "syncs_per_second": 97.6, "errors": 0}
    return {**bounds, "seconds": 10, "spool": spool, "streams": {name: stream}}


def test_the_spool() -> None:
    printed = printed_at(UNLIMITED)
    assert "\nspool: 93,612 records, 9.7 MB, the oldest 23.7 s old; 98 syncs/s, 0 errors\n" in printed


def printed_at(width: int, name: str = "orders") -> str:
    console = Console(width=width, force_terminal=False, file=StringIO())
    console.print(render("stats", {31507: busy_producer(name, 12)}))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 120, UNLIMITED])
@pytest.mark.parametrize("name", ["s", "orders", "a" * 128])
def test_no_number_is_cut_at_any_width(width: int, name: str) -> None:
    printed = printed_at(width, name)
    assert max(len(line) for line in printed.splitlines()) <= width
    assert "…" not in printed
    (last,) = re.findall(r"^  11 +[█░]{10,20} 103 % +(.*?) *$", printed, re.MULTILINE)
    whole = ["1,595", "2.4 MB", "1,234", "3,630", "1,054", "1,200", "13,606", "23,695"]
    shown = re.split(r" {2,}", last)
    assert set(shown) <= set(whole)
    assert {"2.4 MB", "1,234"} <= set(shown)
    if width >= 80:
        assert {"1,595", "13,606", "23,695"} <= set(shown)
    if width == UNLIMITED:
        assert shown == whole
    assert name.replace("\n", "") in "".join(line[:16].strip() for line in printed.splitlines()) or name in printed


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_top_fits_a_terminal_of_80_columns(kinesis: LocalKinesis, tmp_path: Path) -> None:
    path = tmp_path / "stats"
    with new_producer(kinesis, path) as producer:
        producer.put_record("orders", b"x", "k").result(30)
        code, shown = on_terminal(tmp_path, "top", str(path), "--once", columns=80)
    assert code == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert max(map(len, re.split(r"[\r\n]+", text))) <= 80
    assert "…" not in text
    assert re.search(r"^  [01] +[█░]{10} +\d+ % ", text, re.MULTILINE), text


def test_a_shard_that_is_offered_twice_its_limit_is_shown_full_and_throttling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    ended = threading.Event()
    row = re.compile(r"^  0 +[█░]{20} +(?P<used>\d+) % +\S+ +\S+ [kM]B +(?P<throttled>[\d,]+) ", re.MULTILINE)
    seen = []

    def shown() -> bool:
        printed = run(tmp_path, "top", "stats", "--once", COLUMNS="120").stdout.decode()
        seen.append(printed)
        found = row.search(printed)
        return found is not None and 85 <= int(found["used"]) <= 115 and found["throttled"] != "0"

    with (
        LocalKinesis(stream="orders") as kinesis,
        Producer(
            endpoint_url=kinesis.endpoint_url,
            stats_path="stats",
            metrics_granularity="shard",
            rate_limit=200,
            max_buffered_bytes=2 << 20,
            record_ttl_ms=None,
        ) as producer,
    ):

        def offer() -> None:
            while not ended.is_set():
                producer.put_record("orders", b"x" * 20_000, "k")

        offering = threading.Thread(target=offer)
        offering.start()
        try:
            wait_until(shown, 60)
        except AssertionError:
            raise AssertionError(seen[-1]) from None
        finally:
            ended.set()
            offering.join()


def test_the_file_of_a_process_that_died_is_removed(tmp_path: Path) -> None:
    dead = tmp_path / "stats.1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(dead))
    done = run(tmp_path, "top", str(tmp_path / "stats"), "--once")
    assert done.returncode == 1
    assert b"no producer found" in done.stderr
    assert not dead.exists()


FORKS = """
import os, sys
from kplpy import Producer
producer = Producer(endpoint_url=sys.argv[1], stats_path="stats")
producer.put_record("orders", b"x", "k").result(30)
child = os.fork()
producer.put_record("orders", b"x", "k").result(30)
os.write(1, b"ready\\n")  # one write, because both processes share the pipe
sys.stdin.readline()
producer.close()
if child:
    os.waitpid(child, 0)
"""


def test_each_worker_has_its_own(kinesis: LocalKinesis, tmp_path: Path) -> None:
    variables = environment(
        tmp_path, AWS_ACCESS_KEY_ID="local", AWS_SECRET_ACCESS_KEY="local", AWS_DEFAULT_REGION="us-east-1"
    )
    program = [sys.executable, "-W", "ignore", "-c", FORKS, kinesis.endpoint_url]
    workers = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=variables)
    with workers:
        assert workers.stdin is not None
        assert workers.stdout is not None
        assert [workers.stdout.readline(), workers.stdout.readline()] == [b"ready\n"] * 2
        shown = run(tmp_path, "top", "stats", "--once").stdout
        assert len(set(re.findall(rb"process (\d+):", shown))) == 2
        workers.stdin.write(b"\n\n")
        workers.stdin.close()
        assert workers.wait(60) == 0
    assert not list(tmp_path.glob("stats.*"))


def press_q(process: subprocess.Popen[bytes], keyboard: int) -> None:
    os.write(keyboard, b"q")


def press_ctrl_c(process: subprocess.Popen[bytes], keyboard: int) -> None:
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("end", [press_q, press_ctrl_c])
def test_the_live_view_ends_when_asked(
    kinesis: LocalKinesis, tmp_path: Path, end: Callable[[subprocess.Popen[bytes], int], None]
) -> None:
    path = tmp_path / "stats"
    controller, terminal = pty.openpty()
    with new_producer(kinesis, path) as producer:
        producer.put_record("orders", b"x", "k").result(30)
        process = subprocess.Popen(
            [*COMMAND, "top", str(path), "--interval", "0.1"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment(tmp_path, TERM="xterm", COLUMNS="120", LINES="30"),
        )
        os.close(terminal)
        seen, asked, deadline = b"", False, time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                if select.select([controller], [], [], 0.1)[0]:
                    try:
                        seen += os.read(controller, 1 << 16)
                    except OSError:  # Linux raises it when the other end is closed
                        break
                if not asked and seen.count(b"used limit") >= 2:  # the view was redrawn
                    end(process, controller)
                    asked = True
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            os.close(controller)
    assert asked
    assert f"process {os.getpid()}".encode() in seen
    assert seen.rstrip().endswith(b"\x1b[?25h") or b"\x1b[?1049l" in seen  # the screen was restored
