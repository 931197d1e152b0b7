"""Tools that trace or replace botocore's calls see PutRecords, also if they are switched on after the first request.

Needs the dependency group `frameworks` (requirements/frameworks.lock). moto's test needs the group `dev` alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.frameworks import needed
from tests.local_stream import local

ROOT = Path(__file__).parents[2]

# Each tool has a process of its own, because it replaces methods of botocore in the whole process.
PROGRAM = """
import json, sys, pytest
from kplpy import Producer
from tests.inside import watch_direct_requests

{tool}

direct = watch_direct_requests(pytest.MonkeyPatch())
seen = []

def put(producer):
    before = len(direct)
    producer.put_record("orders", b"x", "k").result(60)
    return len(direct) - before

def producing():
    return Producer(endpoint_url=sys.argv[1], region_name="us-east-1", metrics_level="none")

with producing() as producer:
    without = [put(producer) for _ in range(4)]
    switch_on()
    late = [put(producer) for _ in range(2)]
with producing() as producer:
    early = [put(producer) for _ in range(3)]
switch_off()
with producing() as producer:
    again = [put(producer) for _ in range(3)]
print(json.dumps(dict(without=without, late=late, early=early, seen=seen.count("PutRecords"), again=again)))
"""

TOOLS = {
    "ddtrace": """
def switch_on():
    from ddtrace import patch
    from ddtrace.trace import TraceFilter, tracer

    class Keep(TraceFilter):
        def process_trace(self, trace):
            seen.extend(span.get_tag("aws.operation") for span in trace)
            return None  # there is no agent to send it to

    tracer.configure(trace_processors=[Keep()])
    patch(botocore=True)

def switch_off():
    from ddtrace.contrib.internal.botocore.patch import unpatch
    unpatch()
""",
    "aws_xray_sdk": """
def switch_on():
    from aws_xray_sdk.core import patch, xray_recorder
    from aws_xray_sdk.core.context import Context

    class Shared(Context):
        def get_trace_entity(self):
            if not hasattr(self._local, "entities"):  # on a sender thread
                self.put_segment(segment)
            return super().get_trace_entity()

    class Keep:
        def send_entity(self, entity):
            seen.extend(each.aws["operation"] for each in entity.subsegments)

    xray_recorder.configure(context=Shared(), sampling=False, emitter=Keep(), streaming_threshold=1000)
    segment = xray_recorder.begin_segment("test")
    patch(["botocore"])

def switch_off():
    import botocore.client, botocore.endpoint
    from aws_xray_sdk.core import xray_recorder
    xray_recorder.end_segment()
    for owner, name in (botocore.client.BaseClient, "_make_api_call"), (botocore.endpoint.Endpoint, "prepare_request"):
        setattr(owner, name, vars(owner)[name].__wrapped__)
""",
    "opentelemetry.instrumentation.botocore": """
def switch_on():
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    class Keep(SpanProcessor):
        def on_end(self, span):
            seen.append(span.attributes["rpc.method"])

    provider = TracerProvider()
    provider.add_span_processor(Keep())
    BotocoreInstrumentor().instrument(tracer_provider=provider)

def switch_off():
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
    BotocoreInstrumentor().uninstrument()
""",
}


def run(program: str, *arguments: str) -> object:
    """Run a program in a process of its own. Return what its last line of JSON says."""
    command = [sys.executable, "-c", program, *arguments]
    without_agents = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    environment = {**os.environ, **without_agents, "PYTHONPATH": str(ROOT)}
    environment.pop("KPLPY_TEST_PUT_PATH", None)
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.frameworks
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tracer_sees_put_records(tool: str) -> None:
    try:
        needed(tool)
    except ModuleNotFoundError:  # a parent package is missing
        pytest.skip(f"{tool} is not installed (dependency group frameworks)")
    with local() as kinesis:
        found = run(PROGRAM.replace("{tool}", TOOLS[tool]), kinesis.endpoint_url)
    # The client makes the first two requests to a stream. The tool sees the five between, and the last are as before.
    assert found == {"without": [0, 0, 1, 1], "late": [0, 0], "early": [0, 0, 0], "seen": 5, "again": [0, 0, 1]}


MOTO = """
import json, pytest
import boto3
from moto import mock_aws
from kplpy import Producer
from tests.inside import watch_direct_requests

direct = watch_direct_requests(pytest.MonkeyPatch())
with mock_aws():
    client = boto3.client("kinesis", "us-east-1")
    client.create_stream(StreamName="orders", ShardCount=1)
    with Producer(region_name="us-east-1", metrics_level="none") as producer:
        results = [producer.put_record("orders", b"x", "k").result(60) for _ in range(3)]
    place = {"StreamName": "orders", "ShardId": results[0].shard_id}
    at = client.get_shard_iterator(ShardIteratorType="TRIM_HORIZON", **place)
    records = client.get_records(ShardIterator=at["ShardIterator"])["Records"]
duplicates = [each for each in results if each.possible_duplicate]
print(json.dumps(dict(direct=len(direct), records=len(records), duplicates=len(duplicates))))
"""


def test_moto_in_the_process_sees_put_records() -> None:
    assert run(MOTO) == {"direct": 0, "records": 3, "duplicates": 0}
