"""Puts each line of a file on a stream, and goes on where it stopped when it is started again.

    python bulk_load.py orders lines.jsonl

- lines.jsonl.checkpoint says up to where each line is acknowledged, or is in the dead-letter file. The next run begins
  there. The checkpoint is written once a second and at the end.
- lines.jsonl.failed has the lines that cannot be put. `kplpy put --from-failed lines.jsonl.failed` puts them again.
- Memory is bounded, however long the file or a line is.
- Ctrl-C or SIGTERM stops reading, waits up to ten seconds for what was read, and writes the checkpoint. A second one
  does not wait.
- No line is lost, however the run ends. Lines behind the checkpoint that were delivered all the same (after kill -9, a
  second Ctrl-C, or an error) are put again, so consumers may see those twice.
- During an outage the loader waits. It stops with an error when the stream or the credentials are missing, or when
  more than a hundred lines failed.

Exit code 0: all lines are in the stream. 1: some are in the dead-letter file, or an error stopped the run. 130: Ctrl-C.
The file must not change between the runs. Lines may arrive in another order.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections import deque
from concurrent.futures import wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kplpy import (
    FlushTimeoutError,
    InvalidRecordError,
    KplpyError,
    Producer,
    RecordExpiredError,
    RecordFailedError,
    RecordFuture,
    SetupError,
    UserRecord,
)
from kplpy.dead_letters import DeadLetterFile

# Below half of the producer's own bounds (100,000 records, 64 MiB), so a put never waits for room.
WINDOW_RECORDS = 20_000
WINDOW_BYTES = 16 << 20
LONGEST_LINE = 1 << 20
"""Bytes. A longer line fails, since no record may be larger, and the dead-letter file gets only its beginning."""
MOST_FAILED = 100
CHECKPOINT_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
"""How long the rest may take after Ctrl-C."""
MOMENT_SECONDS = 0.2


def key_of(line: bytes) -> str | None:
    """Return the partition key of a line. None: kplpy chooses the shard. Change this to suit your lines."""
    return None


@dataclass
class Checkpoint:
    """Each line before `offset` (bytes from the start of the file) is in the stream or in the dead-letter file."""

    stream: str
    offset: int = 0
    lines: int = 0
    failed: int = 0

    @classmethod
    def read(cls, path: Path, stream: str, size_bytes: int) -> Checkpoint:
        """Read the file, or begin at 0 when there is none. ValueError: it is broken, or for another stream or input."""
        if not path.exists():
            return cls(stream)
        try:
            checkpoint = cls(**json.loads(path.read_text()))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a checkpoint: {error}") from error
        if checkpoint.stream != stream:
            raise ValueError(f"{path} is for the stream {checkpoint.stream!r}, not {stream!r}")
        if checkpoint.offset > size_bytes:
            raise ValueError(f"{path} says {checkpoint.offset} bytes are done, and the input has only {size_bytes}")
        return checkpoint

    def write(self, path: Path) -> None:
        """Replace the file in one step, so that a crash leaves the old one or the new one."""
        new = path.with_name(path.name + ".new")
        with open(new, "w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)


class WaitQueue(NamedTuple):
    """A line that was read. end: the offset behind it. outcome: the error when it could not even be put."""

    end: int
    size_bytes: int
    outcome: RecordFuture | RecordFailedError


class Loader:
    """Reads lines, keeps the unanswered ones in a window, and moves the checkpoint in the order of the file."""

    def __init__(self, producer: Producer, stream: str, path: Path) -> None:
        self.producer = producer
        self.stream = stream
        self.path = path
        self.checkpoint_path = path.with_name(path.name + ".checkpoint")
        self.dead_letters = DeadLetterFile(path.with_name(path.name + ".failed"))
        self.checkpoint = Checkpoint.read(self.checkpoint_path, stream, path.stat().st_size)
        self.window: deque[WaitQueue] = deque()
        self.window_bytes = 0
        self.stop_by = math.inf
        self._failed_before = self.checkpoint.failed
        self._written_at = time.monotonic()

    def stop(self, *_: object) -> None:
        """Stop reading; a signal handler. The second call raises KeyboardInterrupt."""
        if self.stop_by < math.inf:
            raise KeyboardInterrupt
        self.stop_by = time.monotonic() + PATIENCE_SECONDS

    def run(self) -> bool:
        """Put all lines from the checkpoint on. Returns False if it was stopped before the end."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.checkpoint.offset)
                while self.stop_by == math.inf and self._put_next(file):
                    self._keep_checkpoint()
                    self._make_room()
            if self.stop_by < math.inf:
                print("stopping; another Ctrl-C stops at once", file=sys.stderr)
            while self.window and time.monotonic() < self.stop_by:
                self._flush_for_a_moment()
                self._keep_checkpoint()
        finally:
            try:
                self._settle()
            finally:
                self.checkpoint.write(self.checkpoint_path)
        return self.stop_by == math.inf

    def _put_next(self, file: BinaryIO) -> bool:
        """Read a line and put it. Returns False at the end of the file."""
        read = file.readline(LONGEST_LINE + 1)
        if not read:
            return False
        if not read.endswith(b"\n"):
            skip_rest(file)
        data = read.removesuffix(b"\n")
        outcome: RecordFuture | RecordFailedError
        try:
            outcome = self.producer.put_record(self.stream, data, key_of(data))
        except InvalidRecordError as error:
            outcome = RecordFailedError(str(error), self.stream, UserRecord(data), cause=error)
        self.window.append(WaitQueue(file.tell(), len(read), outcome))
        self.window_bytes += len(read)
        return True

    def _make_room(self) -> None:
        """Wait until the window is within its bounds."""
        while (len(self.window) > WINDOW_RECORDS or self.window_bytes > WINDOW_BYTES) and self.stop_by == math.inf:
            first = self.window[0].outcome
            if isinstance(first, RecordFuture):
                wait([first], timeout=MOMENT_SECONDS)
            self._keep_checkpoint()

    def _flush_for_a_moment(self) -> None:
        try:
            self.producer.flush(self.stream, timeout=MOMENT_SECONDS)
        except FlushTimeoutError:
            pass

    def _keep_checkpoint(self) -> None:
        """Settle what has its answer, and write the checkpoint if it is older than a second."""
        self._settle()
        if time.monotonic() - self._written_at >= CHECKPOINT_SECONDS:
            self.checkpoint.write(self.checkpoint_path)
            self._written_at = time.monotonic()

    def _settle(self) -> None:
        """Move the checkpoint up to the first line without an answer. Never waits."""
        while self.window and is_done(self.window[0]):
            self._settle_first()

    def _settle_first(self) -> None:
        """Move the checkpoint behind the first line, which has its answer.

        The line leaves the window last: interrupted at any moment, it is there, or the checkpoint is behind it.
        """
        line = self.window[0]
        outcome = line.outcome
        error = outcome.exception() if isinstance(outcome, RecordFuture) else outcome
        if isinstance(error, SetupError) or (error is not None and not isinstance(error, RecordFailedError)):
            raise error  # not this line's fault: the next run puts it again
        failed = self.checkpoint.failed + (error is not None)
        if failed - self._failed_before > MOST_FAILED:
            raise KplpyError(f"more than {MOST_FAILED} lines failed, the last one with: {error}")
        if error is not None:
            self.dead_letters(error)
        self.checkpoint = Checkpoint(self.stream, line.end, self.checkpoint.lines + 1, failed)
        self.window_bytes -= line.size_bytes
        self.window.popleft()


def is_done(line: WaitQueue) -> bool:
    """Return True if the line has its answer."""
    return not isinstance(line.outcome, RecordFuture) or line.outcome.done()


def skip_rest(file: BinaryIO) -> None:
    """Read to the end of the line, a piece at a time."""
    while (piece := file.readline(LONGEST_LINE)) and not piece.endswith(b"\n"):
        pass


def load(stream: str, path: Path) -> int:
    """Load the file, and return the exit code."""
    # No time to live: an outage makes the loader wait. Closing does not wait, since run() has waited.
    with Producer(record_ttl_ms=None, close_timeout_ms=0) as producer:
        loader = Loader(producer, stream, path)
        signal.signal(signal.SIGINT, loader.stop)
        signal.signal(signal.SIGTERM, loader.stop)
        try:
            producer.connect(stream, timeout=10)
        except RecordExpiredError as error:
            print(f"waiting for Kinesis: {error}", file=sys.stderr)
        is_complete = loader.run()
    done = loader.checkpoint
    if not is_complete:
        print(f"stopped after line {done.lines}; start it again to go on", file=sys.stderr)
        return 130
    print(f"{done.lines} lines, {done.failed} of them failed")
    if done.failed:
        print(f"the failed lines are in {loader.dead_letters.path}", file=sys.stderr)
    return 1 if done.failed else 0


def main() -> int:
    """Read the arguments, load the file, and return the exit code."""
    parser = argparse.ArgumentParser(description="Puts each line of a file on a Kinesis stream, and can be resumed.")
    parser.add_argument("stream", help="name or ARN")
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    try:
        return load(given.stream, given.file)
    except KeyboardInterrupt:
        return 130
    except (KplpyError, OSError, ValueError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
