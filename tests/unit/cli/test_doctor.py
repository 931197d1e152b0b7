"""`kplpy doctor`: its options, its output and its exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click import unstyle
from click.testing import CliRunner, Result

from kplpy.cli.app import cli
from kplpy.cli.doctor import encodable, lines_of
from kplpy.doctor import Finding, Prices, Report
from kplpy.doctor.catalogue import CHECKS
from kplpy.local import LocalKinesis

LOCAL = ["--endpoint-url", "http://127.0.0.1:9"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Missing argument 'STREAM'"),
        ("a/b", "stream must be a stream's ARN or its name"),
        ("arn:aws:firehose:us-east-1:123456789012:deliverystream/logs", "not a delivery stream"),
        ("orders --sample 0", "0 is not in the range"),
        ("orders --since yesterday", "must be an age like 15m (s, m, h, d); got 'yesterday'"),
        ("orders --since 0m", "got '0m'"),
        ("orders --since 999d", "since must be from 0.001 to 31,536,000"),
        ("orders --rate 0", "0 is not in the range x>0"),
        ("orders --rate nan", "nan"),
        ("orders --timeout 0", "is not in the range"),
        ("orders --price shard=1", "must be NAME=DOLLARS with one of shard_hour"),
        ("orders --price shard_hour=-1", "got 'shard_hour=-1'"),
        ("orders --price shard_hour", "got 'shard_hour'"),
        ("orders --set aggregation_max_size=1", "aggregation_max_size must be from 64 to 10485760, got 1"),
        ("orders --profile no-such-profile", "no-such-profile"),
        ("orders --endpoint-url nowhere", "endpoint_url must be http"),
    ],
)
def test_what_cannot_begin_has_exit_code_2(arguments: str, message: str) -> None:
    result = run(*arguments.split())
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_an_unreachable_endpoint_is_a_finding() -> None:
    result = run("orders", *LOCAL)
    assert result.exit_code == 1
    assert "failure   endpoint: http://127.0.0.1:9: EndpointConnectionError" in result.output
    assert "the endpoint does not answer" in result.output


def test_the_report_as_json() -> None:
    with LocalKinesis(stream="orders", shards=2) as kinesis:
        result = run(
            *("orders", "--endpoint-url", kinesis.endpoint_url, "--json", "--no-sample", "--rate", "100"),
            *("--record-size", "1000", "--price", "shard_hour=0.5", "--region", "eu-west-1"),
        )
    assert result.exit_code == 0
    report: dict[str, Any] = json.loads(result.output)
    assert [each["id"] for each in report["findings"]] == list(CHECKS)
    assert (report["sound"], report["region"], report["policy"]) == (True, "eu-west-1", None)
    cost = next(each for each in report["findings"] if each["id"] == "cost")
    # 730 h of one shard, and 100 PUT payload units a second
    assert cost["figures"]["by_way"]["one by one"]["provisioned"] == pytest.approx(365 + 262.8 * 0.014, abs=0.01)
    assert report["prices"]["source"] == "us-east-1, list prices as of 2025, some given"


def report_of(*findings: Finding, policy: Any = None) -> Report:
    return Report("orders", "us-east-1", "https://example", findings, policy, Prices(), 1.0)


def test_texts_from_outside_cannot_control_the_terminal() -> None:
    report = report_of(Finding("status", "failure", "no such stream: \x1b[2J\x07"))
    text = "\n".join(lines_of(report, True, 100))
    assert r"\x1b[2J\x07" in text
    assert "\x07" not in text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_output_that_is_not_unicode_gets_the_report(encoding: str) -> None:
    result = CliRunner(charset=encoding).invoke(cli, ["doctor", "orders", *LOCAL])
    assert result.exit_code == 1
    assert "-> check the URL" in result.output
    assert encodable("key 'ключ' → …", encoding).startswith(r"key '\u043a\u043b")


def test_checks_with_the_same_reason_are_one_line() -> None:
    report = report_of(*(Finding(name, "unchecked", "no sample") for name in ("load", "balance")))
    assert "  load, balance: no sample" in list(lines_of(report, False, 100))


def test_quiet_prints_problems_and_the_policy_only() -> None:
    found = (Finding("region", "ok", "us-east-1"), Finding("permission.PutRecords", "failure", "denied"))
    lines = list(lines_of(report_of(*found, policy={"Version": "2012-10-17"}), True, 100))
    assert "denied" in lines[0]
    assert not any("region" in line for line in lines)
    assert '    "Version": "2012-10-17"' in "\n".join(lines)
    assert list(lines_of(report_of(found[0]), True, 100)) == []


def test_lines_are_no_wider_than_the_terminal() -> None:
    report = report_of(Finding("status", "failure", "a word " * 60, "an advice " * 30))
    text = unstyle("\n".join(lines_of(report, False, 70)))
    assert max(map(len, text.splitlines())) <= 70
