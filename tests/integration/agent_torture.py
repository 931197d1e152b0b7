"""Rotates logs and kills the agent at random moments: `scripts/agent_torture.py` starts it.

Writers append numbered lines to logs, and rotate them in the styles of tests/agent_writers.py. `kplpy agent` sends the
lines to a local Kinesis that throttles, fails and has outages. The agent is killed with SIGKILL, or ended with SIGTERM,
and started again. At the end the lines in the streams are compared with those written:

- no line is lost, except those that the writer itself destroyed between a copy and its truncation, and those that were
  in a file that was deleted, and that only the killed process had open;
- no line is there twice, unless the agent was killed between the two, soon after the first one, or ended in an outage;
- no line is torn.

The same seed draws the same loads, styles and moments; the machine decides the rest. Exit status 1 if a check fails.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kplpy import deaggregate
from kplpy.local import Fault, LocalKinesis
from tests.agent_writers import STYLES, Writer

ROOT = Path(__file__).parents[2]
FLOWS: dict[str, dict[str, Any]] = {
    "single": {},
    "aggregated": {"aggregation": True},
    "ordered": {"aggregation": True, "ordered": True},
}
PATIENCE_S = 90.0
"""Seconds in which all that is left must arrive at the end."""
START_S = 20.0
SOON_S = 15.0
"""Seconds before a kill in which a line that comes again may have arrived: an outage holds the position back."""
LATE_S = 1.0
"""Seconds after a kill in which the service may still take a request that was in flight."""
DESTROYING = ("delete", "copytruncate_outside", "rename_compress", "into_archive", "into_subdirectory")
COPYING, LEAST_COPY = ("copy", "copytruncate", "slow_copytruncate"), 1024
"""A copy of fewer bytes may be sent again, which docs/agent.md says. So such a log is renamed instead."""
USUAL = [style for style in STYLES if style != "copy"]
"""The styles of a run. An agent that is killed each second never runs for the ten seconds after which a copy of a
growing log counts as a copy, so it comes again. docs/agent.md says that too."""
FAULTS = [
    (Fault(code="InternalFailure", status=500), 0.03),
    (Fault(entry_code="ProvisionedThroughputExceededException", entries=frozenset(range(0, 500, 2))), 0.05),
    (Fault(entry_code="InternalFailure", entries=frozenset(range(0, 500, 7))), 0.03),
    (Fault(transport="cut_before"), 0.02),
]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Log(Writer):
    """A writer that knows which lines are in files that it destroyed, or moved to where the pattern does not match.

    Only a process that has such a file open, or noted its position, can read it to its end.

    may_destroy: returns True while an agent is running. Without one these styles are left out.
    """

    def __init__(self, directory: Path, seed: int, may_destroy: Callable[[], bool]) -> None:
        directory.mkdir(parents=True)
        super().__init__(directory, seed=seed, width=100)
        self._destroyed: set[bytes] = set()
        self._may_destroy = may_destroy

    def rotate(self, style: str) -> None:
        while self._later:
            self.go_on()
        if style in COPYING and self.path.stat().st_size < LEAST_COPY:
            style = "rename"
        if style not in DESTROYING:
            super().rotate(style)
        elif self._may_destroy():
            self._destroyed.update(self.path.read_bytes().splitlines(keepends=True))
            super().rotate(style)

    def out_of_reach(self) -> set[bytes]:
        """Return the lines that were in such files since the last call."""
        found, self._destroyed = self._destroyed, set()
        for each in (*self.archive.iterdir(), *self.directory.glob("rotated/*")):
            if each.suffix != ".gz":
                found.update(each.read_bytes().splitlines(keepends=True))
        return found


class Torture:
    """Runs the writers, the agent and its end, and judges what arrived."""

    def __init__(
        self, directory: Path, kinesis: LocalKinesis, rotations: int, kills: int, seed: int, styles: Sequence[str]
    ) -> None:
        self._directory = directory
        self._kinesis = kinesis
        self._rotations, self._kills, self._styles = rotations, kills, styles
        self._random = random.Random(seed)
        self._process: subprocess.Popen[bytes] | None = None
        self._is_up = False
        self._lock = threading.Lock()
        self._is_ended = threading.Event()
        self._known: set[tuple[str, str]] = set()
        self._found: dict[str, dict[bytes, list[float]]] = {name: defaultdict(list) for name in FLOWS}
        self.kill_times: list[float] = []
        self.cut_times: list[float] = []  # of ends with records undelivered
        self._log_size = 0
        self.rotated = 0
        self.logs = {
            name: Log(directory / name / "log", seed + number, lambda: self._is_up) for number, name in enumerate(FLOWS)
        }
        self._write_configuration()

    def _write_configuration(self) -> None:
        configuration = {
            "kinesis.endpoint": self._kinesis.endpoint_url,
            "cloudwatch.emitMetrics": False,
            "checkpointFile": str(self._directory / "checkpoints"),
            "statusSocket": str(self._directory / "status"),
            "flows": [
                {
                    "filePattern": f"{self._directory}/{name}/log/app.log*",
                    "kinesisStream": name,
                    "initialPosition": "START_OF_FILE",
                    "maxBufferAgeMillis": 1000,
                    "maxTimeBetweenFileTrackerRefreshMillis": 1000,
                    **options,
                }
                for name, options in FLOWS.items()
            ],
        }
        (self._directory / "agent.json").write_text(json.dumps(configuration))

    # --- the agent ---

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kplpy", "agent", "-q", "-c", str(self._directory / "agent.json")],
            stderr=(self._directory / "agent.err").open("ab"),
            env={**os.environ, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"},
            cwd=ROOT,
        )
        until = time.monotonic() + START_S
        socket = self._directory / f"status.{self._process.pid}"
        while not socket.exists() and time.monotonic() < until and self._process.poll() is None:
            time.sleep(0.01)
        if not socket.exists():
            raise RuntimeError(f"the agent did not start:\n{(self._directory / 'agent.err').read_text()[-3000:]}")

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        with self._lock:
            self._is_up = False
            self._process.send_signal(number)
            self._process.wait(60)
            if number is signal.SIGKILL:
                self.kill_times.append(time.time())
            elif "stopped with" in self._log()[self._log_size :]:  # an outage lasted longer than shutdownTimeoutMillis
                self.cut_times.append(time.time())
            self._log_size = len(self._log())
            self._excuse()

    def _log(self) -> str:
        return (self._directory / "agent.err").read_text()

    def _excuse(self) -> None:
        """Excuse the lines that only the ended process could have read."""
        arrived = self._arrived()
        for name, log in self.logs.items():
            log.excused |= log.out_of_reach() - arrived[name].keys()

    # --- the writers ---

    def _write(self, log: Log, seed: int) -> None:
        own = random.Random(seed)
        while not self._is_ended.is_set():
            with self._lock:
                log.write(own.choice([1, 1, 2, 5, 40]))
                if own.random() < 0.5:
                    log.go_on()
                if self.rotated < self._rotations and own.random() < 0.12:
                    self.rotated += 1
                    log.rotate(own.choice(self._styles))
            time.sleep(own.choice([0, 0.01, 0.05, 0.1]))

    # --- the run ---

    def run(self) -> None:
        writers = [
            threading.Thread(target=self._write, args=(log, number)) for number, log in enumerate(self.logs.values())
        ]
        self._start()  # a copy that is there at the first start is a file of its own
        self._end(signal.SIGTERM)
        for each in writers:
            each.start()
        try:
            while len(self.kill_times) < self._kills or self.rotated < self._rotations:
                self._one_life()
        finally:
            self._is_ended.set()
            for each in writers:
                each.join()
        for log in self.logs.values():
            log.close()
        self._kinesis.faults.plan = None
        self._kinesis.faults.clear()
        self._start()
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and any(self.missing().values()):
            time.sleep(0.5)
        self._end(signal.SIGTERM)

    def _one_life(self) -> None:
        draw = self._random
        self._kinesis.faults.by_seed(draw.randrange(1 << 30), FAULTS)
        self._start()
        self._is_up = True
        time.sleep(draw.uniform(0.0, 1.5))
        if draw.random() < 0.1:
            self._kinesis.faults.outage()
            time.sleep(draw.uniform(0.0, 2.0))
            if draw.random() < 0.7:
                self._kinesis.faults.clear()
                time.sleep(draw.uniform(0.0, 1.0))
        is_killed = len(self.kill_times) < self._kills and draw.random() < 0.9
        self._end(signal.SIGKILL if is_killed else signal.SIGTERM)
        time.sleep(draw.uniform(0.0, 0.3))

    # --- the judgement ---

    def _arrived(self) -> dict[str, dict[bytes, list[float]]]:
        """Return when each line arrived, by stream."""
        for name in FLOWS:
            times = self._found[name]
            for entry in self._kinesis.ledger(name):
                if (name, entry.sequence_number) in self._known:
                    continue
                self._known.add((name, entry.sequence_number))
                outer = {
                    "Data": entry.data,
                    "PartitionKey": entry.partition_key,
                    "SequenceNumber": entry.sequence_number,
                }
                for record in deaggregate(outer):
                    times[record.data].append(entry.time)
        return self._found

    def missing(self) -> dict[str, set[bytes]]:
        arrived = self._arrived()
        return {name: {*log.written} - log.excused - arrived[name].keys() for name, log in self.logs.items()}

    def judge(self) -> list[str]:
        """Print the figures, and return what is wrong."""
        wrong: list[str] = []
        missing, arrived = self.missing(), self._arrived()
        for name, log in self.logs.items():
            times = arrived[name]
            twice = {line: found for line, found in times.items() if len(found) > 1}
            torn = times.keys() - {*log.written}
            say(
                f"{name}: {len(log.written):,} lines written, {len(log.excused):,} destroyed by the writer, "
                f"{len(missing[name])} lost, {len(torn)} torn, {len(twice):,} more than once"
            )
            wrong += [f"{name}: lost {line!r}" for line in sorted(missing[name])]
            wrong += [f"{name}: torn {line!r}" for line in sorted(torn)]
            wrong += [
                f"{name}: twice without a kill: {line!r} {found}"
                for line, found in twice.items()
                if not self._is_excused(found)
            ]
        say(f"{self.rotated:,} rotations, {len(self.kill_times):,} kills, {len(self.cut_times):,} ends in an outage")
        return wrong

    def _is_excused(self, found: list[float]) -> bool:
        """Return True if a kill came between any two arrivals, soon after the first."""
        found, interruptions = sorted(found), [*self.kill_times, *self.cut_times]
        return all(
            any(before - LATE_S < kill <= after and kill - before < SOON_S for kill in interruptions)
            for before, after in itertools.pairwise(found)
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rotations", type=int, default=60)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--styles", nargs="+", default=USUAL, choices=STYLES, metavar="STYLE", help=", ".join(STYLES))
    given = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="agent-torture-"))
    with LocalKinesis(streams=dict.fromkeys(FLOWS, 2), limits=False) as kinesis:
        torture = Torture(directory, kinesis, given.rotations, given.kills, given.seed, given.styles)
        torture.run()
        wrong = torture.judge()
    for each in wrong[:50]:
        say(each)
    if wrong:
        say(f"{len(wrong)} checks failed; seed {given.seed}; {directory}")
        return 1
    shutil.rmtree(directory)
    return 0
