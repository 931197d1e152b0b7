"""Puts each line of a file on a stream. A second run continues where the first one stopped.

    python bulk_load.py orders lines.jsonl

- lines.jsonl.checkpoint has an offset in the file. Each line before the offset is in the stream or in the dead-letter
  file. The next run begins at the offset. The checkpoint is written once a second and at the end.
- lines.jsonl.failed has the lines that cannot be put. `kplpy put --from-failed lines.jsonl.failed` puts them again.
- Memory is bounded, whatever the length of the file or of a line.
- Ctrl-C or SIGTERM stops reading. The loader then waits up to ten seconds for the lines that it has read, and writes
  the checkpoint. After a second Ctrl-C or SIGTERM it does not wait.
- No line is lost, however the run ends. After kill -9, a second Ctrl-C or an error, some lines after the checkpoint may
  be delivered already. The next run puts them again, so consumers may see them twice.
- During an outage the loader waits. It stops with an error when the stream or the credentials are missing, or when
  more than a hundred lines failed.

Exit codes: 0, all lines are in the stream. 1, some lines are in the dead-letter file, or an error stopped the run.
130, Ctrl-C or SIGTERM. The file must not change between the runs. Lines may arrive in another order.
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

# Below half of the producer's own bounds (100,000 records, 64 MiB), so that a put never waits for buffer space.
WINDOW_RECORDS = 20_000
WINDOW_BYTES = 16 << 20
MAX_LINE_BYTES = 1 << 20
"""A longer line fails, because no record may be larger. The dead-letter file gets only its beginning."""
MAX_FAILED = 100
CHECKPOINT_SECONDS = 1.0
STOP_SECONDS = 10.0
"""Time for the lines in the window after Ctrl-C."""
POLL_SECONDS = 0.2


def key_of(line: bytes) -> str | None:
    """Return the partition key of a line, or None if kplpy is to choose the shard. Change this to suit your lines."""
    return None


@dataclass
class Checkpoint:
    """A place in the file: each line before it is in the stream or in the dead-letter file.

    stream: the stream that the lines are put on.
    offset: bytes from the start of the file.
    lines: number of lines before the offset.
    failed: number of these lines that failed.
    """

    stream: str
    offset: int = 0
    lines: int = 0
    failed: int = 0

    @classmethod
    def read(cls, path: Path, stream: str, size_bytes: int) -> Checkpoint:
        """Read the checkpoint file; without a file, begin at offset 0.

        Raises ValueError if the file is broken, or belongs to another stream or input.
        """
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
        """Replace the file in one step, so that a crash leaves the old file or the new one."""
        new = path.with_name(path.name + ".new")
        with open(new, "w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)


class Line(NamedTuple):
    """A line of the file that was read.

    end: offset in the file after the line.
    size_bytes: length with the newline.
    outcome: the future, or the error of a line that could not be put.
    """

    end: int
    size_bytes: int
    outcome: RecordFuture | RecordFailedError


class Loader:
    """Reads lines, holds those without an outcome in a window, and moves the checkpoint in the order of the file."""

    def __init__(self, producer: Producer, stream: str, path: Path) -> None:
        self.producer = producer
        self.stream = stream
        self.path = path
        self.checkpoint_path = path.with_name(path.name + ".checkpoint")
        self.dead_letters = DeadLetterFile(path.with_name(path.name + ".failed"))
        self.checkpoint = Checkpoint.read(self.checkpoint_path, stream, path.stat().st_size)
        self.window: deque[Line] = deque()
        self.window_bytes = 0
        self.stop_by = math.inf
        self._failed_before = self.checkpoint.failed
        self._written_at = time.monotonic()

    def stop(self, *_: object) -> None:
        """Stop reading. This is a signal handler. The second call raises KeyboardInterrupt."""
        if self.stop_by < math.inf:
            raise KeyboardInterrupt
        self.stop_by = time.monotonic() + STOP_SECONDS

    def run(self) -> bool:
        """Put all lines after the checkpoint. Return False if stop() was called before the end."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.checkpoint.offset)
                while self.stop_by == math.inf and self._put_next(file):
                    self._keep_checkpoint()
                    self._wait_for_window()
            if self.stop_by < math.inf:
                print("stopping; another Ctrl-C stops at once", file=sys.stderr)
            while self.window and time.monotonic() < self.stop_by:
                self._flush_briefly()
                self._keep_checkpoint()
        finally:
            try:
                self._settle()
            finally:
                self.checkpoint.write(self.checkpoint_path)
        return self.stop_by == math.inf

    def _put_next(self, file: BinaryIO) -> bool:
        """Read a line and put it. Return False at the end of the file."""
        read = file.readline(MAX_LINE_BYTES + 1)
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
        self.window.append(Line(file.tell(), len(read), outcome))
        self.window_bytes += len(read)
        return True

    def _wait_for_window(self) -> None:
        """Wait until the window is within its bounds."""
        while (len(self.window) > WINDOW_RECORDS or self.window_bytes > WINDOW_BYTES) and self.stop_by == math.inf:
            first = self.window[0].outcome
            if isinstance(first, RecordFuture):
                wait([first], timeout=POLL_SECONDS)
            self._keep_checkpoint()

    def _flush_briefly(self) -> None:
        try:
            self.producer.flush(self.stream, timeout=POLL_SECONDS)
        except FlushTimeoutError:
            pass

    def _keep_checkpoint(self) -> None:
        """Settle the lines that have an outcome, and write the checkpoint if it is older than a second."""
        self._settle()
        if time.monotonic() - self._written_at >= CHECKPOINT_SECONDS:
            self.checkpoint.write(self.checkpoint_path)
            self._written_at = time.monotonic()

    def _settle(self) -> None:
        """Move the checkpoint up to the first line without an outcome. Never waits."""
        while self.window and has_outcome(self.window[0]):
            self._settle_first()

    def _settle_first(self) -> None:
        """Move the checkpoint past the first line, which has an outcome.

        The line leaves the window last. After an interruption at any moment the line is still in the window, or the
        checkpoint is past it.
        """
        line = self.window[0]
        outcome = line.outcome
        error = outcome.exception() if isinstance(outcome, RecordFuture) else outcome
        if isinstance(error, SetupError) or (error is not None and not isinstance(error, RecordFailedError)):
            raise error  # the line is not the cause, so the next run puts it again
        failed = self.checkpoint.failed + (error is not None)
        if failed - self._failed_before > MAX_FAILED:
            raise KplpyError(f"more than {MAX_FAILED} lines failed, the last one with: {error}")
        if error is not None:
            self.dead_letters(error)
        self.checkpoint = Checkpoint(self.stream, line.end, self.checkpoint.lines + 1, failed)
        self.window_bytes -= line.size_bytes
        self.window.popleft()


def has_outcome(line: Line) -> bool:
    """Return True if the line was delivered or failed."""
    return not isinstance(line.outcome, RecordFuture) or line.outcome.done()


def skip_rest(file: BinaryIO) -> None:
    """Read to the end of the line, in pieces of bounded size."""
    while (piece := file.readline(MAX_LINE_BYTES)) and not piece.endswith(b"\n"):
        pass


def load(stream: str, path: Path) -> int:
    """Load the file, and return the exit code."""
    # Without a time to live the loader waits during an outage. close() need not wait, because run() has waited.
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
