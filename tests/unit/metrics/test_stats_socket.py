"""Where no socket for kplpy top can be made, that is said and costs nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kplpy import Producer, concurrency
from kplpy.metrics.stats_socket import StatsSocket
from tests.stub_service import install


def test_a_path_that_cannot_be_is_said_once_and_records_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    with Producer(region_name="us-east-1", stats_path="nowhere/stats") as producer:
        for _ in range(3):
            producer.put_record("orders", b"x", "k").result(30)
    (said,) = [each for each in caplog.records if each.name.startswith("kplpy")]
    fields = said.kplpy  # type: ignore[attr-defined]
    assert (fields["event"], fields["path"]) == ("stats_not_offered", f"nowhere/stats.{os.getpid()}")
    assert "No such file or directory" in fields["reason"]
    assert list(tmp_path.iterdir()) == []


def test_it_goes_on_after_whatever_struck_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "REST", 0.002)
    struck = iter([SystemExit("struck"), MemoryError(), None])

    def tell() -> bytes:
        error = next(struck)
        if error is not None:
            raise error
        return b"well"

    stats = StatsSocket(str(tmp_path / "stats"), tell)
    stats.start()
    answers = []
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as reader:
            reader.settimeout(30)
            reader.connect(str(tmp_path / f"stats.{os.getpid()}"))
            answers.append(reader.recv(100))
    stats.close()
    assert answers == [b"", b"", b"well"]


def test_what_an_earlier_process_of_the_same_id_left_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    ours = tmp_path / f"stats.{os.getpid()}"
    for left in (ours, ours.with_name(f"{ours.name}.new")):
        left.write_text("left")
    with Producer(region_name="us-east-1", stats_path="stats") as producer:
        producer.put_record("orders", b"x", "k").result(30)
        assert ours.is_socket()
    assert list(tmp_path.iterdir()) == []
