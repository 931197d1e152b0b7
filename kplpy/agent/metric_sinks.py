"""Where the agent's metrics go: CloudWatch, EMF, Prometheus or OpenTelemetry."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from kplpy.agent.processing.instance_metadata import InstanceMetadata
from kplpy.errors import ConfigError
from kplpy.metrics.sample import Sample, Sink, Window

if TYPE_CHECKING:
    from kplpy import Config
    from kplpy.agent.settings import AgentSettings

DESTINATION, INSTANCE = "Destination", "InstanceId"
_NEEDS = {"prometheus": "prometheus_client", "opentelemetry": "opentelemetry"}
_SYSTEMS = {"KinesisStream": "aws.kinesis", "DeliveryStream": "aws.firehose"}


@dataclass(frozen=True, slots=True)
class AgentMetric:
    """One metric of the agent, and its names in Prometheus and OpenTelemetry.

    unit: of OpenTelemetry, in UCUM.
    """

    name: str
    kind: Literal["counter", "gauge"]
    prometheus: str
    opentelemetry: str
    unit: str
    meaning: str


METRICS = {
    each.name: each
    for each in (
        AgentMetric(
            *("BytesSent", "counter", "kplpy_agent_sent_bytes", "kplpy.agent.sent.bytes", "By"),
            "data and partition keys that were delivered",
        ),
        AgentMetric(
            *("RecordsSent", "counter", "kplpy_agent_records_sent", "kplpy.agent.records.sent", "{record}"),
            "records that were delivered",
        ),
        AgentMetric(
            *("RecordSendAttempts", "counter", "kplpy_agent_record_send_attempts"),
            *("kplpy.agent.record.send_attempts", "{record}", "records in requests"),
        ),
        AgentMetric(
            *("RecordSendErrors", "counter", "kplpy_agent_record_send_errors"),
            *("kplpy.agent.record.send_errors", "{record}", "records that a request did not deliver, one by one"),
        ),
        AgentMetric(
            *("ServiceErrors", "counter", "kplpy_agent_service_errors", "kplpy.agent.service.errors", "{request}"),
            "requests that failed as a whole",
        ),
        AgentMetric(
            *("BytesBehind", "gauge", "kplpy_agent_behind_bytes", "kplpy.agent.behind.bytes", "By"),
            "bytes of the files that are not accepted yet",
        ),
        AgentMetric(
            *("FilesFollowed", "gauge", "kplpy_agent_files_followed", "kplpy.agent.files.followed", "{file}"),
            "files that are read",
        ),
        AgentMetric(
            *("RecordsParsed", "counter", "kplpy_agent_records_parsed", "kplpy.agent.records.parsed", "{record}"),
            "records read from the files",
        ),
        AgentMetric(
            *("RecordsSkipped", "counter", "kplpy_agent_records_skipped", "kplpy.agent.records.skipped", "{record}"),
            "records that a processor dropped",
        ),
        AgentMetric(
            *("RecordsDropped", "counter", "kplpy_agent_records_dropped", "kplpy.agent.records.dropped", "{record}"),
            "records given up, because the service refuses them",
        ),
    )
}


def check_sink(settings: AgentSettings) -> None:
    """Raise ConfigError if the package of the configured sink is missing."""
    needs = _NEEDS.get(settings.metrics_sink)
    if needs is not None and find_spec(needs) is None:
        raise ConfigError(
            f"metricsSink {settings.metrics_sink!r} needs {needs}: pip install 'kplpy[{settings.metrics_sink}]'"
        )


def make_sink(settings: AgentSettings, config: Config) -> Sink:
    """Return the configured sink. Called on the sink's thread."""
    if settings.metrics_sink == "prometheus":
        return PrometheusSink(settings.prometheus_address)
    if settings.metrics_sink == "opentelemetry":
        return OpenTelemetrySink()
    sink: Sink
    if settings.metrics_sink == "emf":
        from kplpy.metrics.sinks.emf import EmfSink

        sink = EmfSink(settings.metrics_namespace)
    else:
        sink = _cloudwatch(settings, config)
    return _OfInstance(sink) if settings.tag_instance else sink


def _cloudwatch(settings: AgentSettings, config: Config) -> Sink:
    """Return the sink of PutMetricData."""
    from kplpy.aws.cloudwatch import CloudWatch
    from kplpy.metrics.sinks.cloudwatch import PutMetricDataSink

    config = replace(
        config,
        cloudwatch_endpoint_url=settings.cloudwatch_endpoint,
        metrics_namespace=settings.metrics_namespace,
        streams=None,
    )
    return PutMetricDataSink(CloudWatch(config).put_metric_data)


class _OfInstance:
    """Adds the dimension InstanceId: the EC2 instance's, or the host's name outside EC2."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        fields = InstanceMetadata(read_tags=lambda region, instance: {}).fields()
        self._added = ((INSTANCE, str(fields.get("instanceId") or socket.gethostname())),)

    def emit(self, window: Window) -> None:
        samples = tuple(replace(each, dimensions=each.dimensions + self._added) for each in window.samples)
        self._sink.emit(replace(window, samples=samples))


class PrometheusSink:
    """Serves the metrics at http://<address>/metrics, in a registry of its own, until close().

    address: host and port. OSError: the port is taken.
    """

    def __init__(self, address: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

        registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        for each in METRICS.values():
            if each.kind == "counter":
                self._counters[each.name] = Counter(each.prometheus, each.meaning, ("destination",), registry=registry)
            else:
                self._gauges[each.name] = Gauge(each.prometheus, each.meaning, ("destination",), registry=registry)
        host, _, port = address.rpartition(":")
        self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)

    def emit(self, window: Window) -> None:
        """Add the window."""
        for each in window.samples:
            destination = _destination_of(each)
            if each.name in self._counters:
                self._counters[each.name].labels(destination).inc(each.total)
            else:
                self._gauges[each.name].labels(destination).set(each.latest)

    def close(self) -> None:
        """Free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class OpenTelemetrySink:
    """Adds windows to instruments of the global MeterProvider, which the process's set-up brings."""

    def __init__(self) -> None:
        from opentelemetry import metrics

        meter = metrics.get_meter("kplpy")
        counters = [each for each in METRICS.values() if each.kind == "counter"]
        gauges = [each for each in METRICS.values() if each.kind == "gauge"]
        self._counters = {
            each.name: meter.create_counter(each.opentelemetry, each.unit, each.meaning) for each in counters
        }
        self._gauges = {each.name: meter.create_gauge(each.opentelemetry, each.unit, each.meaning) for each in gauges}

    def emit(self, window: Window) -> None:
        """Add the window."""
        for each in window.samples:
            kind, _, name = _destination_of(each).partition(":")
            attributes = {"messaging.system": _SYSTEMS[kind], "messaging.destination.name": name}
            if each.name in self._counters:
                self._counters[each.name].add(each.total, attributes)
            else:
                self._gauges[each.name].set(each.latest, attributes)


def _destination_of(sample: Sample) -> str:
    return dict(sample.dimensions)[DESTINATION]
