"""The work of `kplpy put`: puts records from an iterator and reports the result."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kplpy import Config, Producer
from kplpy.cli.failed import Failures
from kplpy.cli.lines import Given, Position, SkippedTooMuchError
from kplpy.cli.progress import Speed, duration, say, show_progress, size
from kplpy.cli.stop import Interrupted, Stop
from kplpy.errors import BufferFullError, FlushTimeoutError, InvalidRecordError
from kplpy.metrics.sinks.factory import sink_maker

if TYPE_CHECKING:
    from rich.console import RenderableType

# put_record and flush wait for at most this long at a time, so that a signal is noticed.
_BLOCK_MS = 500


class Sending:
    """Puts records one by one, on the main thread, and keeps no record.

    Failed records go to `failures`. Of delivered records only counts remain.
    """

    def __init__(self, config: Config, stream: str | None, failures: Failures, stop: Stop, position: Position) -> None:
        self._close_timeout_s = config.close_timeout_ms / 1000
        if sink_maker(config, _never_called, _never_called) is None:  # metrics by shard cost nothing without a sink
            config = replace(config, metrics_granularity="shard")
        self._producer = Producer(
            # run() limits the time of the final flush. close() then fails the remaining records at once.
            replace(
                config,
                on_failure=failures.record_failed,
                on_buffer_full="block",
                max_block_ms=_BLOCK_MS,
                close_timeout_ms=0,
            )
        )
        self._stream = stream
        self._failures = failures
        self._stop = stop
        self._position = position
        self._resume_at = position.skip  # lines that the next run may skip: each was put, or is a failed record
        self._delivered_speed = Speed(30.0)  # bytes of delivered input a second, for the remaining time
        self._accepted_bytes = 0
        self._skipped = 0
        self._read_error = ""
        self._began = time.monotonic()
        self._seconds = 0.0
        self._speed = Speed()

    def run(self, records: Iterator[Given], rate: float | None, quiet: bool) -> None:
        """Put all records and wait for their outcomes. A signal ends this early (see Stop)."""
        stop, producer = self._stop, self._producer
        try:
            with show_progress(self._progress, quiet=quiet, below=self._shards):
                try:
                    self._put_all(records, rate)
                    stop.waiting = True
                    if not stop.signal:
                        self._flush(math.inf)
                    stop.waiting = False
                except Interrupted:
                    self._say_stopping()
                    self._flush(self._close_timeout_s)
        except (KeyboardInterrupt, FlushTimeoutError):
            pass
        finally:
            producer.close()
            self._seconds = time.monotonic() - self._began

    def _put_all(self, records: Iterator[Given], rate: float | None) -> None:
        stop = self._stop
        next_put_at = time.monotonic()
        while True:
            stop.waiting = True
            if stop.signal:
                raise Interrupted
            if rate is not None:
                now = time.monotonic()
                if next_put_at > now:
                    time.sleep(next_put_at - now)
                # After slow input, the burst that catches up is at most a tenth of a second's records.
                next_put_at = max(next_put_at, now - 0.1) + 1 / rate
            try:
                given = next(records, None)
            except OSError as error:
                self._read_error = f"reading stopped early: {error}"
                given = None
            except SkippedTooMuchError as error:
                self._read_error = str(error)
                given = None
            stop.waiting = False
            if given is None:
                return
            if given.skip:
                self._skipped += 1
            else:
                self._put(given)
            self._resume_at = self._position.lines

    def _put(self, given: Given) -> None:
        stream = self._stream or given.stream
        problem = given.problem or (None if stream else "the record names no stream, and no STREAM was given")
        while problem is None and stream is not None:
            try:
                self._producer.put_record(
                    stream,
                    given.data,
                    given.partition_key,
                    explicit_hash_key=given.explicit_hash_key,
                    headers=given.headers,
                )
                self._accepted_bytes += len(given.data)
                return
            except BufferFullError:
                if self._stop.signal:
                    problem = "not put: interrupted while waiting for buffer space"
            except InvalidRecordError as error:
                problem = str(error)
        self._failures.record_refused(stream, given, problem or "")

    def _flush(self, timeout: float) -> None:
        """Wait for all outcomes, as Producer.flush(), in steps of _BLOCK_MS."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                return self._producer.flush(timeout=min(max(left, 0.0), _BLOCK_MS / 1000))
            except FlushTimeoutError:
                if left <= _BLOCK_MS / 1000:
                    raise

    def _say_stopping(self) -> None:
        left = self._producer.outstanding_records
        if left:
            say(
                f"stopping: {left:,} records to deliver, within {self._close_timeout_s:g} s; "
                "a second Ctrl-C ends the command at once"
            )

    # --- reporting ---

    def _progress(self) -> str:
        totals = self._producer.metrics().values()
        done = sum(each.user_records_put for each in totals)
        speed = self._speed.at(sum(each.kinesis_bytes_put for each in totals))
        throttled = sum(each.entries_throttled for each in totals)
        text = f"{done:,} records  {size(speed)}/s  {self._producer.outstanding_records:,} outstanding"
        text = f"{self._percent_and_eta()}{text}  {throttled:,} throttled"
        return f"{text}  {self._failures.count:,} failed" if self._failures.count else text

    def _percent_and_eta(self) -> str:
        """Return the delivered part of the input and the remaining time, or "" if the input's size is unknown."""
        position = self._position
        if not position.size_bytes:
            return ""
        put = position.lines - min(position.lines, position.skip)
        delivered = 1 - self._producer.outstanding_records / put if put else 1.0
        done = position.skipped_bytes + max(0.0, delivered) * (position.read_bytes - position.skipped_bytes)
        left = max(0.0, position.size_bytes - done)
        speed = self._delivered_speed.at(done - position.skipped_bytes)
        eta = duration(left / speed) if speed and put else "–"
        return f"{min(100, int(100 * done / position.size_bytes))} %  ETA {eta}  "

    def _shards(self) -> RenderableType:
        """Return the table of shards that `kplpy top` shows."""
        from kplpy.cli.top import ShardTable

        return ShardTable(self._producer._snapshot())

    @property
    def exit_code(self) -> int:
        if self._stop.signal:
            return self._stop.exit_code
        return 1 if self._failures.count or self._read_error else 0

    def summary(self, quiet: bool) -> list[str]:
        """Return the lines to print at the end, none after a quiet success."""
        lines = []
        if not quiet:
            totals = self._producer.metrics().values()
            put = _count(sum(each.user_records_put for each in totals), "record")
            where = self._stream or _count(len(totals), "stream")
            lines.append(
                f"put {put} ({size(self._accepted_bytes)} read) on {where} in {self._seconds:.1f} s: "
                f"{_count(sum(each.kinesis_records_put for each in totals), 'Kinesis record')}, "
                f"{_count(sum(each.put_records_requests for each in totals), 'request')}, "
                f"{sum(each.entries_throttled for each in totals):,} throttled"
            )
            if self._position.skip and not self._read_error:
                lines.append(f"skipped the first {_count(self._position.skip, 'line')} (--skip)")
            if self._skipped:
                lines.append(f"skipped {_count(self._skipped, 'line')} without a partition key")
        if self._read_error:
            lines.append(self._read_error)
        stopped = self._stop.signal or self._read_error
        if stopped and self._resume_at > self._position.skip:
            lines.append(f"stopped after {_count(self._resume_at, 'line')}; continue with --skip {self._resume_at}")
        if self._failures.count:
            lines.append(f"{_count(self._failures.count, 'record')} failed:")
        return lines + self._failures.report()


def _never_called() -> Any:
    raise AssertionError("sink_maker() is called only to see if there is a sink")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
