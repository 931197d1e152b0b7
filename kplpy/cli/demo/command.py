"""`kplpy demo`: puts lines into a local Kinesis, reads them back and compares."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

import click

from kplpy.cli.progress import Speed, show_progress, show_warnings, size
from kplpy.cli.serve import local_process

if TYPE_CHECKING:
    from kplpy import Config, Producer, StreamTotals
    from kplpy.cli.demo.comparison import Comparison, Delays
    from kplpy.cli.demo.source import Source
    from kplpy.errors import RecordFailedError
    from kplpy.local import LocalKinesisProcess

_STREAM = "demo"
_BATCH = 500
_SAMPLE_EVERY = 16  # the waiting time of one record in 16 is sampled
# The limits of one shard.
_BYTES_A_SECOND = 1 << 20
_RECORDS_A_SECOND = 1000


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False), metavar="[FILE]...")
@click.option("--shards", type=click.IntRange(1, 64), default=2, show_default=True, help="Shards of the local stream.")
def demo(files: tuple[str, ...], shards: int) -> None:
    """Put every line of FILEs (or of Python's standard library) into a local Kinesis, read them back, and compare.

    The local Kinesis runs in a process of its own and applies the service's limits. The demo leaves no files or
    processes behind. The exit code is 0 if the records read back are identical.
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
        f"stream: a local Kinesis of {shards} shard{'' if shards == 1 else 's'} with the service's limits; each shard "
        "takes 1 MiB and 1000 records a second, and gives 2 MiB in 5 reads a second"
    )
    kinesis = local_process(shards=shards, stream=_STREAM, retention_bytes=None)
    try:  # not `with`, because Ctrl-C may come while the process starts
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
    """One run of the demo: put everything, read it back, print the figures."""

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
            on_failure=self._on_failure,
            # Long, so that the demo does not fail on a machine that is busy or asleep for a while.
            record_ttl_ms=300_000,
            request_timeout_ms=60_000,
            max_block_ms=300_000,
            close_timeout_ms=0,  # put() flushes before, except after Ctrl-C
        )

    def _on_failure(self, error: RecordFailedError) -> None:
        self._failure = self._failure or error

    # --- putting ---

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

            with show_progress(progress, plain_every=5.0):
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

    # --- reading ---

    def read_back(self) -> str | None:
        """Read and compare all records. Return the first difference as text, or None."""
        from kplpy.reading import StreamReader

        comparison = self._comparison
        began = time.monotonic()
        client = self._kinesis.client()
        reader = StreamReader(_STREAM, start="TRIM_HORIZON", client=client, follow=False)
        try:
            with show_progress(lambda: f"read back {comparison.records:,} of {self._lines:,} records", plain_every=5.0):
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

    # --- reporting ---

    def print_table(self) -> None:
        totals = self._totals
        assert totals is not None
        retried = totals.kinesis_records_sent - totals.kinesis_records_put
        p50, p99 = self._delays.percentile(50), self._delays.percentile(99)
        out_of_order = self._comparison.out_of_order
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
            ("buffering p50 / p99", f"{p50:.2f} s / {p99:.2f} s before the first attempt"),
            ("records out of order", f"{out_of_order:,} read after a record of the same key that was put later"),
        ):
            click.echo(f"  {name:<28} {value}")
        click.echo(f"bottleneck: {self._bottleneck()}")

    def _bottleneck(self) -> str:
        """Return what limited the speed of putting: a limit of the shards, or this machine."""
        size_of, count_of = self._comparison.bytes_by_shard, self._comparison.kinesis_records_by_shard
        # Each shard's token bucket is full at the start: one second of its limit is free.
        by_bytes = max(0.0, max(size_of.values(), default=0) / _BYTES_A_SECOND - 1)
        by_records = max(0.0, max(count_of.values(), default=0) / _RECORDS_A_SECOND - 1)
        least, limit = max((by_bytes, "1 MiB a second"), (by_records, "1000 records a second"))
        took = self._put_seconds
        if least == 0:
            return "none: the shards' limits allow so much in the first second"
        if least >= 0.7 * took:
            waiting = "; records waited in the buffer for the shards" if self._delays.percentile(50) > 0.5 else ""
            return f"the shards' limit of {limit}: the fullest shard needed {least:.1f} of the {took:.1f} s{waiting}"
        return f"this machine: the shards' limit of {limit} allowed {least:.1f} s, it took {took:.1f} s"
