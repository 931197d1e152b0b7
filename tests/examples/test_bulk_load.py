"""The resumable bulk loader: no line is lost, none goes twice without need, and memory is bounded."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from examples import bulk_load
from examples.bulk_load import Loader
from kplpy import KplpyError, Producer
from kplpy.dead_letters.entry import parse_entry
from kplpy.local import Fault, LocalKinesis
from tests.examples.helpers import EXAMPLES, started
from tests.integration.reading import wait_until
from tests.local_stream import PATIENCE, contents

pytestmark = pytest.mark.kinesis(stream="orders", limits=False)


def write_lines(path: Path, count: int, text: bytes = b"") -> Counter[bytes]:
    """Write the file, and return its lines."""
    lines = [b'{"id": %d, "text": "%s"}' % (number, text) for number in range(count)]
    path.write_bytes(b"\n".join(lines))  # the last line has no newline
    return Counter(lines)


def checkpoint(path: Path) -> dict[str, Any]:
    return dict(json.loads(Path(f"{path}.checkpoint").read_text()))


def patient(kinesis: LocalKinesis) -> Producer:
    """The loader's own settings."""
    producer: Producer = kinesis.producer(record_ttl_ms=None, close_timeout_ms=0)
    return producer


def run(path: Path, kinesis: LocalKinesis) -> tuple[int, str]:
    """Run the program to its end; returns the exit code and what it said."""
    with started([EXAMPLES / "bulk_load.py", "orders", path], kinesis) as program:
        output, errors = program.communicate(timeout=PATIENCE)
    return program.returncode, output + errors


def test_a_file_is_loaded_and_not_loaded_again(kinesis: LocalKinesis, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = write_lines(path, 3_000)
    for _ in range(2):
        assert run(path, kinesis) == (0, "3000 lines, 0 of them failed\n")
        assert contents(kinesis) == lines
    assert checkpoint(path) == {"stream": "orders", "offset": path.stat().st_size, "lines": 3_000, "failed": 0}
    assert not Path(f"{path}.failed").exists()


@pytest.mark.kinesis(stream="orders", limits=True)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_stopped(
    kinesis: LocalKinesis, tmp_path: Path, ending: signal.Signals
) -> None:
    """More lines than the window, one by one at the rate of a shard: the signal comes in the midst of the file."""
    path = tmp_path / "lines"
    lines = list(write_lines(path, 40_000, b"x" * 500))
    with started([EXAMPLES / "bulk_load.py", "orders", path], kinesis) as program:
        wait_until(lambda: len(kinesis.ledger("orders")) > 20, PATIENCE)
        program.send_signal(ending)
        _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == 130, errors
    done = checkpoint(path)
    assert 0 < done["lines"] < len(lines)
    assert f"stopped after line {done['lines']}; start it again to go on" in errors
    assert path.read_bytes()[: done["offset"]].count(b"\n") == done["lines"]
    assert Counter(lines[: done["lines"]]) - contents(kinesis) == Counter()


@pytest.mark.parametrize("ending", ["kill", "Ctrl-C, twice"])
def test_a_run_that_ended_in_an_outage_goes_on_from_its_checkpoint(
    kinesis: LocalKinesis, tmp_path: Path, ending: str
) -> None:
    """Each line arrives. Only lines behind the checkpoint may arrive twice."""
    path = tmp_path / "lines"
    lines = write_lines(path, 40_000, b"x" * 100)
    first = next(iter(lines))

    def plan(operation: str, params: Mapping[str, Any], now: float) -> Fault | None:
        """Have one PutRecords succeed. Several are under way at once, and the checkpoint waits for this one."""
        if operation != "PutRecords" or any(first in record["Data"] for record in params["Records"]):
            return None
        return Fault(transport="refused")

    kinesis.faults.plan = plan
    with started([EXAMPLES / "bulk_load.py", "orders", path], kinesis) as program:
        wait_until(lambda: Path(f"{path}.checkpoint").exists() and checkpoint(path)["lines"] > 0, PATIENCE)
        if ending == "kill":
            program.kill()
        else:
            program.send_signal(signal.SIGINT)
            assert program.stderr is not None
            assert any("another Ctrl-C stops at once" in line for line in program.stderr)
            program.send_signal(signal.SIGINT)
        program.communicate(timeout=PATIENCE)
        assert program.returncode == (-signal.SIGKILL if ending == "kill" else 130)
    safe = checkpoint(path)["lines"]
    assert 0 < safe < 40_000
    kinesis.faults.plan = None
    code, said = run(path, kinesis)
    assert code == 0, said
    got = contents(kinesis)
    assert got.keys() == lines.keys()
    assert all(got[line] == 1 for line in list(lines)[:safe])


def test_lines_that_cannot_be_put_are_dead_letters(kinesis: LocalKinesis, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"first\n" + b"x" * (3 << 20) + b"\nlast\n")
    code, said = run(path, kinesis)
    assert (code, said) == (1, f"3 lines, 1 of them failed\nthe failed lines are in {path}.failed\n")
    assert contents(kinesis) == {b"first": 1, b"last": 1}
    [failed] = Path(f"{path}.failed").read_bytes().splitlines()
    assert parse_entry(failed).data == b"x" * ((1 << 20) + 1)
    assert "1048576" in json.loads(failed)["error"].replace(",", "")
    assert checkpoint(path)["offset"] == path.stat().st_size


def test_too_many_failed_lines_stop_the_run(
    kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run begins with the first line that is neither in the stream nor a dead letter."""
    monkeypatch.setattr(bulk_load, "MAX_FAILED", 3)
    path = tmp_path / "lines"
    path.write_bytes(b"x" * (2 << 20) + b"\n" + (b"y" * (1 << 20) + b"\n") * 4 + b"last\n")
    with patient(kinesis) as producer:
        with pytest.raises(KplpyError, match="more than 3 lines failed"):
            Loader(producer, "orders", path).run()
        assert (checkpoint(path)["lines"], checkpoint(path)["failed"]) == (3, 3)
        assert Loader(producer, "orders", path).run()
    assert (checkpoint(path)["lines"], checkpoint(path)["failed"]) == (6, 5)
    assert b"last" in contents(kinesis)


def test_memory_is_bounded_in_an_outage(kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader reads no further than its window, and goes on when Kinesis answers again."""
    monkeypatch.setattr(bulk_load, "WINDOW_RECORDS", 50)
    path = tmp_path / "lines"
    lines = write_lines(path, 2_000)
    kinesis.faults.outage()
    with patient(kinesis) as producer:
        loader = Loader(producer, "orders", path)
        thread = threading.Thread(target=loader.run)
        thread.start()
        wait_until(lambda: producer.outstanding_records == 51, PATIENCE)
        assert len(loader.window) == 51
        kinesis.faults.clear()
        thread.join(PATIENCE)
    assert contents(kinesis) == lines
    assert loader.checkpoint.lines == 2_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"stream": "clicks", "offset": 2}', "is for the stream 'clicks', not 'orders'"),
        ('{"stream": "orders", "offset": 99}', "says 99 bytes are done, and the input has only 6"),
        ('{"stream": "orders", "of', "is not a checkpoint"),
        ('{"flow": "orders"}', "is not a checkpoint"),
    ],
)
def test_a_wrong_checkpoint_is_refused(kinesis: LocalKinesis, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a\nb\nc\n")
    Path(f"{path}.checkpoint").write_text(text)
    with kinesis.producer() as producer, pytest.raises(ValueError, match=message):
        Loader(producer, "orders", path)
    assert contents(kinesis) == {}
