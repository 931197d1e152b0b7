"""agent.json with drawn values, comments and faults."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kplpy.agent.configuration import AgentConfigError, from_mapping
from kplpy.agent.configuration.findings import Problem
from kplpy.agent.configuration.json_text import Document, JsonError, join, read, without_comments
from kplpy.agent.configuration.keys import FLOW_KEYS, GLOBAL_KEYS
from kplpy.agent.configuration.overlap import overlap
from kplpy.agent.configuration.rules import Flag, Whole
from kplpy.agent.tailing import FilePattern

TEXTS = st.text(st.sampled_from('ab"\\/*\n\t é漢\u2028{}[],:#.')) | st.text(max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
BLANKS = st.sampled_from(["", " ", "\n", "\r\n", "\r", "\t", '// x " { /* \n', "/**/", '/* \n " // */', "/* * \r\n */"])


class Writer:
    """Writes a value as JSON with drawn blanks and comments, and notes the line of each key and item."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self.text = ""
        self.lines: dict[str, int] = {}

    def _blank(self) -> None:
        self.text += self._draw(BLANKS)
        if self.text.endswith("\r"):  # the next blank may begin with a line feed
            self.text += " "

    def _note(self, path: str) -> None:
        if path:
            self.lines.setdefault(path, len(re.findall(r"\r\n|\r|\n", self.text)) + 1)

    def write(self, value: Any, path: str = "") -> None:
        self._blank()
        self._note(path)
        if isinstance(value, dict):
            self._items("{}", [(self._key, key, each, path) for key, each in value.items()])
        elif isinstance(value, list):
            self._items("[]", [(self._item, index, each, path) for index, each in enumerate(value)])
        else:
            self.text += json.dumps(value, ensure_ascii=self._draw(st.booleans()))
        self._blank()

    def _items(self, brackets: str, items: list[Any]) -> None:
        self.text += brackets[0]
        for number, (write, name, value, path) in enumerate(items):
            self.text += "," if number else ""
            write(name, value, path)
        self._blank()
        self.text += brackets[1]

    def _key(self, name: str, value: Any, path: str) -> None:
        self._blank()
        self._note(join(path, name))
        self.text += json.dumps(name)
        self._blank()
        self.text += ":"
        self.write(value, join(path, name))

    def _item(self, index: int, value: Any, path: str) -> None:
        self.write(value, join(path, index))


@settings(max_examples=40)
@given(st.data())
def test_comments_change_neither_values_nor_lines(data: st.DataObject) -> None:
    value = data.draw(VALUES)
    writer = Writer(data.draw)
    writer.write(value)
    document = read(writer.text)
    assert document.value == value
    assert {key: document.lines[key] for key in writer.lines} == writer.lines or _is_ambiguous(value)


def _is_ambiguous(value: Any) -> bool:
    """Return True if two keys of the value can have the same path: "a.b", and "b" in "a"."""
    text = json.dumps(value)
    return "." in text or "[" in text or '""' in text


@given(st.text(st.sampled_from('{}[],:"\\/*\n\r ab01tnu.eE-+#é“')))
def test_any_text_is_read_or_refused_with_a_place_in_it(text: str) -> None:
    plain, _ = without_comments(text)
    assert len(plain) == len(text)
    lines = re.split(r"\r\n|\r|\n", text)
    document, problems = read_or_refused(text)
    assert (document is None) == bool(problems)
    for problem in problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 2  # a CR LF may be where it ends
    assert document is None or document.value == json.loads(plain)


def read_or_refused(text: str) -> tuple[Document | None, list[Problem]]:
    try:
        return read(text), []
    except JsonError as error:
        return None, error.problems


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from(["{:d}", "{:+d}", "0x{:x}", "0X{:X}", "#{:x}", "0{:o}"]))
def test_numbers_are_read_as_by_long_decode(number: int, shape: str) -> None:
    if shape not in ("{:d}", "{:+d}"):
        number = abs(number) >> 2  # so that no shape has more characters than a 64-bit number in decimal
    assert Whole.whole(shape.format(number)) == number
    assert Whole.whole(number) == number


@given(VALUES | st.binary() | st.from_regex(r"[+-]?(0x|#|0)?[0-9a-f_ ]{0,25}", fullmatch=True))
def test_any_value_is_a_number_or_a_value_error(value: Any) -> None:
    for rule in (Whole(0, 500), Flag()):
        try:
            converted = rule.read(value)
        except ValueError:
            continue
        assert isinstance(converted, int)
        assert 0 <= converted <= 500


@given(st.sampled_from(["true", "t", "yes", "y", "1"]), st.data())
def test_booleans_may_have_any_case(word: str, data: st.DataObject) -> None:
    mixed = "".join(data.draw(st.sampled_from([letter, letter.upper()])) for letter in word)
    assert Flag().read(mixed) is True


NAMES = (
    st.sampled_from([*GLOBAL_KEYS, *FLOW_KEYS, "optionName", "matchPattern", "customFieldNames", "logFormat"]) | TEXTS
)
PLAUSIBLE = VALUES | st.sampled_from(["/var/log/*.log", "orders", "500", "true", "SINGLELINE", "LOGTOJSON", "SYSLOG"])
OPTIONS = st.lists(st.dictionaries(NAMES, PLAUSIBLE, max_size=4) | VALUES, max_size=3)
FLOWS = st.dictionaries(NAMES, PLAUSIBLE | OPTIONS, max_size=8).map(
    lambda flow: {"filePattern": "/var/log/app", "kinesisStream": "orders", **flow}
)


@settings(max_examples=60)
@given(st.dictionaries(NAMES, PLAUSIBLE, max_size=6), st.lists(FLOWS | VALUES, max_size=3))
def test_any_configuration_is_read_or_refused(keys: dict[str, Any], flows: list[Any]) -> None:
    config = {**keys, "flows": flows}
    flows_read, problems = configured_or_refused(config)
    assert bool(problems) != (flows_read == len(flows) > 0)


def configured_or_refused(config: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    try:
        return len(from_mapping(config).flows), ()
    except AgentConfigError as error:
        return 0, error.problems


GLOBS = st.lists(
    st.sampled_from(["a", "b", "*", "?", "/", "**/", "[ab]", "[!a]", "{a,bb}", "x"]), min_size=1, max_size=6
)


@given(GLOBS, GLOBS, st.lists(st.text(st.sampled_from("abx"), min_size=1, max_size=3), min_size=1, max_size=3))
def test_patterns_that_match_one_path_overlap(one: list[str], other: list[str], names: list[str]) -> None:
    first, second = ("/" + re.sub("/+", "/", "".join(each)).lstrip("/") for each in (one, other))
    assume(not first.endswith("/") and not second.endswith("/"))
    path = "/" + "/".join(names)
    if FilePattern(first).matches(path) and FilePattern(second).matches(path):
        assert overlap(first, second)
