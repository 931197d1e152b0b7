"""The examples and options of the pages about reading and the command line are right."""

from __future__ import annotations

import base64
import logging
import re
from pathlib import Path
from typing import Any

import click
import pytest

from kplpy import Producer
from kplpy.cli.app import cli
from kplpy.local import LocalKinesis
from tests.integration.cli_process import run

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_ten_lines_of_boto3_read_what_was_put(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = blocks("reading.md")[4]
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    put = [(f"customer-{number % 7}", b"%d" % number) for number in range(200)]
    with LocalKinesis(stream="orders", shards=3) as kinesis:
        with Producer(endpoint_url=kinesis.endpoint_url) as producer:
            for key, data in put:
                producer.put_record("orders", data, key)
            producer.flush()
            # Closed shards are read too.
            kinesis.handle(
                "MergeShards",
                {
                    "StreamName": "orders",
                    "ShardToMerge": "shardId-000000000000",
                    "AdjacentShardToMerge": "shardId-000000000001",
                },
            )
            put.append(("customer-8", b"more"))
            producer.put_record("orders", b"more", "customer-8")
        monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis.endpoint_url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", kinesis.region_name)
        variables: dict[str, Any] = {}
        exec(code, variables)
        variables["kinesis"].close()
        printed = capsys.readouterr().out.splitlines()
        assert sorted(printed) == sorted(f"{key} {data!r}" for key, data in put)
        # The last block continues with these variables.
        page = kinesis.ledger("orders")[0]
        exec(blocks("reading.md")[7], {**variables, "record": {"Data": page.data, "PartitionKey": "a"}})


def test_a_lambda_function_deaggregates(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalKinesis(stream="orders") as kinesis:
        with Producer(endpoint_url=kinesis.endpoint_url) as producer:
            producer.put_records("orders", [(b"1", "a"), (b"2", "b")])
        (entry,) = kinesis.ledger("orders")
    variables: dict[str, Any] = {}
    try:
        exec(blocks("reading.md")[5], variables)
    finally:
        logging.disable(logging.NOTSET)  # the page's program leaves it disabled
    capsys.readouterr()
    record = {"kinesis": {"data": base64.b64encode(entry.data).decode(), "partitionKey": "a", "sequenceNumber": "1"}}
    assert variables["handler"]({"Records": [record]}, None) == {"batchItemFailures": []}
    assert capsys.readouterr().out == "1 1\n1 2\n"


def test_every_option_named_in_the_page_exists() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", (DOCS / "cli.md").read_text(encoding="utf-8")))
    commands = [*cli.commands.values()]
    for each in cli.commands.values():
        commands += each.commands.values() if isinstance(each, click.Group) else ()
    there = {name for command in commands for each in command.params for name in each.opts} | {"--help"}
    assert named <= there, named - there


def test_the_pages_first_example(tmp_path: Path) -> None:
    """The endpoint's variable is enough, without credentials and region."""
    with LocalKinesis(stream="orders", shards=2) as kinesis:
        variables = {"AWS_ENDPOINT_URL_KINESIS": kinesis.endpoint_url}
        numbers = b"".join(b"%d\n" % number for number in range(1, 1001))
        assert run(tmp_path, "put", "orders", given=numbers, **variables).returncode == 0
        done = run(tmp_path, "tail", "orders", "--from-start", "--no-follow", given=b"", **variables)
    assert sorted(done.stdout.split()) == sorted(numbers.split())
