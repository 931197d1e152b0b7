"""The agent's metrics: the Kinesis Agent's names and namespace in CloudWatch, and kplpy's own."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kplpy import Config, StreamTotals
from kplpy.agent.flow import Flow
from kplpy.agent.metric_sinks import DESTINATION, PrometheusSink, check_sink, make_sink
from kplpy.agent.settings import AgentSettings, FlowSettings
from kplpy.logs import log
from kplpy.metrics.catalogue import Unit
from kplpy.metrics.outlet import Outlet
from kplpy.metrics.sample import Dimensions, Sample, Sink, Window
from kplpy.rate_limited_log import RateLimitedLog
from kplpy.stream_names import name_of

logger = logging.getLogger(__name__)

LAST_S = 5.0
"""Seconds that the sink has for the last window, at the agent's end."""
_PREFIXES = {"kinesis": "KinesisStream:", "firehose": "DeliveryStream:"}


@dataclass(slots=True)
class _Counted:
    """What was counted for one destination until the last window."""

    totals: StreamTotals
    parsed: int = 0
    skipped: int = 0
    dropped: int = 0


class AgentMetrics:
    """Makes a window of samples for each destination, and gives it to the sink. Used from the agent's thread.

    The sink has a thread of its own. While it is busy with a window, the next one grows.

    sink: None: metrics_sink of the settings; CloudWatch only if emit_metrics is set.
    """

    def __init__(self, settings: AgentSettings, config: Config, sink: Sink | None) -> None:
        self._errors = RateLimitedLog(logger, "metrics_not_taken")
        self._given = sink
        self._outlet: Outlet | None = None
        self._made: Sink | None = None
        self._made_for: tuple[object, ...] | None = None
        self._before: dict[str, _Counted] = {}
        self._since = time.time()
        self.change(settings, config)

    def change(self, settings: AgentSettings, config: Config) -> None:
        """Use other settings from the next window on. ConfigError: the sink's package is missing."""
        check_sink(settings)
        self._is_logged = settings.log_emit_metrics
        made_for = (
            *(settings.emit_metrics, settings.metrics_namespace, settings.tag_instance, settings.cloudwatch_endpoint),
            *(settings.metrics_sink, settings.prometheus_address),
            config.session,
            config.region_name,
        )
        if made_for == self._made_for:
            return
        self._made_for = made_for
        self._end_sink()
        sink = self._given
        if sink is not None:
            self._outlet = Outlet(lambda: sink, self._errors)
        elif settings.emit_metrics or settings.metrics_sink != "cloudwatch":
            self._outlet = Outlet(lambda: self._make(settings, config), self._errors)
            if settings.metrics_sink == "prometheus":  # the port answers from the start
                self._outlet.take(Window(self._since, self._since, ()), inline=False)

    def _make(self, settings: AgentSettings, config: Config) -> Sink:
        self._made = make_sink(settings, config)
        return self._made

    def _end_sink(self) -> None:
        """End the sink and its thread."""
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.end()
            outlet.join(LAST_S)
        made, self._made = self._made, None
        if isinstance(made, PrometheusSink):
            made.close()

    def emit(self, flows: Iterable[Flow], totals: dict[str, StreamTotals], last: bool = False) -> None:
        """Give the sink a window of what was counted since the last one, if it is free.

        totals: of all producers' streams, by what they were put by. last: wait until the sink has it.
        """
        outlet = self._outlet
        if outlet is None and not self._is_logged:
            return
        if outlet is not None and not outlet.wait_until_free(1.0 if last else 0.0):
            return
        now = time.time()
        samples = tuple(self._samples(flows, totals))
        window, self._since = Window(self._since, now, samples), now
        if self._is_logged:
            _log(samples)
        if outlet is None:
            return
        outlet.take(window, inline=False)
        if last:
            outlet.wait_until_free(LAST_S)

    def _samples(self, flows: Iterable[Flow], totals: dict[str, StreamTotals]) -> Iterator[Sample]:
        by_destination: dict[str, list[Flow]] = {}
        for flow in flows:
            by_destination.setdefault(_destination_of(flow.settings), []).append(flow)
        for destination, own in by_destination.items():
            dimensions = ((DESTINATION, destination),)
            of_streams = [totals[stream] for stream in {flow.stream for flow in own} if stream in totals]
            counted = _Counted(
                sum(of_streams, StreamTotals()),
                sum(flow.counts.parsed for flow in own),
                sum(flow.skipped()[0] for flow in own),
                sum(flow.counts.dropped for flow in own),
            )
            before = self._before.get(destination, _Counted(StreamTotals()))
            self._before[destination] = counted
            yield from _of_calls(before.totals, counted.totals, dimensions)
            files = [each for flow in own for each in flow.tailer.files()]
            yield _one("BytesBehind", "Bytes", dimensions, sum(each.bytes_behind for each in files))
            yield _one("FilesFollowed", "Count", dimensions, len(files))
            yield _one("RecordsParsed", "Count", dimensions, max(0, counted.parsed - before.parsed))
            yield _one("RecordsSkipped", "Count", dimensions, max(0, counted.skipped - before.skipped))
            yield _one("RecordsDropped", "Count", dimensions, max(0, counted.dropped - before.dropped))

    def close(self) -> None:
        self._end_sink()
        self._errors.close()


def _destination_of(flow: FlowSettings) -> str:
    return _PREFIXES[flow.destination] + name_of(flow.stream)


def _of_calls(before: StreamTotals, now: StreamTotals, dimensions: Dimensions) -> Iterator[Sample]:
    """Yield the Agent's metrics of the calls since `before`.

    The number of values is the number of calls. Their minimum and maximum are the average, because calls are not
    counted one by one.
    """
    calls = now.put_records_requests - before.put_records_requests
    if calls <= 0:
        return
    errors = now.entries_throttled + now.entries_failed - before.entries_throttled - before.entries_failed
    counts: tuple[tuple[str, Unit, int], ...] = (
        ("BytesSent", "Bytes", now.kinesis_bytes_put - before.kinesis_bytes_put),
        ("RecordsSent", "Count", now.kinesis_records_put - before.kinesis_records_put),
        ("RecordSendAttempts", "Count", now.kinesis_records_sent - before.kinesis_records_sent),
        ("RecordSendErrors", "Count", errors),
        ("ServiceErrors", "Count", now.requests_failed - before.requests_failed),
    )
    for name, unit, total in counts:
        yield Sample(name, unit, dimensions, calls, float(total), total / calls, total / calls)


def _one(name: str, unit: Unit, dimensions: Dimensions, value: int) -> Sample:
    return Sample(name, unit, dimensions, 1, float(value), float(value), float(value), latest=float(value))


def _log(samples: Iterable[Sample]) -> None:
    """Log the samples, one line for each destination."""
    by_destination: dict[str, list[str]] = {}
    for each in samples:
        by_destination.setdefault(dict(each.dimensions)[DESTINATION], []).append(f"{each.name} {each.total:,.0f}")
    for destination, texts in by_destination.items():
        log(logger, "agent_metrics", {"destination": destination, "metrics": ", ".join(texts)})
