"""Runs the kplpy command in a process and environment of its own."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

COMMAND = [sys.executable, "-m", "kplpy"]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment with an empty home, without AWS variables and terminal size (pytest-xdist sets COLUMNS)."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    kept = {name: value for name, value in others.items() if name not in ("COLUMNS", "LINES")}
    return {**kept, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **more}


def run(home: Path, *arguments: str, given: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end, within a minute."""
    return subprocess.run(
        [*COMMAND, *arguments], input=given, capture_output=True, timeout=60, env=environment(home, **more), cwd=home
    )


def on_terminal(
    home: Path, *arguments: str, given: bytes | None = None, columns: int = 80, **more: str
) -> tuple[int, bytes]:
    """Run the command to its end on a terminal `columns` wide. Return its exit code and its output.

    given: bytes for standard input through a pipe. None makes the terminal the standard input, without any input.
    """
    import fcntl
    import pty
    import termios

    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=terminal if given is None else subprocess.PIPE,
        stdout=terminal,
        stderr=terminal,
        env=environment(home, TERM="xterm", **more),
        cwd=home,
    )
    os.close(terminal)
    if process.stdin is not None:
        process.stdin.write(given or b"")
        process.stdin.close()
    shown = b""
    try:
        while part := os.read(controller, 1 << 16):
            shown += part
    except OSError:  # Linux raises it when the other end is closed
        pass
    os.close(controller)
    return process.wait(60), shown


def without_slowness(output: bytes) -> bytes:
    """Return a command's output without the lines about a late first listing of shards, as on a busy machine."""
    late = (b"the shards cannot be listed (no response yet)", b"the shards are listed again")
    return b"".join(line for line in output.splitlines(keepends=True) if not any(each in line for each in late))


class Running:
    """A running command. Threads collect its output, and wait_for() waits for a part of it."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(home),
            cwd=home,
            start_new_session=True,
        )
        self._arrived = threading.Condition()
        self.out = self.err = b""
        self._open = 2
        self._readers = [
            threading.Thread(target=self._read, args=("out", self.process.stdout)),
            threading.Thread(target=self._read, args=("err", self.process.stderr)),
        ]
        for each in self._readers:
            each.start()

    def _read(self, name: str, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        with pipe:
            while part := os.read(pipe.fileno(), 1 << 16):
                with self._arrived:
                    setattr(self, name, getattr(self, name) + part)
                    self._arrived.notify_all()
        with self._arrived:
            self._open -= 1
            self._arrived.notify_all()

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def wait_for(self, text: bytes, times: int = 1, seconds: float = 30.0) -> None:
        """Wait until `text` was printed this many times, on either stream."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._count(text) >= times or not self._open, seconds)
            found = self._count(text) >= times
        assert found, f"{text!r} did not come; out: {self.out[-2000:]!r}, err: {self.err[-2000:]!r}"

    def _count(self, text: bytes) -> int:
        return (self.out + b"\n" + self.err).count(text)

    def end(self, seconds: float = 60.0) -> int:
        """Wait for the command's end and return its exit code."""
        code = self.process.wait(seconds)
        for each in self._readers:
            each.join(seconds)
        if self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        return code

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.end()
