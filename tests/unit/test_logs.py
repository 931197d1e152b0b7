"""All that kplpy logs follows one schema. conftest.py checks each log record of every test."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kplpy import Config, Producer
from kplpy.core.results.retry_policy import THROTTLED
from kplpy.local import LocalKinesis
from kplpy.logs import EVENTS, log
from tests.log_events import breach

ROOT = Path(__file__).parents[2]
METHODS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log"}
NAMED_BY = {"log": 1, "RateLimitedLog": 1, "Notice": 0}
"""The functions that take an event's name, and the position of that argument."""


def calls() -> Iterator[tuple[str, ast.Call]]:
    for file in sorted((ROOT / "kplpy").rglob("*.py")):
        if file.name != "logs.py":
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def is_logging(call: ast.Call) -> bool:
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr not in METHODS:
        return False
    return "log" in ast.unparse(function.value).lower()


def test_nothing_logs_without_the_table() -> None:
    assert [where for where, call in calls() if is_logging(call)] == []


def test_the_events_in_the_code_and_in_the_table_are_the_same() -> None:
    named = set()
    for where, call in calls():
        if isinstance(call.func, ast.Name) and call.func.id in NAMED_BY and len(call.args) > NAMED_BY[call.func.id]:
            names = [
                each.value for each in ast.walk(call.args[NAMED_BY[call.func.id]]) if isinstance(each, ast.Constant)
            ]
            for name in names:
                assert name in EVENTS, f"{where}: {name!r} is no event"
                named.add(name)
                if call.func.id == "RateLimitedLog":
                    assert {"count", "stream"} & set(EVENTS[name].fields), where
    assert named == set(EVENTS)


def test_the_page_has_the_same_table() -> None:
    page = (ROOT / "docs/logging.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", page, re.MULTILINE)
    expected = [
        (name, logging.getLevelName(event.level), re.sub(r"%\((\w+)\)\w", r"`\1`", event.message))
        for name, event in EVENTS.items()
    ]
    assert rows == expected


def test_a_breach_of_the_schema_is_found(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("kplpy.test")
    log(logger, "closed_with_undelivered", {"records": 1, "seconds": 2.0})
    log(logger, "closed_with_undelivered", {"records": 1, "seconds": 2.0, "more": 1})
    logger.error("by itself")
    good, more, bare = caplog.records
    assert breach(good) is None
    assert "more" in (breach(more) or "")
    assert "without an event" in (breach(bare) or "")


def test_throttling_failed_requests_and_undelivered_records_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    properties = tmp_path / "kpl.properties"
    properties.write_text("RecordTtl = 20000\nTempDirectory = /tmp\n")
    with caplog.at_level(logging.INFO, "kplpy"), LocalKinesis(stream="orders") as kinesis:
        Config.from_properties(properties)
        producer = Producer(endpoint_url=kinesis.endpoint_url, close_timeout_ms=0, record_max_buffered_time_ms=0)
        kinesis.faults.fail("InternalFailure", status=500)
        producer.put_record("orders", b"x", "k").result(60)
        kinesis.faults.fail_entries(THROTTLED)
        producer.put_record("orders", b"x", "k").result(60)
        kinesis.faults.delay(5.0)
        producer.put_record("orders", b"x", "k")
        producer.close()
    logged = {each.kplpy["event"]: each.kplpy for each in caplog.records if hasattr(each, "kplpy")}
    assert logged["properties_ignored"]["keys"] == "TempDirectory"
    assert logged["requests_failed"]["stream"] == "orders"
    assert logged["records_throttled"]["count"] == 1
    assert logged["closed_with_undelivered"] == {"event": "closed_with_undelivered", "records": 1, "seconds": 0.0}
    assert logged["closed_with_unseen_failures"]["codes"] == {"Closed": 1}
