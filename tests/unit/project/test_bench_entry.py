"""`python -m benchmarks`: unavailable peers, stored results, the table of targets, and the guard's exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import __main__ as entry
from benchmarks import agent, environments, guard, processes, targets, throughput
from benchmarks.processes import Piped, Run

CASE = "100 B, UUID keys"
KPLPY_RUNS = {"put_record": 3, "put_record in pure Python": 3}


class NoSink:
    def __enter__(self) -> NoSink:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Fake(NoSink):
    """A driver that runs at a rate, or dies in its `last` run."""

    def __init__(self, rate: float, last: int = 1_000) -> None:
        self.rate, self.left = rate, last

    def run(self, records: int, *_: object) -> Run:
        self.left -= 1
        if not self.left:
            raise RuntimeError("it ended")
        return Run(records, records / self.rate, 0.5, 1_000, 0.1, 10, 0.0)


def measured(monkeypatch: pytest.MonkeyPatch, kpl: Fake | environments.UnavailableError) -> Any:
    def start(name: str, *_: object, **__: object) -> Fake:
        if name == "kplpy":
            return Fake(200_000)
        if isinstance(kpl, Exception):
            raise kpl
        return kpl

    monkeypatch.setattr(throughput, "Sink", NoSink)
    monkeypatch.setattr(environments, "start", start)
    return throughput.measure({CASE: throughput.CASES[CASE]}, rounds=3, scale=1.0)


def where() -> dict[str, Any]:
    return {"rounds": 3, "cores": 2, "cpu": "x", "load": [0.5], "python": "3", "commit": "c", "began": "now"}


def test_every_round_has_every_producer_and_ratios_are_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, Fake(20_000))
    assert {title: len(rows) for title, rows in found[CASE].items()} == {"kpl": 3, **KPLPY_RUNS}
    text = targets.report({"throughput": {"environment": where(), "results": found}})
    (line,) = (line for line in text.splitlines() if line.startswith("| put_record 100 B, UUID keys"))
    assert line == "| put_record 100 B, UUID keys, to the KPL | ≥ 7 | ≥ 10 | 10 | 10–10 | yes, and the aim |"
    assert "FEWER THAN 5" in text


@pytest.mark.parametrize("kpl", [environments.UnavailableError("there is no mvn here"), Fake(50_000, last=3)])
def test_a_peer_that_fails_is_left_out_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kpl: Fake | environments.UnavailableError
) -> None:
    found = measured(monkeypatch, kpl)
    assert {title: len(rows) for title, rows in found[CASE].items()} == KPLPY_RUNS
    assert capsys.readouterr().err.startswith("kpl is left out: ")
    assert "put_record" in throughput.report(found)
    text = targets.report({"throughput": {"environment": where(), "results": found}})
    assert "| put_record 100 B, UUID keys, to the KPL | | | not measured | | |" in text


def test_without_a_tool_the_message_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environments, "BUILD", processes.ROOT / "build" / "nothing-is-here")
    with pytest.raises(environments.UnavailableError, match=r"there is no mvn here; the KPL needs Java 17 and Maven"):
        environments.start("kpl", SimpleNamespace(url="http://127.0.0.1:9"))  # type: ignore[arg-type]


def test_a_process_that_ends_or_does_not_respond_is_reported_with_its_stderr() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended:.*no such stream"):
        Piped([sys.executable, "-c", "raise SystemExit('no such stream')"])

    class ShortTimeout(Piped):
        timeout_s = 0.2

    with pytest.raises(RuntimeError, match=r"did not answer within 0\.2 s"):
        ShortTimeout([sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_partial_measurement_is_printed_but_does_not_replace_a_whole_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "results.json"
    monkeypatch.setattr(entry, "RESULTS", kept)
    monkeypatch.setattr(throughput, "measure", lambda cases, *_: {name: {} for name in cases})
    for arguments, there in ((["--case", "UUID"], False), (["--producers", "kplpy"], False), ([], True)):
        monkeypatch.setattr(sys, "argv", ["benchmarks", "throughput", *arguments])
        assert entry.main() == 0
        assert kept.exists() == there
    stored = json.loads(kept.read_text())["throughput"]
    assert list(stored["results"]) == list(throughput.CASES)
    assert {"cores", "python", "commit", "load", "botocore", "rounds", "scale", "seconds"} <= set(stored["environment"])
    assert "| target | must |" in capsys.readouterr().out


@pytest.mark.parametrize(("turns", "status"), [([4.0], 0), ([2.9, 3.1], 0), ([2.9, 2.9], guard.FALLEN)])
def test_the_guard_fails_when_a_ratio_has_fallen_twice_running(
    monkeypatch: pytest.MonkeyPatch, turns: list[float], status: int
) -> None:
    left = iter(turns)

    def ratios(slower: float, cases: list[str]) -> tuple[dict[str, float], dict[str, float]]:
        found = dict.fromkeys(cases, next(left))
        return found, found

    monkeypatch.setattr(guard, "recordings", lambda: {guard.CODE: {"ratios": dict.fromkeys(guard.CASES, 4.0)}})
    monkeypatch.setattr(guard, "ratios", ratios)
    monkeypatch.setattr(sys, "argv", ["guard"])
    assert guard.main() == status
    assert next(left, None) is None


def test_the_guard_holds_a_deliberate_slowdown_against_the_same_turn_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "recordings", lambda: {guard.CODE: {"ratios": dict.fromkeys(guard.CASES, 1.0)}})
    monkeypatch.setattr(
        guard, "ratios", lambda slower, cases: (dict.fromkeys(cases, 4.0), dict.fromkeys(cases, 4.0 * (1 - slower)))
    )
    for slower, status in (("20", 0), ("30", guard.FALLEN)):
        monkeypatch.setattr(sys, "argv", ["guard", "--slower", slower])
        assert guard.main() == status


def test_every_python_that_is_guarded_has_its_ratios_and_where_they_were_measured() -> None:
    for recorded in guard.recordings().values():
        assert set(recorded["ratios"]) == set(guard.CASES)
        assert {"cores", "cpu", "python", "commit", "load"} <= set(recorded["environment"])


def test_the_agents_ratios_are_within_a_round_or_to_an_earlier_run() -> None:
    def row(program: str, cpu: float) -> dict[str, Any]:
        return {"program": program, "cpu": cpu}

    own = [row(agent.SINGLE, 10.0), row(agent.SINGLE, 30.0)]
    both = [row(agent.AGENT, 20.0), own[0], row(agent.AGENT, 40.0), own[1]]
    assert agent.ratios(both, agent.SINGLE, "cpu") == [0.5, 0.75]
    assert agent.ratios(own, agent.SINGLE, "cpu") == [10 / agent.EARLIER["cpu"], 30 / agent.EARLIER["cpu"]]
