"""Where no socket for kplpy top can be made, that is said and costs nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kplpy import Producer
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
