"""Translated regular expressions match as java.util.regex of Java 17 does (java_regex.py made the answers)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kplpy.agent.processing.java_regex import JavaPattern, PatternError, translate
from tests.parity.java_regex import cases

CASES = cases()

# Java accepts these. Each is refused by name.
REFUSED = {
    r"\p{IsLatin}+": "script or property",
    r"\p{InGreek}+": "script or block",
    r"\p{script=Han}+": "script or block",
    "[a&&]": "&& without a right side",
    "[a&&&b]": "&& without a right side",
    "[a&&[b]c]": "behind a nested class",
    "a{2}{3}": "is no quantifier",
    r"(a)\2": "group 2, which is not closed",
    r"(a\1)": "group 1, which is not closed",
    r"\1(a)": "group 1, which is not closed",
    "(?<=a*)b": "without an obvious maximum length",
    "(?<=a+)b": "without an obvious maximum length",
    "(?<=(a|bb))b": "capturing group of several lengths",
    r"(?U)\w+": "the flag U",
    r"\X": "grapheme cluster",
    r"\b{g}": "grapheme clusters",
}

# Java leaves in a group what it matched on a path that failed, at an earlier place of the text. Python does not.
STALE_GROUPS = {r"(?>(a)|b)\1", "(?!(a))b"}


def groups(pattern: JavaPattern, match: re.Match[str] | None) -> list[str | None] | None:
    return None if match is None else [match[0], *pattern.groups_of(match)]


def answers_of(pattern: JavaPattern, text: str) -> dict[str, Any]:
    return {
        "text": text,
        "fullmatch": groups(pattern, pattern.fullmatch(text)),
        "match": groups(pattern, pattern.match(text)),
        "search": groups(pattern, pattern.search(text)),
        "split": pattern.split(text),
    }


@pytest.mark.parametrize("case", CASES, ids=[ascii(case["pattern"]) for case in CASES])
def test_the_answers_of_java(case: dict[str, Any]) -> None:
    source = case["pattern"]
    if "error" in case or source in REFUSED:
        with pytest.raises(PatternError) as caught:
            translate(source, "matchPattern")
        assert 0 <= caught.value.position <= len(source)
        assert REFUSED.get(source, "") in caught.value.construct
        return
    pattern = translate(source)
    for recorded in case["answers"]:
        text = recorded["text"]
        java = {"fullmatch": None, "match": None, "search": None, "split": [text], **recorded}
        python = answers_of(pattern, text)
        if source in STALE_GROUPS:
            del java["search"], python["search"], java["split"], python["split"]
        assert python == java


def test_there_are_answers_of_each_kind() -> None:
    assert len(CASES) > 450
    assert sum("error" in case for case in CASES) > 70
    answers = [answer for case in CASES for answer in case.get("answers", ())]
    for method in ("fullmatch", "match", "search", "split"):
        assert sum(method in answer for answer in answers) > 500
