"""The work of `kplpy put`: from an iterator of records to the producer, and to an end that leaves nothing untold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kplpy import Config, Producer
from kplpy.cli.failed import Failures
from kplpy.cli.lines import Given, Position, SkippedTooMuchError
from kplpy.cli.progress import Speed, duration, say, shown, size
from kplpy.cli.stop import Interrupted, Stop
from kplpy.errors import BufferFullError, FlushTimeoutError, InvalidRecordError
from kplpy.metrics.sinks.factory import sink_maker

if TYPE_CHECKING:
    from rich.console import RenderableType

# Put blocks for room no longer than this at a time, so that a signal is noticed.
_BLOCK_MS = 500


class Sending:
    """Puts records one by one and keeps none: those that fail go to `failures`, of the others only counts stay."""

    def __init__(self, config: Config, stream: str | None, failures: Failures, stop: Stop, position: Position) -> None:
        self._patience = config.close_timeout_ms / 1000
        if sink_maker(config, _not_asked, _not_asked) is None:  # nobody pays for it
            config = replace(config, metrics_granularity="shard")
        self._producer = Producer(
            # How long the end may take is decided here (run); close() then fails at once what is left.
            replace(
                config,
                on_failure=failures.given_up,
                on_buffer_full="block",
                max_block_ms=_BLOCK_MS,
                close_timeout_ms=0,
            )
        )
        self._stream = stream
        self._failures = failures
        self._stop = stop
        self._position = position
        self._resume_at = position.skip  # lines that a next run may leave out: each was put, or is a failed record
        self._pace = Speed(30.0)  # of the input that is delivered, which gives the time that is left
        self._accepted_bytes = 0
        self._skipped = 0
        self._read_error = ""
        self._began = time.monotonic()
        self._seconds = 0.0
        self._speed = Speed()

    def run(self, records: Iterator[Given], rate: float | None, quiet: bool) -> None:
        """Put all records and wait for their answers; a signal cuts that short (see Stop)."""
        stop, producer = self._stop, self._producer
        try:
            with shown(self._progress, quiet=quiet, below=self._shards):
                try:
                    self._put_all(records, rate)
                    stop.waiting = True
                    if not stop.signal:
                        producer.flush()
                    stop.waiting = False
                except Interrupted:
                    self._say_stopping()
                    producer.flush(timeout=self._patience)
        except (KeyboardInterrupt, FlushTimeoutError):
            pass
        finally:
            producer.close()
            self._seconds = time.monotonic() - self._began

    def _put_all(self, records: Iterator[Given], rate: float | None) -> None:
        stop = self._stop
        turn = time.monotonic()
        while True:
            stop.waiting = True
            if stop.signal:
                raise Interrupted
            if rate is not None:
                now = time.monotonic()
                if turn > now:
                    time.sleep(turn - now)
                # What a slow input missed is not made up for in a burst of more than a tenth of a second.
                turn = max(turn, now - 0.1) + 1 / rate
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
                    stream, given.data, given.partition_key, explicit_hash_key=given.explicit_hash_key
                )
                self._accepted_bytes += len(given.data)
                return
            except BufferFullError:
                if self._stop.signal:
                    problem = "not put: interrupted while it waited for room"
            except InvalidRecordError as error:
                problem = str(error)
        self._failures.refused(stream, given, problem or "")

    def _say_stopping(self) -> None:
        left = self._producer.outstanding_records
        if left:
            say(f"stopping: {left:,} records to deliver, {self._patience:g} s for it; Ctrl-C again ends at once")

    # --- telling ---

    def _progress(self) -> str:
        totals = self._producer.metrics().values()
        done = sum(each.user_records_put for each in totals)
        speed = self._speed.at(sum(each.kinesis_bytes_put for each in totals))
        throttled = sum(each.entries_throttled for each in totals)
        text = f"{done:,} records  {size(speed)}/s  {self._producer.outstanding_records:,} outstanding"
        text = f"{self._portion()}{text}  {throttled:,} throttled"
        return f"{text}  {self._failures.count:,} failed" if self._failures.count else text

    def _portion(self) -> str:
        """How much of the input is delivered, and how long the rest will take; empty where its size is not known."""
        where = self._position
        if not where.size_bytes:
            return ""
        put = where.lines - min(where.lines, where.skip)
        answered = 1 - self._producer.outstanding_records / put if put else 1.0
        done = where.skipped_bytes + max(0.0, answered) * (where.read_bytes - where.skipped_bytes)
        left = max(0.0, where.size_bytes - done)
        pace = self._pace.at(done - where.skipped_bytes)
        eta = duration(left / pace) if pace and put else "–"
        return f"{min(100, int(100 * done / where.size_bytes))} %  ETA {eta}  "

    def _shards(self) -> RenderableType:
        """As `kplpy top` shows them."""
        from kplpy.cli.top import ShardTable

        return ShardTable(self._producer._snapshot())

    @property
    def exit_code(self) -> int:
        if self._stop.signal:
            return self._stop.exit_code
        return 1 if self._failures.count or self._read_error else 0

    def summary(self, quiet: bool) -> list[str]:
        """What to say at the end; of a quiet success nothing."""
        told = []
        if not quiet:
            totals = self._producer.metrics().values()
            put = _count(sum(each.user_records_put for each in totals), "record")
            where = self._stream or _count(len(totals), "stream")
            told.append(
                f"put {put} ({size(self._accepted_bytes)} read) on {where} in {self._seconds:.1f} s: "
                f"{_count(sum(each.kinesis_records_put for each in totals), 'Kinesis record')}, "
                f"{_count(sum(each.put_records_requests for each in totals), 'request')}, "
                f"{sum(each.entries_throttled for each in totals):,} throttled"
            )
            if self._position.skip and not self._read_error:
                told.append(f"the first {_count(self._position.skip, 'line')} left out (--skip)")
            if self._skipped:
                told.append(f"{_count(self._skipped, 'line')} without a partition key left out")
        if self._read_error:
            told.append(self._read_error)
        stopped = self._stop.signal or self._read_error
        if stopped and self._resume_at > self._position.skip:
            told.append(f"stopped after {_count(self._resume_at, 'line')}; --skip {self._resume_at} goes on there")
        if self._failures.count:
            told.append(f"{_count(self._failures.count, 'record')} failed:")
        return told + self._failures.report()


def _not_asked() -> Any:
    raise AssertionError("only asked whether there is a sink")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
