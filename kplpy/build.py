"""Builds the parts of a producer from its Config."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kplpy.config.options import Config, per_stream
from kplpy.core.policy import Policy, policy_of
from kplpy.errors import ConfigError, RecordFailedError, SpoolError
from kplpy.hash_keys import HashKeys
from kplpy.metrics.recorder import Recorder
from kplpy.metrics.registry import Registry
from kplpy.metrics.reporter import Reporter
from kplpy.metrics.sinks.factory import sink_maker
from kplpy.metrics.stats_socket import StatsSocket
from kplpy.runtime.backpressure import Backpressure
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.engine import Engine
from kplpy.runtime.meter import Meter, NoMeter
from kplpy.validation import checks_of
from kplpy.wire.compressed import check_codec

if TYPE_CHECKING:
    from kplpy.aws.kinesis.transport import KinesisTransport
    from kplpy.runtime.spooling import Spooling


@dataclass(slots=True)
class Parts:
    """The parts of a producer, made on the thread that makes the producer.

    A producer gets new parts in a forked child, and once the interpreter's exit has begun.

    recorder, reporter: None with metrics_level="none".
    stats: None without stats_path.
    spooling: None without spool.
    """

    buffer: Buffer
    transport: KinesisTransport
    engine: Engine
    backpressure: Backpressure
    recorder: Recorder | None
    reporter: Reporter | None
    stats: StatsSocket | None
    spooling: Spooling | None

    def start(self) -> None:
        """Start the parts that have a thread of their own, except the engine. Called with the first record."""
        if self.reporter is not None:
            self.reporter.start()
        if self.stats is not None:
            self.stats.start()
        if self.spooling is not None:
            self.spooling.start()

    def end(self, timeout: float) -> None:
        """End the parts that start() started. timeout: seconds that the metrics sink may take."""
        if self.reporter is not None:
            self.reporter.close(timeout)
        if self.stats is not None:
            self.stats.close()

    def abandon(self) -> None:
        """Give up all parts in a forked child, because the parent keeps using them."""
        self.engine.abandon()
        if self.stats is not None:
            self.stats.abandon()
        if self.spooling is not None:
            self.spooling.abandon()


def build(
    config: Config,
    on_failure: Callable[[RecordFailedError], object] | None,
    puts_dead_letters: bool,
    on_start: Callable[[], bool],
    deliver_inline: Callable[[], object],
    is_closed: Callable[[], bool],
    stats: Callable[[], bytes],
    on_refusal: Callable[[], object],
) -> Parts:
    """Make the parts. No thread is started yet.

    puts_dead_letters: on_failure puts to the same producer. A quarter of the buffer stays free for these records.
    on_start, deliver_inline: see Engine.
    is_closed: returns True if the producer is closed.
    stats: returns what `kplpy top` shows, as JSON.
    on_refusal: see Spooling.

    Raises ConfigError if the library for the compression is not installed.
    """
    from kplpy.aws.cloudwatch import CloudWatch
    from kplpy.aws.kinesis.transport import KinesisTransport

    _check_codecs(config)
    hash_keys = HashKeys()
    buffer = Buffer(config.max_buffered_records, config.max_buffered_bytes, puts_dead_letters)
    transport = KinesisTransport(config)
    recorder = None
    if config.metrics_level != "none":
        registry = Registry(config.metrics_granularity)
        recorder = Recorder(registry, config.max_buffered_records, config.max_buffered_bytes)
    spooling = _spooling_of(config, buffer, recorder or NoMeter(), on_refusal)
    engine = Engine(
        per_stream(config, _policy_of),
        per_stream(config, lambda own: checks_of(own, hash_keys)),
        transport,
        buffer,
        config.max_connections,
        config.max_inflight_bytes,
        on_failure,
        on_start=on_start,
        deliver_inline=deliver_inline,
        hot_partition_keys=config.hot_partition_keys,
        meter=recorder,
        spooling=spooling,
    )
    reporter = None
    if recorder is not None:
        make_sink = sink_maker(config, lambda: CloudWatch(config).put_metric_data, transport.is_regional)
        interval = config.metrics_upload_delay_ms / 1000
        reporter = Reporter(recorder, engine.status.gauges, make_sink, config.metrics_level, interval)
    backpressure = Backpressure(config, engine, buffer, is_closed)
    socket = StatsSocket(config.stats_path, stats) if config.stats_path else None
    return Parts(buffer, transport, engine, backpressure, recorder, reporter, socket, spooling)


def _policy_of(config: Config) -> Policy:
    """Return the policy. With a spool, its own time to live counts."""
    return policy_of(config if config.spool is None else replace(config, record_ttl_ms=config.spool_ttl_ms))


def check_directory(path: str | os.PathLike[str]) -> None:
    """Make the spool's directory if it is missing. Raises SpoolError if it cannot be used."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise SpoolError(f"the spool's directory {os.fspath(path)!r} cannot be made: {error}") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise SpoolError(f"the spool's directory {os.fspath(path)!r} is not writable")


def _spooling_of(config: Config, buffer: Buffer, meter: Meter, on_refusal: Callable[[], object]) -> Spooling | None:
    if config.spool is None:
        return None
    from kplpy.runtime.spooling import Spooling

    return Spooling(config, buffer, meter, on_refusal)


def _check_codecs(config: Config) -> None:
    of_streams = [options.get("compression", "none") for options in (config.streams or {}).values()]
    for codec in {config.compression, *of_streams}:
        try:
            check_codec(codec)
        except ImportError as error:
            raise ConfigError(f"compression={codec!r} needs a library: {error}") from error
