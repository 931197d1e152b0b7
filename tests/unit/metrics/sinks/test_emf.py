"""Tests the embedded metric format: it is the default on Lambda, probes nothing, and notices dropped events."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_embedded_metrics.config import get_config
from aws_embedded_metrics.environment import environment_detector

from kplpy import Producer
from kplpy.metrics.sample import Dimensions, Sample, Window
from kplpy.metrics.sinks.emf import EmfSink
from tests.stub_service import install

# aws-embedded-metrics leaves its TCP sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored (in.|while finalizing socket) <socket.socket")

STREAM: Dimensions = (("StreamName", "orders"),)


def sample(name: str, unit: Any, dimensions: Dimensions, *values: float) -> Sample:
    return Sample(name, unit, dimensions, len(values), sum(values), min(values), max(values))


NOW = int(time.time())  # CloudWatch takes no metrics that are two weeks old
WINDOW = Window(
    NOW - 60.0,
    NOW + 0.0,
    (
        sample("UserRecordsPut", "Count", (), 1, 1, 0),
        sample("UserRecordsPut", "Count", STREAM, 1, 1, 0),
        sample("BufferingTime", "Milliseconds", STREAM, 80, 120),
    ),
)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Refuse all connections. Return the list of their addresses."""
    tried = []

    def refuse(_: socket.socket, address: Any) -> None:
        tried.append(address)
        raise ConnectionRefusedError(address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    # Forget the environment that an earlier test may have found.
    monkeypatch.setattr(environment_detector.EnvironmentCache, "environment", None)
    return tried


@pytest.fixture
def agent_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def at(url: str) -> None:
        monkeypatch.setenv("AWS_EMF_AGENT_ENDPOINT", url)
        monkeypatch.setattr(get_config(), "agent_endpoint", url)  # the library reads it once, when it is imported

    yield at
    gc.collect()


def test_it_is_the_sink_on_lambda_and_nothing_is_probed_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], connections: list[Any]
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "ingest")
    install(monkeypatch)
    with Producer(region_name="us-east-1") as producer:
        producer.put_record("orders", b"x" * 10, "k").result(30)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (event,) = [each for each in events if each.get("StreamName") == "orders"]
    assert event["UserRecordsPut"] == 1
    assert "functionVersion" in event  # the library adds it on Lambda
    assert connections == []


def test_outside_lambda_nothing_is_probed_for_either(
    capsys: pytest.CaptureFixture[str], connections: list[Any]
) -> None:
    EmfSink("Mine").emit(WINDOW)
    assert [json.loads(line)["UserRecordsPut"] for line in capsys.readouterr().out.splitlines()] == [2, 2]
    assert connections == []
    asyncio.run(environment_detector.resolve_environment())  # what the library does without kplpy
    assert connections[0][0] == "169.254.169.254"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_an_agent_gets_an_event_for_each_set_of_dimensions(agent_at: Callable[[str], None], protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as agent:
        agent.settimeout(30)
        agent.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            agent.listen()
        agent_at(f"{protocol}://127.0.0.1:{agent.getsockname()[1]}")
        EmfSink("Mine").emit(WINDOW)
        if protocol == "tcp":
            connection, _ = agent.accept()
            with connection, connection.makefile() as lines:
                connection.settimeout(30)
                events = [json.loads(lines.readline()) for _ in range(2)]
        else:
            events = [json.loads(agent.recv(1 << 16)) for _ in range(2)]
    everything, orders = events
    assert everything["UserRecordsPut"] == 2
    assert "StreamName" not in everything
    names = ("StreamName", "UserRecordsPut", "BufferingTime", "BufferingTimeMax")
    assert [orders[name] for name in names] == ["orders", 2, 200, 120]
    (directive,) = orders["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("Mine", [["StreamName"]])
    assert orders["_aws"]["Timestamp"] == NOW * 1000


def unused_port() -> int:
    """Return a port without a listener."""
    with socket.socket() as agent:
        agent.bind(("127.0.0.1", 0))
        port: int = agent.getsockname()[1]
        return port


def test_events_that_the_agent_did_not_take_are_counted(agent_at: Callable[[str], None]) -> None:
    agent_at(f"tcp://127.0.0.1:{unused_port()}")
    sink = EmfSink("Mine")
    for _ in range(2):
        with pytest.raises(ConnectionError, match=r"2 of 2 EMF events were dropped: Failed to .*refused"):
            sink.emit(WINDOW)


def test_a_missing_agent_is_logged_once_and_costs_no_record(
    agent_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent_at(f"tcp://127.0.0.1:{unused_port()}")
    install(monkeypatch)
    with caplog.at_level(logging.ERROR, "kplpy"):
        with Producer(region_name="us-east-1", metrics_sink="emf") as producer:
            producer.put_record("orders", b"x", "k").result(30)
        assert producer.metrics()["orders"].user_records_put == 1
    (logged,) = caplog.records  # none of aws-embedded-metrics
    assert logged.getMessage().startswith("1 times metrics were not taken, which does not affect records; the latest: ")
    assert "2 of 2 EMF events were dropped" in logged.getMessage()
    assert logged.exc_info is None
