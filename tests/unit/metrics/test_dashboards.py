"""Tests that the dashboards use only names, labels and dimensions that exist."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from kplpy.cli.app import cli
from kplpy.metrics.catalogue import DEPTHS, METRICS
from kplpy.metrics.sinks.prometheus import EXPORTED, FAILED, PrometheusSink, labels_of


def printed(*arguments: str) -> Any:
    done = CliRunner().invoke(cli, ["dashboard", *arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_the_cloudwatch_dashboard_names_existing_metrics_and_dimensions() -> None:
    body = printed("cloudwatch", "orders", "--region", "eu-west-1", "--namespace", "Mine")
    named = set()
    for widget in body["widgets"]:
        assert widget["properties"]["region"] == "eu-west-1"
        for row in widget["properties"]["metrics"]:
            if isinstance(row[0], dict):
                search = re.fullmatch(
                    r"SEARCH\('\{Mine,([\w,]+)\} MetricName=\"(\w+)\" StreamName=\"orders\"', '(Sum|Minimum)'\)",
                    row[0]["expression"],
                )
                assert search is not None, row
                dimensions, name = search[1].split(","), search[2]
            else:
                namespace, name, *dimensions = row[:-1]
                assert namespace == "Mine"
                assert row[-1]["stat"] in {"Sum", "Average", "Minimum", "Maximum"}
                assert dimensions[1::2] == ["orders"] * len(dimensions[1::2])
                dimensions = dimensions[::2]
            metric = METRICS[name]
            depth = len([each for each in dimensions if each != "ErrorCode"])
            assert depth <= DEPTHS[metric.finest], row
            assert metric.coded or "ErrorCode" not in dimensions
            named.add(name)
    assert {"UserRecordsPut", "ErrorsByCode", "ShardHeadroom", "BufferUse"} <= named


def sampled_names() -> dict[str, set[str]]:
    """Return each name that a scrape can have, with its labels."""
    kinds = {"counter": ("_total",), "gauge": ("",), "distribution": ("_sum", "_count")}
    labels = {f"{FAILED}_total": set(labels_of(METRICS["UserRecordsPut"]))}
    for each in EXPORTED:
        for suffix in kinds[each.kind]:
            labels[each.prometheus + suffix] = set(labels_of(each))
        if each.percentiles:
            labels[f"{each.prometheus}_bucket"] = {*labels_of(each), "le"}
    return labels


def test_the_names_are_those_that_the_sink_registers() -> None:
    registry = CollectorRegistry()
    PrometheusSink(registry)
    families = {family.name for family in registry.collect()}
    assert families == {each.prometheus for each in EXPORTED} | {FAILED}


def test_the_grafana_dashboard_names_only_what_can_be_scraped() -> None:
    board = printed("grafana")
    known = sampled_names()
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    expressions += [each["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    assert len(expressions) > 15
    for expression in expressions:
        names = re.findall(r"\bkplpy_\w+", expression)
        assert names, expression
        by = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
        matched = set(re.findall(r"(\w+)=~", expression))
        for name in names:
            assert name in known, f"{name} of {expression}"
            assert by | matched <= known[name], expression


@pytest.mark.parametrize("arguments", [["cloudwatch"], ["cloudwatch", "orders"]])
def test_missing_arguments_are_reported(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli, ["dashboard", *arguments], env={"AWS_REGION": None, "AWS_DEFAULT_REGION": None})
    assert done.exit_code == 2
    assert "Missing" in done.output
