"""The agent as a library, against the local Kinesis: delivery, retries, memory, reloads, the end, and other flows."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kplpy import ConfigError, KplpyError
from kplpy.agent import Agent
from kplpy.agent import flow as flow_module
from kplpy.agent.processing import make_partition_keys
from kplpy.errors import CheckpointError
from kplpy.local import Fault, LocalKinesis
from kplpy.metrics.sample import Window
from tests.integration.reading import read_all, wait_until

PATIENCE = 30.0


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalKinesis]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    with LocalKinesis(streams={"one": 1, "two": 1}, delivery_streams=["archive"], limits=False) as running:
        yield running


class Place:
    """A directory with logs and the agent's state, and the configuration of flows there."""

    def __init__(self, directory: Path, kinesis: LocalKinesis) -> None:
        self.directory = directory
        self.kinesis = kinesis

    def configuration(self, *flows: dict[str, Any], **keys: Any) -> dict[str, Any]:
        common = {"initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 1000}
        return {
            "kinesis.endpoint": self.kinesis.endpoint_url,
            "cloudwatch.emitMetrics": False,
            "checkpointFile": str(self.directory / "checkpoints"),
            "statusSocket": str(self.directory / "socket"),
            "flows": [{**common, **flow} for flow in flows or (self.flow(),)],
            **keys,
        }

    def flow(self, stream: str = "one", **keys: Any) -> dict[str, Any]:
        return {"filePattern": str(self.directory / f"{stream}*.log"), "kinesisStream": stream, **keys}

    def write(self, *lines: str, name: str = "one.log") -> None:
        with (self.directory / name).open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def lines(self, stream: str = "one") -> list[str]:
        return [each.data.decode().rstrip("\n") for each in read_all(self.kinesis, stream)]


@pytest.fixture
def place(tmp_path: Path, kinesis: LocalKinesis) -> Place:
    return Place(tmp_path, kinesis)


def numbers(count: int, first: int = 0) -> list[str]:
    return [f"line {number:06}" for number in range(first, first + count)]


def test_lines_are_sent_as_single_records_while_the_agent_runs(place: Place) -> None:
    place.write(*numbers(3))
    with Agent(place.configuration()) as agent:
        wait_until(lambda: len(place.lines()) == 3, PATIENCE)
        place.write("later")
        wait_until(lambda: len(place.lines()) == 4, PATIENCE)
        states = [agent.is_running]
        (flow,) = agent.status()["flows"]
    states.append(agent.is_running)
    assert states == [True, False]
    assert sorted(place.lines()) == ["later", *numbers(3)]
    assert {each.data[-1:] for each in place.kinesis.ledger("one")} == {b"\n"}  # each is a Kinesis record
    assert flow["flow"] == f"kinesis:one:{place.directory}/one*.log"
    assert [each["path"] for each in flow["by_file"]] == [str(place.directory / "one.log")]


def test_once_delivers_what_is_there_and_the_next_run_only_what_is_new(place: Place) -> None:
    place.write(*numbers(1000))
    place.write("unterminated")
    with (place.directory / "one.log").open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        file.truncate()
    assert Agent(place.configuration()).run_once(PATIENCE)
    assert sorted(place.lines()) == numbers(1000)
    place.write(" no more", "new")
    assert Agent(place.configuration()).run_once(PATIENCE)
    assert Agent(place.configuration()).run_once(PATIENCE)
    assert sorted(place.lines()) == sorted([*numbers(1000), "unterminated no more", "new"])


def test_once_compares_a_large_copy_to_its_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tailer compares some MiB of a copy at a time."""
    monkeypatch.setattr("kplpy.agent.tailing.tailer.COMPARED_BYTES", 1)
    common: dict[str, Any] = {"filePattern": str(place.directory / "one.log*"), "aggregation": True}
    place.write(*("x" * 10_000 for _ in range(20)))
    assert Agent(place.configuration(place.flow(**common))).run_once(PATIENCE)
    (place.directory / "one.log.1").write_bytes((place.directory / "one.log").read_bytes())
    place.write("last")
    assert Agent(place.configuration(place.flow(**common))).run_once(PATIENCE)
    assert len(place.lines()) == 21


def test_aggregated_records_and_compressed_batches_are_read_as_lines(place: Place) -> None:
    place.write(*numbers(2000))
    place.write(*numbers(2000), name="two.log")
    flows = place.flow(aggregation=True), place.flow("two", aggregation=True, compression="gzip")
    assert Agent(place.configuration(*flows)).run_once(PATIENCE)
    for stream in ("one", "two"):
        assert sorted(place.lines(stream)) == numbers(2000)
        assert len(place.kinesis.ledger(stream)) < 20


def test_ordered_flows_keep_the_order_of_each_file_through_failures(place: Place) -> None:
    place.write(*numbers(3000))
    entries = frozenset(range(0, 500, 3))
    place.kinesis.faults.by_seed(3, [(Fault(entry_code="InternalFailure", entries=entries), 0.3)])
    configuration = place.configuration(place.flow(ordered=True, aggregation=True, maxBufferSizeRecords=2))
    assert Agent(configuration).run_once(PATIENCE)
    assert list(dict.fromkeys(place.lines())) == numbers(3000)


def test_what_the_producer_gives_up_is_put_again_with_backoff(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kplpy.core.policy.DENIED_GRACE", 0.2)
    place.write(*numbers(1200))
    place.kinesis.faults.outage(Fault(code="AccessDeniedException"), operation="PutRecords")
    flow = place.flow(maxBufferSizeRecords=100, retryInitialBackoffMillis=50, retryMaxBackoffMillis=100)
    with Agent(place.configuration(flow)) as agent:
        wait_until(lambda: agent.status()["flows"][0]["failed"] >= 2400, PATIENCE)
        assert "AccessDenied" in agent.status()["flows"][0]["last_error"]
        assert place.lines() == []
        place.kinesis.faults.clear()
        wait_until(lambda: len(place.lines()) == 1200, PATIENCE)
    assert sorted(place.lines()) == numbers(1200)


def test_a_stream_that_takes_nothing_bounds_its_memory_and_stops_no_other_flow(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_module, "TOTAL_BYTES", 1 << 20)
    monkeypatch.setattr(flow_module, "LEAST_BYTES", 64 << 10)
    place.write(*numbers(6_000))
    place.kinesis.faults.outage(stream="one", operation="PutRecords")
    place.write(*numbers(6_000), name="two.log")
    with Agent(place.configuration(place.flow(), place.flow("two", aggregation=True))) as agent:
        wait_until(lambda: len(place.lines("two")) == 6_000, PATIENCE)
        status = agent.status()
        assert 0 < status["outstanding_bytes"] <= 1.1 * (1 << 20)
        assert place.lines("one") == []
        agent.stop(0.1)
    place.kinesis.faults.clear()
    assert Agent(place.configuration(place.flow(aggregation=True))).run_once(PATIENCE)
    assert sorted(place.lines("one")) == numbers(6_000)


def test_stopping_in_an_outage_leaves_the_lines_to_the_next_agent(place: Place) -> None:
    place.kinesis.faults.outage(operation="PutRecords")
    place.write(*numbers(10))
    agent = Agent(place.configuration())
    agent.start()
    wait_until(lambda: agent.status()["flows"][0]["outstanding"] == 10, PATIENCE)
    began = time.monotonic()
    assert not agent.stop(0.3)
    assert time.monotonic() - began < 5
    place.kinesis.faults.clear()
    assert Agent(place.configuration()).run_once(PATIENCE)
    assert sorted(place.lines()) == numbers(10)


def test_a_record_that_is_itself_refused_is_dropped_counted_and_shown(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(operation: str, params: Any, now: float) -> Fault | None:
        records = params.get("Records", ())
        if operation == "PutRecords" and any(b"poison" in bytes(each["Data"]) for each in records):
            return Fault(code="InvalidArgumentException")
        return None

    place.kinesis.faults.plan = plan
    place.write(*numbers(5), "poison", *numbers(5, 5))
    with Agent(place.configuration(place.flow(retryInitialBackoffMillis=50))) as agent:
        wait_until(lambda: len(place.lines()) == 10, PATIENCE)
        place.write("after")  # accepted between two refusals of the record, so the record is the cause
        wait_until(lambda: agent.status()["flows"][0]["dropped"] == 1, PATIENCE)
        (flow,) = agent.status()["flows"]
        assert "poison" in flow["dropped_example"]
        wait_until(lambda: len(place.lines()) == 11, PATIENCE)  # the agent may not have seen "after" yet
        wait_until(lambda: agent.status()["flows"][0]["bytes_behind"] == 0, PATIENCE)
    assert sorted(place.lines()) == ["after", *numbers(10)]


def test_an_error_within_one_flow_loses_nothing_and_stops_no_other_flow(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [True]
    made = make_partition_keys

    def make(settings: Any) -> Any:
        keys = made(settings)

        def keys_of(raw: list[bytes], processed: list[bytes]) -> list[str | None]:
            if broken[0] and settings.stream == "one":
                raise RuntimeError("a fault")
            return keys(raw, processed)

        return keys_of

    monkeypatch.setattr(flow_module, "make_partition_keys", make)
    monkeypatch.setattr("kplpy.agent.work.REST_S", 0.2)
    place.write(*numbers(10))
    with Agent(place.configuration(place.flow(), place.flow("two"))) as agent:
        place.write(*numbers(5), name="two.log")
        wait_until(lambda: len(place.lines("two")) == 5, PATIENCE)
        broken[0] = False
        place.write(*numbers(10, 10))
        wait_until(lambda: len(place.lines()) == 20, PATIENCE)
        assert agent.status()["flows"][0]["parsed"] == 20
    assert sorted(place.lines()) == numbers(20)


def test_a_long_line_with_a_key_that_is_no_text_is_sent(place: Place) -> None:
    """A JSON text may hold half of a surrogate pair, which no partition key may."""
    long = '{"key":"\\ud800","more":"' + "x" * 1_048_000 + '"}'
    place.write('{"key":"a"}', long, '{"key":"b"}')
    assert Agent(place.configuration(place.flow(partitionKeyField="key"))).run_once(PATIENCE)
    assert sorted(place.lines()) == sorted(['{"key":"a"}', long, '{"key":"b"}'])


def test_lines_that_a_processor_drops_are_counted_and_do_not_hold_the_position(place: Place) -> None:
    options = [{"optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG"}]
    good = '10.0.0.1 - - [28/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 1'
    place.write("bad 1", good, "bad 2")
    with Agent(place.configuration(place.flow(dataProcessingOptions=options))) as agent:
        wait_until(lambda: agent.status()["flows"][0]["sent"] == 1, PATIENCE)
        wait_until(lambda: agent.status()["flows"][0]["bytes_behind"] == 0, PATIENCE)
        (flow,) = agent.status()["flows"]
    assert (flow["parsed"], flow["skipped"], flow["sent"]) == (3, 2, 1)
    assert "bad 2" in flow["skipped_example"]
    assert json.loads(place.lines()[0])["host"] == "10.0.0.1"


def test_a_line_above_the_limit_is_cut_with_its_terminator(place: Place) -> None:
    place.write("x" * (1 << 20), "short")
    assert Agent(place.configuration(place.flow(truncatedRecordTerminator="…\n"))).run_once(PATIENCE)
    (long,) = (each for each in place.kinesis.ledger("one") if len(each.data) > 100)
    assert len(long.data) + len(long.partition_key or "") == 1 << 20
    assert long.data.endswith("x…\n".encode())
    assert "short" in place.lines()


def test_delivery_streams_get_joined_records(place: Place) -> None:
    place.write(*numbers(20), name="fh.log")
    flow = {
        "filePattern": str(place.directory / "fh.log"),
        "deliveryStream": "archive",
        "aggregatedRecordSizeBytes": 60,
    }
    configuration = place.configuration(flow, **{"firehose.endpoint": place.kinesis.endpoint_url})
    assert Agent(configuration).run_once(PATIENCE)
    records = [each.data for each in place.kinesis.firehose_ledger("archive")]
    assert b"".join(records).decode().split("\n")[:-1] == numbers(20)
    assert [len(each) for each in records] == [60] * 4  # five lines of 12 bytes each


def test_a_new_configuration_adds_removes_and_changes_flows(place: Place) -> None:
    place.write(*numbers(3))
    place.write(*numbers(3), name="two.log")
    with Agent(place.configuration(place.flow())) as agent:
        wait_until(lambda: len(place.lines()) == 3, PATIENCE)
        agent.reload(place.configuration(place.flow(aggregation=True), place.flow("two")))
        wait_until(lambda: len(place.lines("two")) == 3, PATIENCE)
        place.write(*numbers(3, 3))
        wait_until(lambda: len(place.lines()) == 6, PATIENCE)
        with pytest.raises(ConfigError, match="maxBufferAgeMillis"):
            agent.reload(place.configuration(place.flow(maxBufferAgeMillis=5)))
        assert len(agent.status()["flows"]) == 2
        agent.reload(place.configuration(place.flow("two")))
        place.write("not followed any more")
        place.write("followed", name="two.log")
        wait_until(lambda: len(place.lines("two")) == 4, PATIENCE)
        agent.reload(place.configuration(place.flow(), place.flow("two", multiLineStartPattern="line")))
        wait_until(lambda: len(place.lines()) == 7, PATIENCE)
    assert sorted(place.lines()) == [*numbers(6), "not followed any more"]
    assert sorted(place.lines("two")) == ["followed", *numbers(3)]


def test_a_reload_in_an_outage_sends_each_line_once(place: Place) -> None:
    place.kinesis.faults.outage(operation="PutRecords")
    place.write(*numbers(100))
    with Agent(place.configuration(place.flow(), shutdownTimeoutMillis=1000)) as agent:
        wait_until(lambda: agent.status()["flows"][0]["outstanding"] == 100, PATIENCE)
        agent.reload(place.configuration(place.flow(aggregation=True), shutdownTimeoutMillis=1000))
        place.write(*numbers(100, 100))
        wait_until(lambda: agent.status()["flows"][0]["failed"] > 0, PATIENCE)
        place.kinesis.faults.clear()
        wait_until(lambda: len(place.lines()) >= 200, PATIENCE)
    assert sorted(place.lines()) == numbers(200)


def test_a_reload_that_reads_in_another_way_waits_for_what_is_outstanding(place: Place) -> None:
    """The flow begins again behind what was accepted: in an outage too, and however often the configuration changes."""
    place.kinesis.faults.outage(operation="PutRecords")
    place.write(*numbers(100))
    with Agent(place.configuration(shutdownTimeoutMillis=1000)) as agent:
        wait_until(lambda: agent.status()["flows"][0]["outstanding"] == 100, PATIENCE)
        agent.reload(place.configuration(place.flow("two"), shutdownTimeoutMillis=60_000))
        for poll in (110, 120):
            agent.reload(place.configuration(place.flow(minTimeBetweenFilePollsMillis=poll), place.flow("two")))
        place.write(*numbers(100, 100))
        place.write("goes on meanwhile", name="two.log")
        place.kinesis.faults.clear()
        wait_until(lambda: len(place.lines()) >= 200 and place.lines("two") != [], PATIENCE)
        polls = {flow.stream: flow.min_time_between_file_polls_ms for flow in agent.settings.flows}
    assert polls["one"] == 120
    assert sorted(place.lines()) == numbers(200)


def test_flows_to_one_stream_must_agree(place: Place) -> None:
    other = {"filePattern": str(place.directory / "other.log"), "kinesisStream": "one", "aggregation": True}
    with pytest.raises(ConfigError, match="aggregation"):
        Agent(place.configuration(place.flow(), other))


def test_a_second_agent_with_the_same_checkpoints_is_refused(place: Place) -> None:
    with Agent(place.configuration()), pytest.raises(CheckpointError, match="another agent"):
        Agent(place.configuration()).start()


def test_an_agent_that_does_not_run_says_so(place: Place) -> None:
    agent = Agent(place.configuration())
    with pytest.raises(KplpyError, match="not running"):
        agent.status()
    agent.start()
    with pytest.raises(KplpyError, match="already"):
        agent.start()
    agent.stop()


class Windows(list[Window]):
    def emit(self, window: Window) -> None:
        self.append(window)


def test_metrics_have_the_agents_names_and_add_up(place: Place) -> None:
    windows = Windows()
    place.write(*numbers(700))
    place.kinesis.faults.fail_entries("InternalFailure", times=1, stream="one")
    with Agent(place.configuration(), metrics_sink=windows):
        wait_until(lambda: len(place.lines()) == 700, PATIENCE)
    totals: dict[tuple[str, str], float] = {}
    for window in windows:
        for sample in window.samples:
            (destination,) = (value for name, value in sample.dimensions if name == "Destination")
            totals[sample.name, destination] = totals.get((sample.name, destination), 0) + sample.total
    of_one = {name: value for (name, destination), value in totals.items() if destination == "KinesisStream:one"}
    assert of_one["RecordsSent"] == of_one["RecordsParsed"] == 700
    assert of_one["RecordSendAttempts"] == 700 + of_one["RecordSendErrors"]
    assert of_one["RecordSendErrors"] > 0
    keys = sum(len(each.partition_key or "") for each in place.kinesis.ledger("one"))
    assert of_one["BytesSent"] == sum(len(each.data) for each in place.kinesis.ledger("one")) + keys
    assert of_one["ServiceErrors"] == of_one["RecordsSkipped"] == of_one["RecordsDropped"] == 0
    assert windows[-1].samples[-5].name == "BytesBehind"


def test_nothing_is_left_behind_after_the_end(place: Place) -> None:
    place.write(*numbers(10))
    agent = Agent(place.configuration())
    agent.start()
    wait_until(lambda: len(place.lines()) == 10, PATIENCE)
    agent.stop()
    gc.collect()
    assert not (place.directory / f"socket.{os.getpid()}").exists()
    open_files = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if _exists(each)]
    assert not [each for each in open_files if str(place.directory) in each]


def _exists(descriptor: str) -> bool:
    return os.path.exists(f"/proc/self/fd/{descriptor}")
