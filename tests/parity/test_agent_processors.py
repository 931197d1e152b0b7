"""Records that the Kinesis Agent 2.0.13 (Java 17) sent for 48 flows equal those of kplpy's processors.

agent-processors.jsonl holds a flow's keys, the file, and the records that a local Kinesis got. The file is read by the
tailer here too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kplpy.agent.processing import cut, make_partition_keys, make_process
from kplpy.agent.settings import FlowSettings
from kplpy.agent.tailing import Checkpoints, Descriptors, FlowTailer
from kplpy.errors import ConfigError

MIB = 1 << 20
FLOWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in Path(__file__).with_name("agent-processors.jsonl").read_text(encoding="utf-8").splitlines()
]
LONG = {"long-line", "truncated-terminator"}
REFUSED = {"unknown-option", "csv-no-names", "log-bad-format", "log-bad-pattern"}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoints]:
    made = Checkpoints(str(tmp_path_factory.mktemp("checkpoints") / "checkpoints.db"), None, 7)
    yield made
    made.close()


def data_of(value: str | dict[str, Any]) -> bytes:
    """Return the bytes of an input or a record. "tail" holds its last 20 characters, "repeat" how it begins."""
    if isinstance(value, str):
        return value.encode()
    if "base64" in value:
        return base64.b64decode(value["base64"])
    character, count = value["repeat"]
    text: str = character * count + value["tail"].lstrip(character)
    return text.encode()


def settings_of(flow: dict[str, Any], path: str = "/var/log/app.log") -> FlowSettings:
    keys = flow["flow"]
    options = keys.get("dataProcessingOptions", [])
    return FlowSettings(
        id=f"kinesis:logs:{path}",
        file_pattern=path,
        destination="kinesis",
        stream="logs",
        initial_position="START_OF_FILE",
        partition_key_option=keys.get("partitionKeyOption", "RANDOM"),
        multi_line_start_pattern=keys.get("multiLineStartPattern"),
        skip_header_lines=int(keys.get("skipHeaderLines", 0)),
        file_footer_pattern=keys.get("fileFooterPattern"),
        # one object instead of a list is no option in the Agent
        processing=tuple(options) if isinstance(options, list) else (),
    )


def read_all(tailer: FlowTailer) -> list[bytes]:
    records: list[bytes] = []
    for _ in range(100):  # a long line is read in several parts
        chunk = tailer.read(1 << 20)
        records += [] if chunk is None else chunk.records
        if chunk is None and tailer.at_end():
            return records
    raise AssertionError("the file has no end")


def records_of(flow: dict[str, Any], directory: Path, checkpoints: Checkpoints) -> list[bytes]:
    """Return the records of the flow's file, before they are processed."""
    file = directory / "app.log"
    file.write_bytes(data_of(flow["input"]))
    tailer = FlowTailer(settings_of(flow, str(file)), checkpoints, Descriptors(10))
    try:
        tailer.poll(time.time())
        records = read_all(tailer)
        tailer.finish()
        return records + read_all(tailer)
    finally:
        tailer.close()


def test_there_are_48_flows() -> None:
    assert len(FLOWS) == 48
    assert {flow["name"] for flow in FLOWS if flow["refused_at_start"]} == REFUSED


@pytest.mark.parametrize("flow", FLOWS, ids=[flow["name"] for flow in FLOWS])
def test_the_records_of_the_agent(flow: dict[str, Any], tmp_path: Path, checkpoints: Checkpoints) -> None:
    if flow["refused_at_start"]:
        with pytest.raises(ConfigError, match="dataProcessingOptions\\[0\\]"):
            make_process(settings_of(flow))
        return
    process = make_process(settings_of(flow))
    assert (process is None) == (not settings_of(flow).processing)
    read = records_of(flow, tmp_path, checkpoints)
    processed = read if process is None else [result for record in read if (result := process(record)) is not None]
    expected = [data_of(record) for record in flow["records"]]
    if flow["name"] in LONG:
        terminator = flow["flow"].get("truncatedRecordTerminator", "\n").encode()
        key_length = MIB - len(expected[0])
        assert 12 <= key_length <= 20  # the Agent's key is a decimal fraction
        processed = [cut(record, MIB - key_length, terminator) for record in processed]
    if flow["name"] == "addmetadata-ts":
        assert re.fullmatch(rb'\{"ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","metadata":.*\}\n', processed[0])
        processed = [re.sub(rb'"ts":"[^"]*"', b'"ts":"<yyyy-MM-ddTHH:mm:ss.SSSZ>"', processed[0])]
    assert processed == expected
    if process is not None:
        assert (process.transformed, process.dropped, process.failed) == (len(expected), len(read) - len(expected), 0)


@pytest.mark.parametrize("name", ["raw-deterministic", "partition-random"])
def test_the_partition_keys(name: str, tmp_path: Path, checkpoints: Checkpoints) -> None:
    flow = next(flow for flow in FLOWS if flow["name"] == name)
    records = records_of(flow, tmp_path, checkpoints)
    keys = make_partition_keys(settings_of(flow))(records, records)
    assert len(keys) == len(flow["keys"])
    if name == "partition-random":
        assert re.fullmatch(r"\d{1,6}\.\d+(e-\d+)?", str(keys[0]))
        assert 0 <= float(str(keys[0])) < 1e6
    else:  # The Agent hashes the whole buffer, so that all its records have one key. kplpy hashes the record.
        assert keys == [hashlib.md5(record).hexdigest() for record in records]
        assert keys[0] == keys[2] != keys[1]
        assert keys[0] not in flow["keys"]
