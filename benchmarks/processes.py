"""The processes of a measurement: the sink, the drivers, what they use of CPU and memory, and where it all runs."""

from __future__ import annotations

import json
import os
import platform
import select
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 300.0  # seconds: a producer that has not answered by then never will
ROOT = Path(__file__).resolve().parent.parent
_P = TypeVar("_P", bound="Piped")


def tree(pid: int) -> list[int]:
    """The process and all that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def forget_peak(pids: Sequence[int]) -> None:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_rss(pids: Sequence[int]) -> int:
    """Bytes, each process's own peak since forget_peak, summed."""
    return sum(_status(pid, "VmHWM") for pid in pids)


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


class Piped:
    """A process that answers each line on its stdin with a line of JSON on its stdout, after a first one unasked.

    RuntimeError, with what it said on stderr, when it ends without an answer or is silent for longer than `patience`.
    """

    patience: float | None = None
    """Seconds; None: however long it takes."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        # What it has to say on stderr is shown only when it dies: peers are talkative.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in close()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            cwd=ROOT,
            env=os.environ | environment,
        )
        self.pid = self._process.pid
        try:
            self.first = self._answer()
        except BaseException:
            self.close()  # nobody else could: there is no object yet
            raise

    def ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        answers = self._process.stdout
        assert answers is not None
        heard = bool(select.select([answers], [], [], self.patience)[0])
        line = answers.readline() if heard else ""
        if not line:
            self._process.kill()
            self._process.wait()
            self._said.seek(0)
            what = "ended" if heard else f"did not answer within {self.patience:g} s"
            raise RuntimeError(f"{self._process.args!r} {what}:\n{self._said.read()[-3000:]}")
        return json.loads(line)

    def close(self) -> None:
        """The end of its stdin tells it to end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def __enter__(self: _P) -> _P:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Sink(Piped):
    def __init__(self, https: bool = True) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.sink", *([] if https else ["--http"])])
        self.url: str = self.first["url"]
        self.port: int = self.first["port"]
        self.ca_bundle: str = self.first["ca_bundle"]

    def stats(self) -> dict[str, float]:
        found: dict[str, float] = self.ask("stats")
        return found


@dataclass
class Run:
    """One driver's run, as seen from outside."""

    records: int
    seconds: float
    cpu: float
    """CPU seconds of all its processes."""
    peak_rss: int
    sink_share: float
    """CPU of the sink, as a share of one core."""
    requests: int
    load: float
    """Load average of the machine when it began."""

    @property
    def rate(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_per_record(self) -> float:
        """Microseconds."""
        return self.cpu / self.records * 1e6


class Driver(Piped):
    """One producer, put to work: see peers/driver.py."""

    patience = PATIENCE

    def __init__(self, command: Sequence[str], sink: Sink) -> None:
        super().__init__(
            command,
            AWS_ACCESS_KEY_ID="local",
            AWS_SECRET_ACCESS_KEY="local",
            AWS_EC2_METADATA_DISABLED="true",
            AWS_CA_BUNDLE=sink.ca_bundle,
            PYTHONWARNINGS="ignore",
            PYTHONPATH=str(ROOT),
        )
        self._sink = sink

    def run(self, records: int, size: int, keys: str = "fixed", window: int = 20_000, mode: str = "put_record") -> Run:
        """RuntimeError when the sink received less than was confirmed."""
        pids = tree(self.pid)
        load = os.getloadavg()[0]
        forget_peak(pids)
        before, cpu = self._sink.stats(), cpu_seconds(pids)
        told = self.ask(f"{records} {size} {keys} {window} {mode}")
        used, after = cpu_seconds(pids) - cpu, self._sink.stats()
        if after["body_bytes"] - before["body_bytes"] < records * size:
            raise RuntimeError(f"{records} records of {size} bytes confirmed, and the sink has not seen them")
        return Run(
            records,
            told["seconds"],
            used,
            peak_rss(pids),
            (after["cpu"] - before["cpu"]) / told["seconds"],
            int(after["requests"] - before["requests"]),
            load,
        )


def _java() -> str | None:
    try:
        told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return told.stderr.partition("\n")[0]


def environment() -> dict[str, object]:
    """What a figure depends on, kept beside it."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    describe = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model.partition(":")[2].strip(),
        "load": os.getloadavg(),
        "python": sys.version.split()[0],
        "botocore": metadata.version("botocore"),
        "openssl": ssl.OPENSSL_VERSION,
        "java": _java(),
        "kernel": platform.release(),
        "commit": commit.stdout.strip(),
    }
