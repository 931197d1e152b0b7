"""Log formats, JSON and the decoding of broken UTF-8 equal the Kinesis Agent's in Java 17 (agent_java.py)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kplpy.agent.processing import make_process, translate
from kplpy.agent.processing.json_text import compact, object_of, pretty
from kplpy.agent.processing.log_formats import LOG_FORMATS
from kplpy.agent.settings import FlowSettings
from tests.parity.agent_java import questions

QUESTIONS = questions()


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [question for question in QUESTIONS if question["kind"] == kind]


@pytest.mark.parametrize("name", LOG_FORMATS)
def test_a_log_format_has_the_groups_of_the_agent(name: str) -> None:
    pattern = translate(LOG_FORMATS[name].pattern)
    asked = of_kind(name)
    assert sum(question["answer"] is not None for question in asked) > 20
    assert sum(question["answer"] is None for question in asked) > 20
    for question in asked:
        match = pattern.fullmatch(question["text"])
        assert (None if match is None else list(pattern.groups_of(match))) == question["answer"], question["text"]


@pytest.mark.parametrize("question", of_kind("json"), ids=lambda question: ascii(question["text"]))
def test_json_is_read_and_written_as_by_jackson(question: dict[str, Any]) -> None:
    if question["answer"] is None:
        with pytest.raises(ValueError):
            object_of(question["text"])
        return
    value = object_of(question["text"])
    assert [compact(value), pretty(value)] == question["answer"]


@pytest.mark.parametrize("question", of_kind("utf8"), ids=lambda question: base64.b64decode(question["text"]).hex())
def test_broken_utf8_is_replaced_as_in_java(question: dict[str, Any]) -> None:
    settings = FlowSettings("id", "/f", "kinesis", "s", processing=({"optionName": "ADDMETADATA"},))
    process = make_process(settings)
    assert process is not None
    converted = process(base64.b64decode(question["text"]))
    assert converted is not None
    assert json.loads(converted)["data"] == question["answer"]
