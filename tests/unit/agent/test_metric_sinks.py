"""The agent's metrics in EMF, Prometheus and OpenTelemetry, and the keys that choose them."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry import metrics as otel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from kplpy import Config, ConfigError, StreamTotals
from kplpy.agent.configuration import from_mapping
from kplpy.agent.flow import Flow
from kplpy.agent.metric_sinks import METRICS
from kplpy.agent.metrics import AgentMetrics
from kplpy.agent.settings import AgentSettings
from tests.unit.agent.test_metrics import FLOW, TOTALS, FakeFlow

DESTINATION = "KinesisStream:orders"
EXPECTED = {
    "BytesSent": 900,
    "RecordsSent": 90,
    "RecordSendAttempts": 100,
    "RecordSendErrors": 10,
    "ServiceErrors": 1,
    "BytesBehind": 90,
    "FilesFollowed": 2,
    "RecordsParsed": 3,
    "RecordsSkipped": 2,
    "RecordsDropped": 1,
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def made(**settings: Any) -> AgentMetrics:
    return AgentMetrics(AgentSettings((FLOW,), **settings), Config(region_name="eu-west-1"), None)


def emit(metrics: AgentMetrics, totals: StreamTotals = TOTALS) -> None:
    metrics.emit([cast(Flow, FakeFlow(FLOW))], {FLOW.stream: totals}, last=True)


def scrape(port: int) -> dict[str, float]:
    """Return the values by name, without the times at which counters were made."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    values = {}
    for line in lines:
        if line.startswith("kplpy") and "_created" not in line:
            name, value = line.rsplit(" ", 1)
            values[name] = float(value)
    return values


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    yield port
    socket.create_server(("127.0.0.1", port)).close()  # close() freed it


def test_prometheus_reads_the_metrics_from_the_port(port: int) -> None:
    metrics = made(metrics_sink="prometheus", prometheus_address=f"127.0.0.1:{port}", emit_metrics=False)
    try:
        emit(metrics)
        emit(metrics, TOTALS + TOTALS)
        found = scrape(port)
    finally:
        metrics.close()
    twice = {"BytesSent", "RecordsSent", "RecordSendAttempts", "RecordSendErrors", "ServiceErrors"}
    for name, value in EXPECTED.items():
        suffix = "_total" if METRICS[name].kind == "counter" else ""
        label = f'{METRICS[name].prometheus}{suffix}{{destination="{DESTINATION}"}}'
        assert found.pop(label) == (2 * value if name in twice else value)
    assert not found


def test_the_port_answers_before_the_first_window(port: int) -> None:
    metrics = made(metrics_sink="prometheus", prometheus_address=f"127.0.0.1:{port}")
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                assert scrape(port) == {}
                break
            except OSError:
                time.sleep(0.05)
        else:
            pytest.fail("the port does not answer")
    finally:
        metrics.close()


def test_a_taken_port_is_logged_and_tried_again(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", port)):
        metrics = made(metrics_sink="prometheus", prometheus_address=f"127.0.0.1:{port}")
        emit(metrics)
    try:
        assert "Address already in use" in caplog.text
        emit(metrics, TOTALS + TOTALS)
        assert scrape(port)[f'kplpy_agent_records_sent_total{{destination="{DESTINATION}"}}'] == 90
    finally:
        metrics.close()


def test_emf_writes_one_event_for_a_destination(capfd: pytest.CaptureFixture[str]) -> None:
    metrics = made(metrics_sink="emf", metrics_namespace="Logs")
    emit(metrics)
    metrics.close()
    (event,) = map(json.loads, capfd.readouterr().out.splitlines())
    (directive,) = event["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("Logs", [["Destination"]])
    assert event["Destination"] == DESTINATION
    assert {each["Name"]: event[each["Name"]] for each in directive["Metrics"]} == EXPECTED


def test_opentelemetry_gets_counters_and_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(otel, "get_meter", provider.get_meter)
    metrics = made(metrics_sink="opentelemetry")
    emit(metrics)
    metrics.close()
    data = cast(Any, reader.get_metrics_data())
    (scope,) = data.resource_metrics[0].scope_metrics
    found = {}
    for each in scope.metrics:
        (point,) = each.data.data_points
        assert point.attributes == {"messaging.system": "aws.kinesis", "messaging.destination.name": "orders"}
        found[each.name] = (point.value, each.unit)
    expected = {METRICS[name].opentelemetry: (value, METRICS[name].unit) for name, value in EXPECTED.items()}
    assert found == expected
    provider.shutdown()


@pytest.mark.parametrize("sink", ["prometheus", "opentelemetry"])
def test_a_missing_package_is_an_error_at_once(sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kplpy.agent.metric_sinks.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"metricsSink '{sink}' needs \w+: pip install 'kplpy\[{sink}\]'"):
        made(metrics_sink=sink)


FLOWS = {"flows": [{"filePattern": "/var/log/app.log", "kinesisStream": "orders"}]}


def test_the_keys() -> None:
    settings = from_mapping({**FLOWS, "metricsSink": "prometheus", "prometheusAddress": "[::1]:9100"})
    assert (settings.metrics_sink, settings.prometheus_address) == ("prometheus", "[::1]:9100")
    assert from_mapping(FLOWS).metrics_sink == "cloudwatch"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("metricsSink", "statsd"),
        ("prometheusAddress", "9464"),
        ("prometheusAddress", "localhost:0"),
        ("prometheusAddress", "localhost:65536"),
        ("prometheusAddress", "::1:9464"),
    ],
)
def test_wrong_values_are_errors(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        from_mapping({**FLOWS, key: value})


def test_the_page_names_each_metric() -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    for each in METRICS.values():
        suffix = "_total" if each.kind == "counter" else ""
        row = rf"\| `{each.name}` \| \w+ \| `{each.prometheus}{suffix}` \| `{re.escape(each.opentelemetry)}` \|"
        assert re.search(row, page), each.name
