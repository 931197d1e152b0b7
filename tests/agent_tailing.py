"""A tailer in a temporary directory with a clock of its own, and what it handed out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from kplpy.agent.settings import FlowSettings
from kplpy.agent.tailing import Checkpoints, Chunk, Descriptors, FlowTailer
from tests.inside import kill_checkpoints

STEP_S = 0.1


class Tail:
    """One flow. `step()` lets 0.1 s pass, and reads and accepts all that is there."""

    def __init__(self, directory: Path, pattern: str = "app.log*", **options: Any) -> None:
        self.directory = directory
        self.pattern = str(directory / pattern)
        self.options: dict[str, Any] = {"initial_position": "START_OF_FILE", **options}
        self.limit = self.options.pop("limit", 100)
        self.state = self.options.pop("state", directory.parent / "state" / "checkpoints.db")
        self.imported: str | None = self.options.pop("imported", None)
        self.now = time.time()
        self.records: list[bytes] = []
        self.chunks: list[Chunk] = []
        self.start()

    def start(self) -> None:
        options = {"destination": "kinesis", "stream": "s", **self.options}
        settings = FlowSettings(f"kinesis:s:{self.pattern}", self.pattern, **options)
        self.descriptors = Descriptors(self.limit)
        self.checkpoints = Checkpoints(str(self.state), self.imported)
        self.tailer = FlowTailer(settings, self.checkpoints, self.descriptors, clock=lambda: self.now)
        self.step()

    def stop(self) -> None:
        """End as a SIGKILL does: nothing that is not committed is written."""
        self.tailer.close()
        kill_checkpoints(self.checkpoints)

    def restart(self) -> None:
        self.stop()
        self.start()

    def step(self, seconds: float = STEP_S, *, accept: bool = True) -> list[bytes]:
        """Let time pass, and return the records read at its end."""
        self.now += seconds
        self.tailer.poll(self.now)
        read: list[bytes] = []
        while (chunk := self.tailer.read(1 << 20)) is not None:
            read.extend(chunk.records)
            assert list(chunk.ends) == sorted(chunk.ends)
            assert max(chunk.ends, default=chunk.start) <= chunk.end
            self.chunks.append(chunk)
            if accept:
                self.tailer.accepted(chunk.file, chunk.end)
        if accept:
            self.checkpoints.commit()
        self.records.extend(read)
        return read

    def read_some(self, chunks: int) -> list[Chunk]:
        """Read at most so many chunks, without accepting them."""
        found: list[Chunk] = []
        while len(found) < chunks and (chunk := self.tailer.read(4096)) is not None:
            self.records.extend(chunk.records)
            found.append(chunk)
        return found

    def accept(self, chunk: Chunk) -> None:
        self.tailer.accepted(chunk.file, chunk.end)
        self.checkpoints.commit()

    def once(self) -> list[bytes]:
        """Read to the end as --once does, and return the records."""
        before = len(self.records)
        self.step()
        while not self.tailer.at_end():
            self.step()
        self.tailer.finish()
        self.step(0)
        return self.records[before:]

    def wait(self, seconds: float) -> list[bytes]:
        """Let time pass in steps, and return the records read."""
        steps = min(round(seconds / STEP_S), 30)
        return [record for _ in range(steps) for record in self.step(seconds / steps)]
