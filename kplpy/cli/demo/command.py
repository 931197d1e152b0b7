"""`kplpy demo`: real lines through the real producer into a local Kinesis, and back."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

import click

from kplpy.cli.progress import Speed, say, show_warnings, shown, size
from kplpy.cli.serve import local_process

if TYPE_CHECKING:
    from kplpy import Config, Producer, StreamTotals
    from kplpy.cli.demo.comparison import Comparison, Delays
    from kplpy.cli.demo.source import Source
    from kplpy.errors import RecordFailedError
    from kplpy.local import LocalKinesisProcess

_STREAM = "demo"
_BATCH = 500
_SAMPLE_EVERY = 16  # of the records' waiting times
# Of one shard.
_BYTES_A_SECOND = 1 << 20
_RECORDS_A_SECOND = 1000


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False), metavar="[FILE]...")
@click.option("--shards", type=click.IntRange(1, 64), default=2, show_default=True, help="Of the local stream.")
def demo(files: tuple[str, ...], shards: int) -> None:
    """Put every line of FILEs (or of Python's standard library) into a local Kinesis, read them back, and compare.

    The local Kinesis runs in a process of its own and holds the service's limits. Nothing is left behind. Exits with
    0 when what came back is identical.
    """
    from kplpy.cli.demo.source import given_files, standard_library

    signal.signal(signal.SIGTERM, _end)
    show_warnings()
    if files:
        sources, what = given_files(files), ", ".join(files[:3]) + (" ..." if len(files) > 3 else "")
    else:
        sources, what = standard_library()
    click.echo(
        f"input: {sum(map(len, sources)):,} lines in {len(sources):,} file{'' if len(sources) == 1 else 's'} ({what})"
    )
    click.echo(
        f"stream: a local Kinesis of {shards} shard{'' if shards == 1 else 's'}, held to the service's limits: 1 MiB "
        "and 1000 records a second into each, 2 MiB and 5 reads a second out of it"
    )
    kinesis = local_process(shards=shards, stream=_STREAM, retention_bytes=None)
    try:  # not `with`: Ctrl-C may come while it starts
        kinesis.start()
        run = Run(sources, kinesis)
        run.put()
        difference = run.read_back()
    finally:
        kinesis.stop()
    run.print_table()
    if difference:
        click.echo(f"different: {difference}")
        sys.exit(1)
    click.echo("identical")


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Run:
    """One demo: put everything, read it back, tell."""

    def __init__(self, sources: list[Source], kinesis: LocalKinesisProcess) -> None:
        from kplpy.cli.demo.comparison import Comparison, Delays

        self._sources = sources
        self._kinesis = kinesis
        self._lines = sum(map(len, sources))
        self._delays: Delays = Delays()
        self._comparison: Comparison = Comparison(sources)
        self._totals: StreamTotals | None = None
        self._failure: RecordFailedError | None = None
        self._put_seconds = self._read_seconds = 0.0

    def _config(self) -> Config:
        from botocore.session import Session

        from kplpy import Config

        session = Session()
        session.set_credentials("local", "local")
        return Config(
            endpoint_url=self._kinesis.endpoint_url,
            region_name=self._kinesis.region_name,
            session=session,
            on_failure=self._failed,
            # A machine that is busy with other things, or asleep for a while, is no reason to fail.
            record_ttl_ms=300_000,
            request_timeout_ms=60_000,
            max_block_ms=300_000,
            close_timeout_ms=0,  # all is flushed before, unless Ctrl-C wants an end
        )

    def _failed(self, error: RecordFailedError) -> None:
        self._failure = self._failure or error

    # --- there ---

    def put(self) -> None:
        from kplpy import Producer

        began = time.monotonic()
        speed = Speed()
        with Producer(self._config()) as producer:

            def progress() -> str:
                totals = producer.metrics().get(_STREAM)
                if totals is None:
                    return "putting"
                return (
                    f"put {totals.user_records_put:,} of {self._lines:,} lines  "
                    f"{size(speed.at(totals.kinesis_bytes_put))}/s  "
                    f"{producer.outstanding_records:,} outstanding  {totals.entries_throttled:,} throttled"
                )

            with shown(progress, plain_every=5.0):
                self._put_all(producer)
                producer.flush()
            self._put_seconds = time.monotonic() - began
            self._totals = producer.metrics()[_STREAM]

    def _put_all(self, producer: Producer) -> None:
        for source in self._sources:
            for first in range(1, len(source) + 1, _BATCH):
                records = source.records(first, min(first + _BATCH - 1, len(source)))
                futures = producer.put_records(_STREAM, records)
                for future in futures[::_SAMPLE_EVERY]:
                    self._delays.watch(future)

    # --- and back ---

    def read_back(self) -> str | None:
        """The first difference in words; None when everything came back as it was put."""
        from kplpy.cli.reader import Start, StreamReader

        comparison = self._comparison
        began = time.monotonic()
        client = self._kinesis.client()
        reader = StreamReader(client, {"StreamName": _STREAM}, Start("TRIM_HORIZON"), follow=False, notice=say)
        try:
            with shown(lambda: f"read back {comparison.records:,} of {self._lines:,} records", plain_every=5.0):
                reader.open()
                for found in reader.batches():
                    difference = comparison.add(found) if found is not None else None
                    if difference:
                        return difference
        finally:
            self._read_seconds = time.monotonic() - began
            reader.close()
            client.close()
        missing = comparison.missing()
        return f"{missing}; {self._failure}" if missing and self._failure else missing

    # --- told ---

    def print_table(self) -> None:
        totals = self._totals
        assert totals is not None
        retried = totals.kinesis_records_sent - totals.kinesis_records_put
        p50, p99 = self._delays.percentile(50), self._delays.percentile(99)
        moved = self._comparison.moved
        for name, value in (
            ("lines", f"{self._lines:,}"),
            ("user records", f"{totals.user_records_put:,} put, {self._comparison.records:,} read back"),
            ("Kinesis records", f"{totals.kinesis_records_put:,}"),
            ("PutRecords requests", f"{totals.put_records_requests:,}"),
            ("records per Kinesis record", f"{totals.user_records_put / max(1, totals.kinesis_records_put):,.1f}"),
            ("bytes", f"{sum(each.size for each in self._sources):,} of input, {totals.kinesis_bytes_put:,} put"),
            ("entries throttled", f"{totals.entries_throttled:,}"),
            ("entries retried", f"{retried:,}"),
            ("seconds", f"{self._put_seconds:.1f} to put, {self._read_seconds:.1f} to read back"),
            ("buffering p50 / p99", f"{p50:.2f} s / {p99:.2f} s before the first sending"),
            ("records that changed places", f"{moved:,} came after a later one of their key"),
        ):
            click.echo(f"  {name:<28} {value}")
        click.echo(f"bottleneck: {self._bottleneck()}")

    def _bottleneck(self) -> str:
        """What the putting took its time for: the shards at their limits, or else this machine."""
        size_of, count_of = self._comparison.bytes_by_shard, self._comparison.kinesis_records_by_shard
        # Each bucket begins with one second's worth in it.
        by_bytes = max(0.0, max(size_of.values(), default=0) / _BYTES_A_SECOND - 1)
        by_records = max(0.0, max(count_of.values(), default=0) / _RECORDS_A_SECOND - 1)
        least, limit = max((by_bytes, "1 MiB a second"), (by_records, "1000 records a second"))
        took = self._put_seconds
        if least == 0:
            return "none: so little fits into the first second that each shard allows"
        if least >= 0.7 * took:
            waiting = "; the time in the buffer is the wait for them" if self._delays.percentile(50) > 0.5 else ""
            return f"the shards' limit of {limit}: the fullest shard needed {least:.1f} of the {took:.1f} s{waiting}"
        return f"this machine: the shards' limit of {limit} allowed {least:.1f} s, it took {took:.1f} s"
