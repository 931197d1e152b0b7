"""Tests the socket for kplpy top: failures are logged, and cost no record."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kplpy import Producer, concurrency
from kplpy.metrics.stats_socket import StatsSocket
from tests.stub_service import install


def test_an_impossible_path_is_logged_once_and_records_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    with Producer(region_name="us-east-1", stats_path="nowhere/stats") as producer:
        for _ in range(3):
            producer.put_record("orders", b"x", "k").result(30)
    (logged,) = [each for each in caplog.records if each.name.startswith("kplpy")]
    fields = logged.kplpy  # type: ignore[attr-defined]
    assert (fields["event"], fields["path"]) == ("stats_not_offered", f"nowhere/stats.{os.getpid()}")
    assert "No such file or directory" in fields["reason"]
    assert list(tmp_path.iterdir()) == []


def test_the_socket_goes_on_after_exceptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "REST", 0.002)
    errors = iter([SystemExit("interrupted"), MemoryError(), None])

    def snapshot() -> bytes:
        error = next(errors)
        if error is not None:
            raise error
        return b"well"

    stats = StatsSocket(str(tmp_path / "stats"), snapshot)
    stats.start()
    received = []
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as reader:
            reader.settimeout(30)
            reader.connect(str(tmp_path / f"stats.{os.getpid()}"))
            received.append(reader.recv(100))
    stats.close()
    assert received == [b"", b"", b"well"]


def test_files_of_an_earlier_process_with_the_same_id_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"stats.{os.getpid()}"
    for left in (path, path.with_name(f"{path.name}.new")):
        left.write_text("left")
    with Producer(region_name="us-east-1", stats_path="stats") as producer:
        producer.put_record("orders", b"x", "k").result(30)
        assert path.is_socket()
    assert list(tmp_path.iterdir()) == []
