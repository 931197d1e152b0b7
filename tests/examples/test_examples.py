"""The examples that need nothing but kplpy: each does what its docstring says, against the local Kinesis."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kplpy import FlushTimeoutError
from kplpy.local import Fault, LocalKinesis
from tests.examples.helpers import EXAMPLES, ROOT, imported, started
from tests.integration.reading import read_all
from tests.local_stream import PATIENCE, contents

pytestmark = pytest.mark.kinesis(stream="orders", limits=False)


class Context:
    """What Lambda hands to a handler."""

    def __init__(self, seconds: float) -> None:
        self._milliseconds = int(seconds * 1000)

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


def sqs_event(**bodies: str) -> dict[str, object]:
    return {"Records": [{"messageId": name, "body": body} for name, body in bodies.items()]}


def test_each_example_is_in_the_list() -> None:
    text = (EXAMPLES / "README.md").read_text()
    assert [each.name for each in sorted(EXAMPLES.glob("*.py")) if f"({each.name})" not in text] == []


def test_lambda_delivers_before_it_returns(kinesis: LocalKinesis) -> None:
    with imported("lambda_handler", kinesis) as example:
        assert example.handler({"body": "first", "id": "1"}, Context(PATIENCE)) == {"statusCode": 202}
        assert [(each.data, each.partition_key) for each in read_all(kinesis, "orders")] == [(b"first", "1")]


def test_lambda_fails_when_its_time_runs_out(kinesis: LocalKinesis) -> None:
    with imported("lambda_handler", kinesis) as example:
        kinesis.faults.outage()
        with pytest.raises(FlushTimeoutError):
            example.handler({"body": "first", "id": "1"}, Context(0.6))
        kinesis.faults.clear()
    assert contents(kinesis) == {b"first": 1}  # it stayed buffered, and closing delivered it


def test_lambda_names_the_messages_that_were_not_delivered(kinesis: LocalKinesis) -> None:
    with imported("lambda_handler", kinesis) as example:
        too_large = "x" * (2 << 20)
        answer = example.sqs_handler(sqs_event(one="1", two=too_large, three="3"), Context(PATIENCE))
        assert answer == {"batchItemFailures": [{"itemIdentifier": "two"}]}
        assert contents(kinesis) == {b"1": 1, b"3": 1}
        assert example.sqs_handler(sqs_event(four="4"), Context(PATIENCE)) == {"batchItemFailures": []}
        kinesis.faults.outage(Fault(code="ServiceUnavailable", status=503))
        answer = example.sqs_handler(sqs_event(five="5"), Context(1.2))
        assert answer == {"batchItemFailures": [{"itemIdentifier": "five"}]}
        kinesis.faults.clear()


@pytest.mark.kinesis(stream="logs")
def test_log_records_arrive_as_json(kinesis: LocalKinesis) -> None:
    with started([EXAMPLES / "logging_config.py"], kinesis, "logs") as program:
        _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, errors
    assert "ERROR shop: order 8 has no price" in errors
    assert "order 7" not in errors
    records = read_all(kinesis, "logs")
    assert {each.partition_key for each in records} == {"shop"}
    assert all(each.data.endswith(b"}\n") for each in records)
    first, second = sorted((json.loads(each.data) for each in records), key=lambda each: str(each["time"]))
    assert first.pop("time").endswith("+00:00")
    assert first == {"level": "INFO", "logger": "shop", "message": "order 7 taken", "customer": "c-42"}
    assert (second["level"], second["message"]) == ("ERROR", "order 8 has no price")
    assert second["traceback"].endswith("KeyError: 'pen'")


def test_the_tests_of_the_example_pass_outside_of_this_suite() -> None:
    """The application's five tests, run as its docstring says, without this project's settings of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    command += ["-W", "error", "examples/test_orders.py"]
    without_aws = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))}
    run = subprocess.run(command, cwd=ROOT, env=without_aws, timeout=100, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert "5 passed" in run.stdout
