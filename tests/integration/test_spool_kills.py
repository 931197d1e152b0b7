"""Processes with a spool that end by SIGKILL, Ctrl-C, a fork or the interpreter's exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kplpy.local import Fault, LocalKinesis
from tests.integration.reading import read_all

ROOT = Path(__file__).parents[2]
OUTAGE = Fault(code="InternalFailure", status=500)
HEAD = """
import atexit, multiprocessing, os, sys, time
from kplpy import Producer
url, spool, close_timeout = sys.argv[1:]
producer = Producer(endpoint_url=url, region_name="us-east-1", spool=spool, close_timeout_ms=int(close_timeout))
put = lambda data: producer.put_record("test", data, "k")
"""


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=1, limits=False) as running:
        yield running


def start(script: str, kinesis: LocalKinesis, spool: Path, close_timeout_ms: int = 500) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(script), kinesis.endpoint_url, str(spool), str(close_timeout_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"},
    )


def run(script: str, kinesis: LocalKinesis, spool: Path, close_timeout_ms: int = 500) -> str:
    process = start(script, kinesis, spool, close_timeout_ms)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


def data(kinesis: LocalKinesis) -> list[bytes]:
    return sorted(each.data for each in read_all(kinesis))


def drain(kinesis: LocalKinesis, spool: Path) -> int:
    """Send what is in the spool; return how many records that were."""
    with kinesis.producer(spool=spool) as producer:
        producer.flush(timeout=30)
        return producer.recovered


def test_processes_killed_at_random_moments_lose_nothing() -> None:
    arguments = ["--kills", "50", "--processes", "4"]
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts/spool_kills.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_one_of_several_takes_over_a_dead_process_part(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    script = "put(sys.stdin.readline().encode()).stored(30); print('stored', flush=True)"
    sent = "; producer.flush(timeout=50); print('sent', flush=True); time.sleep(60)"
    living, dying = (start(script + sent, kinesis, tmp_path) for _ in range(2))
    others: list[subprocess.Popen[str]] = []
    try:
        for process, line in ((living, "living"), (dying, "dead")):
            assert process.stdin is not None
            assert process.stdout is not None
            print(line, file=process.stdin, flush=True)
            assert process.stdout.readline() == "stored\n"
        os.kill(dying.pid, signal.SIGKILL)
        dying.wait(10)
        others = [start("print(producer.recovered, flush=True)" + sent, kinesis, tmp_path) for _ in range(3)]
        assert sorted(each.stdout.readline() for each in others if each.stdout) == ["0\n", "0\n", "1\n"]
        kinesis.faults.clear()
        assert [each.stdout.readline() for each in (living, *others) if each.stdout] == ["sent\n"] * 4
    finally:
        for process in (living, dying, *others):
            process.kill()
            process.communicate(timeout=10)
    assert drain(kinesis, tmp_path) == 0
    assert data(kinesis) == [b"dead\n", b"living\n"]
    assert list(tmp_path.iterdir()) == []


def test_children_leave_the_parents_backlog_alone(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    out = run(
        """
        for each in range(3000):
            put(b"%d" % each)
        put(b"last").stored(30)
        context = multiprocessing.get_context("fork")
        idle = context.Process(target=int)
        putting = context.Process(target=lambda: put(b"child").stored(30))
        for child in (idle, putting):
            child.start()
        for child in (idle, putting):
            child.join(30)
            print(child.exitcode)
        print(producer.outstanding_records)
        """,
        kinesis,
        tmp_path,
    )
    assert out.split() == ["0", "0", "3001"]
    kinesis.faults.clear()
    assert drain(kinesis, tmp_path) == 3002
    assert data(kinesis) == sorted([b"%d" % each for each in range(3000)] + [b"last", b"child"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize("script", ["put(b'x')", "atexit.register(put, b'x')", "put(b'x'); atexit.register(put, b'y')"])
def test_the_interpreters_exit_delivers_or_stores(
    kinesis: LocalKinesis, tmp_path: Path, script: str, reachable: bool
) -> None:
    if not reachable:
        kinesis.faults.outage(OUTAGE, operation="PutRecords")
    run(script, kinesis, tmp_path, 20_000 if reachable else 500)
    expected = sorted([b"x"] + [b"y"] * ("b'y'" in script))
    assert data(kinesis) == (expected if reachable else [])
    kinesis.faults.clear()
    assert drain(kinesis, tmp_path) == (0 if reachable else len(expected))
    assert data(kinesis) == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["time.sleep(60)", "producer.close()"])
def test_ctrl_c_leaves_records_for_the_next_run(kinesis: LocalKinesis, tmp_path: Path, end: str) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    process = start(
        f"""
        future = put(b"x")
        future.stored(30)
        print("stored", flush=True)
        {end}
        """,
        kinesis,
        tmp_path,
        2000,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    kinesis.faults.clear()
    assert drain(kinesis, tmp_path) == 1
    assert data(kinesis) == [b"x"]
    assert list(tmp_path.iterdir()) == []


def test_a_close_without_time_leaves_records_for_the_next_run(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.outage(OUTAGE, operation="PutRecords")
    with kinesis.producer(spool=tmp_path, close_timeout_ms=0) as producer:
        for each in range(100):
            producer.put_record("test", b"%d" % each, "k")
    kinesis.faults.clear()
    assert drain(kinesis, tmp_path) == 100
    assert data(kinesis) == sorted(b"%d" % each for each in range(100))


def test_a_lock_without_a_part_is_removed(kinesis: LocalKinesis, tmp_path: Path) -> None:
    (tmp_path / "1-00.lock").touch(mode=0o600)
    assert drain(kinesis, tmp_path) == 0
    assert list(tmp_path.iterdir()) == []
