"""Reads JSON with comments, and knows the line of every key."""

from __future__ import annotations

import bisect
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from kplpy.agent.configuration.findings import Problem

_COMMENT = re.compile(r'"(?:[^"\\\r\n]|\\[^\r\n])*"?|(?P<comment>//[^\r\n]*|/\*.*?\*/)|(?P<open>/\*.*)', re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+', re.DOTALL)
_BAD_ESCAPE = re.compile(r'\\(?:u(?![0-9a-fA-F]{4})|[^"\\/bfnrtu\r\n])')
_STRING_CHARACTERS = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)
_MOST_ERRORS = 10


class JsonError(Exception):
    """The text is not JSON. problems: at most ten of its faults, in the order of the text."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON text that was read.

    value: as json.loads returns it.
    lines: path of each key and list item ("flows[0].filePattern") → its line, from 1.
    repeated: paths of keys that an object has twice. The last value counts.
    """

    value: Any
    lines: dict[str, int]
    repeated: list[str]


def read(text: str) -> Document:
    """Return the value of a JSON text that may hold // and /* */ comments. Raises JsonError."""
    plain, unended = without_comments(text)
    places = _Places(text)
    if unended is not None:
        raise JsonError([places.problem(unended, "the comment that begins with /* has no */")])
    try:
        value = json.loads(plain, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        raise JsonError(_faults(plain, places)) from None
    except RecursionError:
        raise JsonError([Problem("lists and objects are nested too deeply")]) from None
    except ValueError as error:  # NaN; a number of more digits than Python converts
        raise JsonError([Problem(str(error))]) from None
    lines, repeated = _key_lines(plain, places)
    return Document(value, lines, repeated)


def without_comments(text: str) -> tuple[str, int | None]:
    """Return the text with spaces in place of comments, and the offset of a /* without its */, if there is one.

    All other characters keep their line and column.
    """
    unended: int | None = None

    def blank(found: re.Match[str]) -> str:
        nonlocal unended
        if found["open"]:
            unended = found.start()
        return found.group() if found.group().startswith('"') else re.sub(r"[^\r\n]", " ", found.group())

    return _COMMENT.sub(blank, text), unended


def join(path: str, key: str | int) -> str:
    """Return the path of a key or a list item below `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


class _Places:
    """Finds line and column of an offset."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer(r"\r\n|\r|\n", text))]

    def of(self, offset: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def problem(self, offset: int, text: str) -> Problem:
        line, column = self.of(offset)
        return Problem(text, line=line, column=column)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON: write a number, or a text")


class _Frame:
    """An open object or list while keys are located.

    index: of a list's next item; None for an object. keys: of the object so far. value_path: of the key just read.
    """

    __slots__ = ("expects_key", "index", "keys", "path", "value_path")

    def __init__(self, path: str, index: int | None, expects_key: bool) -> None:
        self.path = self.value_path = path
        self.index = index
        self.expects_key = expects_key
        self.keys: set[str] = set()


def _key_lines(text: str, places: _Places) -> tuple[dict[str, int], list[str]]:
    """Return Document.lines and Document.repeated of a text that json.loads took."""
    lines: dict[str, int] = {}
    repeated: list[str] = []
    frames = [_Frame("", None, False)]
    for found in _TOKEN.finditer(text):
        token, top = found.group(), frames[-1]
        if token in ("}", "]"):
            frames.pop()
        elif token == ",":
            if top.index is None:
                top.expects_key = True
            else:
                top.index += 1
        elif token == ":":
            continue
        elif top.expects_key:
            key = json.loads(token)
            top.value_path = join(top.path, key)
            top.expects_key = False
            if key in top.keys:
                repeated.append(top.value_path)
            top.keys.add(key)
            lines[top.value_path] = places.of(found.start())[0]
        else:
            path = top.value_path if top.index is None else join(top.path, top.index)
            if path:
                lines.setdefault(path, places.of(found.start())[0])
            if token in ("{", "["):
                frames.append(_Frame(path, None if token == "{" else 0, token == "{"))
    return lines, repeated


@dataclass(frozen=True, slots=True)
class _Fault:
    """One fault of the syntax.

    repaired: the text without the fault, each character at its old offset, so that the next fault can be found; None
    if that would be guesswork.
    """

    offset: int
    what: str
    repaired: str | None = None


def _faults(text: str, places: _Places) -> list[Problem]:
    """Return the faults of a text that json.loads refused."""
    problems: list[Problem] = []
    while len(problems) < _MOST_ERRORS:
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            fault = _fault(text, error)
            problems.append(places.problem(fault.offset, fault.what))
            if fault.repaired is None:
                break
            text = fault.repaired
        except (RecursionError, ValueError):
            break
        else:
            break
    return problems


def _fault(text: str, error: json.JSONDecodeError) -> _Fault:
    """Say in the words of a configuration's author what json.loads complains about."""
    offset, message = error.pos, error.msg
    before = text[:offset].rstrip()
    if message.startswith(("Unterminated string", "Invalid")):
        return _text_fault(text, error)
    if offset >= len(text.rstrip()):
        return _end_fault(text, message)
    if message.startswith("Extra data"):
        return _Fault(offset, f"the configuration ends before this {_shown(text[offset])}")
    if text[offset] == "," and message.startswith("Illegal trailing comma"):  # Python 3.13 and later
        return _trailing_comma(text, offset)
    if text[offset] in "]}" and before.endswith(","):
        return _trailing_comma(text, len(before) - 1)
    if text[offset] == "," and before.endswith((",", "[", "{")):
        return _Fault(offset, "a value is missing before this comma", _replaced(text, offset, " "))
    if message.startswith("Expecting ','"):
        return _comma_fault(text, offset, len(before))
    if message.startswith("Expecting ':'"):
        return _Fault(offset, f"a colon is missing between the key {_last_text(before)} and its value")
    expected = "a key in double quotes" if "property name" in message else "a value"
    return _Fault(offset, f"{expected} is expected, got {_shown(text[offset])}{_hint(text, offset)}")


def _text_fault(text: str, error: json.JSONDecodeError) -> _Fault:
    """Return the fault within a JSON text (a string)."""
    start = _start_of_text(text, error.pos)
    if "\\" in error.msg:
        end = _end_of_text(text, start)
        bad = [each for each in re.finditer(r"\\(?:u[0-9a-fA-F]{4}|.?)", text[start:end]) if _BAD_ESCAPE.match(each[0])]
        if bad:
            shapes = list(dict.fromkeys(each[0] for each in bad))
            doubled = ", ".join(f"\\{each}" for each in shapes[:4]) + (" and so on" if len(shapes) > 4 else "")
            repaired = text
            for each in bad:
                repaired = _replaced(repaired, start + each.start(), "/")
            what = f"a backslash in a text of JSON is written twice: {doubled}"
            return _Fault(start + bad[0].start(), what, repaired)
    if error.msg.startswith("Invalid control") and text[error.pos] not in "\r\n":
        written = {"\t": "\\t", "\b": "\\b", "\f": "\\f"}.get(text[error.pos], f"\\u{ord(text[error.pos]):04x}")
        what = f"a control character in a text of JSON is written {written}"
        return _Fault(error.pos, what, _replaced(text, error.pos, " "))
    return _Fault(start, "the text that begins here is not ended on its line: a double quote is missing")


def _comma_fault(text: str, offset: int, end_before: int) -> _Fault:
    """Return the fault where a comma or a closing bracket should be.

    end_before: offset behind the last value. A missing comma is the usual fault. A quote within a text is another: the
    text then seems to end there.
    """
    between = text[end_before:offset]
    if text[end_before - 1] == '"' and not re.search(r"[\r\n]", between) and (not between or text[offset] not in '"{['):
        start = _start_of_text(text, end_before - 1)
        last = text.rfind('"', start, _end_of_line(text, start))
        repaired = None
        if last >= end_before:
            inner = re.sub(r'(\\.)|"', lambda found: found[1] or "'", text[start + 1 : last])
            repaired = text[: start + 1] + inner + text[last:]
        return _Fault(end_before - 1, 'a double quote within a text of JSON is written \\"', repaired)
    if text[offset] in '"{[' or re.match(r"[\w-]", text[offset]):
        repaired = _replaced(text, end_before, ",") if between else None
        return _Fault(end_before, "a comma is missing here", repaired)
    return _Fault(offset, f"a comma or a closing bracket is expected, got {_shown(text[offset])}")


def _end_fault(text: str, message: str) -> _Fault:
    """Return the fault of a text that ends too early."""
    if not text.strip():
        return _Fault(0, "the file is empty: it must be an object with flows")
    opened: list[int] = []
    for found in _TOKEN.finditer(text):
        if found.group() in ("{", "["):
            opened.append(found.start())
        elif found.group() in ("}", "]") and opened:
            opened.pop()
    if not opened:
        return _Fault(max(len(text.rstrip()) - 1, 0), f"the file ends too early ({message})")
    return _Fault(opened[-1], f"this {text[opened[-1]]} is not closed before the end of the file")


def _trailing_comma(text: str, offset: int) -> _Fault:
    return _Fault(offset, "a comma before a closing bracket: remove it", _replaced(text, offset, " "))


def _hint(text: str, offset: int) -> str:
    word = re.compile(r"\w*").match(text, offset)
    if word is not None and word[0] in ("True", "False", "None", "TRUE", "FALSE", "NULL"):
        return "; true, false and null are in lower case"
    if text[offset] in "'\u2018\u2019\u201c\u201d\u201e\u00ab":
        return '; JSON has the plain double quote " only'
    if text[offset] == "#":
        return "; a comment begins with //"
    return ""


def _shown(character: str) -> str:
    if character.isascii() and character.isprintable():
        return repr(character)
    return f"U+{ord(character):04X} ({unicodedata.name(character, 'a control character').lower()})"


def _replaced(text: str, offset: int, character: str) -> str:
    return text[:offset] + character + text[offset + 1 :]


def _start_of_text(text: str, offset: int) -> int:
    """Return where the string begins that `offset` is in. All before that string is correct JSON."""
    start = 0
    while True:
        start = text.index('"', start)
        end = _end_of_text(text, start)
        if end > offset:
            return start
        start = end


def _end_of_text(text: str, start: int) -> int:
    """Return the offset behind the string that begins at `start`."""
    found = _STRING_CHARACTERS.match(text, start + 1)
    assert found is not None  # it may be empty
    return found.end() + 1


def _end_of_line(text: str, offset: int) -> int:
    found = re.compile(r"[\r\n]|\Z").search(text, offset)
    assert found is not None
    return found.start()


def _last_text(before: str) -> str:
    return before[_start_of_text(before, len(before) - 1) :]
