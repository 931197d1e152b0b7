"""The processes of a measurement: the sink and the drivers, their CPU time and memory, and the environment."""

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

from kplpy import accelerator

TICKS = os.sysconf("SC_CLK_TCK")
TIMEOUT_S = 300.0  # seconds: a driver without a response by then has failed
ROOT = Path(__file__).resolve().parent.parent
_P = TypeVar("_P", bound="Piped")


def tree(pid: int) -> list[int]:
    """Return the process id and those of all its descendants."""
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
    """Return the sum in bytes of each process's peak since forget_peak()."""
    return sum(_status(pid, "VmHWM") for pid in pids)


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


class Piped:
    """A process that responds to each line on its stdin with a line of JSON. It prints a first line unasked.

    Raises RuntimeError, with the process's stderr, if it ends without a response or does not respond in time.

    timeout_s: seconds to wait for a response, None for no limit.
    """

    timeout_s: float | None = None

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        # The process's stderr is shown only after a failure, because peers print a lot.
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in close()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=ROOT,
            env=os.environ | environment,
        )
        self.pid = self._process.pid
        try:
            self.first = self._answer()
        except BaseException:
            self.close()  # the caller has no object to close
            raise

    def ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        answers = self._process.stdout
        assert answers is not None
        is_readable = bool(select.select([answers], [], [], self.timeout_s)[0])
        line = answers.readline() if is_readable else ""
        if not line:
            self._process.kill()
            self._process.wait()
            self._stderr.seek(0)
            what = "ended" if is_readable else f"did not answer within {self.timeout_s:g} s"
            raise RuntimeError(f"{self._process.args!r} {what}:\n{self._stderr.read()[-3000:]}")
        return json.loads(line)

    def close(self) -> None:
        """Close the process's stdin, which ends it. Kill it after 20 s."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

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
    """The figures of one driver's run.

    cpu: CPU seconds of all its processes.
    peak_rss: bytes.
    sink_share: the sink's CPU time as a share of one core.
    load: the machine's load average at the start.
    """

    records: int
    seconds: float
    cpu: float
    peak_rss: int
    sink_share: float
    requests: int
    load: float

    @property
    def rate(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_per_record(self) -> float:
        """Return the CPU time of a record in microseconds."""
        return self.cpu / self.records * 1e6


class Driver(Piped):
    """The process of one producer's driver (see peers/driver.py)."""

    timeout_s = TIMEOUT_S

    def __init__(self, command: Sequence[str], sink: Sink, **environment: str) -> None:
        super().__init__(
            command,
            **environment,
            AWS_ACCESS_KEY_ID="local",
            AWS_SECRET_ACCESS_KEY="local",
            AWS_EC2_METADATA_DISABLED="true",
            AWS_CA_BUNDLE=sink.ca_bundle,
            PYTHONWARNINGS="ignore",
            PYTHONPATH=str(ROOT),
        )
        self._sink = sink

    def run(self, records: int, size: int, keys: str = "fixed", window: int = 20_000, mode: str = "put_record") -> Run:
        """Carry out a run. Raises RuntimeError if the sink received less than was confirmed."""
        pids = tree(self.pid)
        load = os.getloadavg()[0]
        forget_peak(pids)
        before, cpu = self._sink.stats(), cpu_seconds(pids)
        result = self.ask(f"{records} {size} {keys} {window} {mode}")
        used, after = cpu_seconds(pids) - cpu, self._sink.stats()
        if after["body_bytes"] - before["body_bytes"] < records * size:
            raise RuntimeError(f"{records} records of {size} bytes were confirmed, but the sink did not get them all")
        return Run(
            records,
            result["seconds"],
            used,
            peak_rss(pids),
            (after["cpu"] - before["cpu"]) / result["seconds"],
            int(after["requests"] - before["requests"]),
            load,
        )


def _java() -> str | None:
    try:
        version = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return version.stderr.partition("\n")[0]


def environment() -> dict[str, object]:
    """Return what the figures depend on: machine, versions and commit."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    describe = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model.partition(":")[2].strip(),
        "load": os.getloadavg(),
        "python": sys.version.split()[0],
        "accelerator": accelerator.describe(),
        "botocore": metadata.version("botocore"),
        "openssl": ssl.OPENSSL_VERSION,
        "java": _java(),
        "kernel": platform.release(),
        "commit": commit.stdout.strip(),
    }
