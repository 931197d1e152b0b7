"""Failed records of `kplpy put`: counts them by reason and writes them to the --failed file."""

from __future__ import annotations

import errno
import os
import threading
from types import TracebackType
from typing import Any

import click

from kplpy.cli.lines import Given
from kplpy.dead_letters.entry import describe_data, describe_headers, entry_of
from kplpy.dead_letters.file import append
from kplpy.errors import RecordFailedError
from kplpy.private_files import open_private

_REASONS_SHOWN = 5


class Failures:
    """Collects failed records from any thread, in bounded memory.

    As a context manager it creates the --failed file, and removes it at the end if it created it and it is empty.
    """

    def __init__(self, path: str | None, *, follow_symlinks: bool = False) -> None:
        self.path = path
        self._follow_symlinks = follow_symlinks
        self.count = 0
        self._reasons: dict[str, tuple[int, str]] = {}  # kind → count, and the first record's text
        self._lock = threading.Lock()
        self._size_before = 0
        self._not_written = 0
        self._write_error = ""

    def __enter__(self) -> Failures:
        if self.path is not None:
            try:
                # The file is appended to, so that a run does not lose the failed records of an earlier run.
                file = open_private(
                    self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, follow_symlinks=self._follow_symlinks
                )
            except OSError as error:
                hint = " (--follow-symlinks)" if error.errno == errno.ELOOP else ""
                raise click.ClickException(f"cannot write --failed {self.path!r}: {error.strerror}{hint}") from error
            self._size_before = os.fstat(file).st_size
            os.close(file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is None:
            return
        created_here = not self._size_before and os.path.isfile(self.path) and not os.path.islink(self.path)
        if created_here and not self.count and not os.path.getsize(self.path):
            os.unlink(self.path)

    def record_failed(self, error: RecordFailedError) -> None:
        """Add a record that failed. This is the producer's `on_failure`."""
        last = error.attempts[-1].error_code if error.attempts else None
        self._add(f"{type(error).__name__} {last}", str(error), entry_of(error))

    def record_refused(self, stream: str | None, given: Given, problem: str) -> None:
        """Add a record that was not given to the producer, or that the producer refused."""
        entry: dict[str, Any] = {"stream": stream, **describe_data(given.data)}
        if given.truncated:
            entry["truncated"] = given.truncated
        entry |= {
            "partition_key": given.partition_key,
            "explicit_hash_key": given.explicit_hash_key,
            **describe_headers(given.headers),
            "error": problem,
            "source": f"{given.source}:{given.line}",
        }
        # The text's beginning is its kind, because sizes and positions further on differ from record to record.
        self._add(problem[:24], f"{given.source}, line {given.line}: {problem}", entry)

    def _add(self, kind: str, text: str, entry: dict[str, Any]) -> None:
        with self._lock:
            self.count += 1
            if kind in self._reasons or len(self._reasons) < 100:
                before, first = self._reasons.get(kind, (0, text))
                self._reasons[kind] = (before + 1, first)
            if self.path is None:
                return
            try:
                append(self.path, entry, follow_symlinks=self._follow_symlinks)
            except OSError as error:  # a full disk must not stop the other records
                self._not_written += 1
                self._write_error = error.strerror or str(error)

    def report(self) -> list[str]:
        """Return lines for the summary, none if no record failed."""
        if not self.count:
            return []
        reasons = sorted(self._reasons.values(), key=lambda each: -each[0])
        lines = [f"  {count:,} × {text}" for count, text in reasons[:_REASONS_SHOWN]]
        if len(reasons) > _REASONS_SHOWN:
            lines.append(f"  and {len(reasons) - _REASONS_SHOWN} more reasons")
        if self._write_error:
            lost = f"{self._not_written:,} of {self.count:,} failed records could not be written"
            lines.append(f"  {self.path} is not complete: {lost}: {self._write_error}")
        elif self.path:
            lines.append(f"  the failed records are in {self.path}; send them again with --from-failed {self.path}")
        else:
            lines.append("  the failed records are not kept; --failed FILE would have kept them")
        return lines
