"""benchmarks/real_stream.py over HTTPS, against a local Kinesis with limits: what it made is gone after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.billed import Tariff
from kplpy.local import LocalKinesis, Phases
from tests.integration.cli_process import environment
from tests.integration.reading import read_all, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(stream=None, https=True, limits=True, phases=Phases(creating=0.5, deleting=0)) as running:
        yield running


def started(kinesis: LocalKinesis | None, home: Path, *more: str) -> subprocess.Popen[str]:
    where = ["--local"] if kinesis is None else ["--endpoint-url", kinesis.endpoint_url, "--region", "us-east-1"]
    if kinesis is not None and kinesis.ca_bundle:
        where += ["--verify", kinesis.ca_bundle]
    load = ["--rate", "1000", "--size", "100", "--sample", "4", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.real_stream", *where, *load],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment(home, AWS_ACCESS_KEY_ID="local", AWS_SECRET_ACCESS_KEY="local"),
        start_new_session=True,
    )


def until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert any(line.startswith(word) for line in process.stdout), f"it ended without {word!r}"


def streams(kinesis: LocalKinesis) -> list[str]:
    return list(kinesis.client().list_streams()["StreamNames"])


def test_puts_tells_reads_back_and_deletes(kinesis: LocalKinesis, tmp_path: Path) -> None:
    with started(kinesis, tmp_path, "--yes", "--seconds", "0.5") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert "read back      4 records, 0 of them missing" in out
    assert "failed         none" in out
    assert " a million records" in out
    assert "pricing/, us-east-1" in out
    assert "deleted kplpy-bench-" in out
    assert streams(kinesis) == []


def test_without_a_yes_nothing_is_made(kinesis: LocalKinesis, tmp_path: Path) -> None:
    with started(kinesis, tmp_path) as process:
        out, _ = process.communicate("n\n", timeout=60)
    assert process.returncode == 1
    assert "Continue? [y/N]" in out
    assert "creating" not in out
    assert streams(kinesis) == []


def test_a_stream_that_is_given_stays(kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.client().create_stream(StreamName="mine", ShardCount=1)
    wait_until(
        lambda: (
            kinesis.client().describe_stream_summary(StreamName="mine")["StreamDescriptionSummary"]["StreamStatus"]
            == "ACTIVE"
        )
    )
    with started(kinesis, tmp_path, "--stream", "mine", "--yes", "--seconds", "0.5") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert streams(kinesis) == ["mine"]
    assert len(read_all(kinesis, "mine")) > 0


@pytest.mark.parametrize(("when", "number"), [("creating", signal.SIGINT), ("putting", signal.SIGTERM)])
def test_interrupted_it_deletes_what_it_made(
    kinesis: LocalKinesis, tmp_path: Path, when: str, number: signal.Signals
) -> None:
    # The service refuses to delete a stream that is not ACTIVE.
    kinesis.faults.fail("ResourceInUseException", operation="DeleteStream")
    with started(kinesis, tmp_path, "--yes", "--seconds", "100") as process:
        until(process, when)
        wait_until(lambda: streams(kinesis) != [])
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "deleted kplpy-bench-" in out
    assert streams(kinesis) == []


def test_ctrl_c_at_a_terminal_leaves_the_local_kinesis_to_be_cleaned_up(tmp_path: Path) -> None:
    with started(None, tmp_path, "--seconds", "100") as process:
        until(process, "putting")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "deleted kplpy-bench-" in out


def test_estimates_and_bills_whole_units() -> None:
    tariff = Tariff(an_hour=0.03, a_million=0.014, unit=25 * 1024, units="units")
    hours, packed, alone = tariff.estimate(1_000_000, 50_000, 3601)
    assert hours == 0.06  # two hours begun
    assert packed == pytest.approx(0.014 * (50_000 + 64) / (25 * 1024))
    assert alone == pytest.approx(2 * 0.014)
    assert tariff.paid(1_000_000, 25 * 1024, 1800) == pytest.approx(0.014 + 0.015)
