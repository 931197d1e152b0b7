"""The parts of a parsed Java regular expression, and their text in Python's syntax."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

from kplpy.agent.processing import character_sets as sets
from kplpy.agent.processing.character_sets import ASCII, CharacterSet, Ranges

MAX_LOOKBEHINDS = 256  # a lookbehind is written as so many of one width each, at most


@dataclass(slots=True)
class Chars:
    """One character of a set. literal: the character, if the set is one character in one case."""

    set: CharacterSet
    literal: str | None = None


@dataclass(slots=True)
class Sequence:
    parts: list[Node]


@dataclass(slots=True)
class Alternatives:
    branches: list[Node]


@dataclass(slots=True)
class Group:
    """A group. number: of a capturing group in Java's count, or None."""

    body: Node
    number: int | None = None
    name: str | None = None


@dataclass(slots=True)
class Atomic:
    """(?>body): once matched, the body is not matched otherwise."""

    body: Node


@dataclass(slots=True)
class Repeat:
    body: Node
    least: int
    most: int | None
    lazy: bool = False


@dataclass(slots=True)
class Look:
    body: Node
    behind: bool
    negative: bool


@dataclass(slots=True)
class Reference:
    """A backreference to a group, in Java's count."""

    number: int
    ignore_case: bool = False
    unicode_case: bool = False


@dataclass(slots=True)
class Boundary:
    """\\b, or \\B where negative."""

    negative: bool = False


@dataclass(slots=True)
class Anchor:
    r"""A place in the text. unix_lines: only \n ends a line."""

    kind: Literal["begin", "end", "very_end", "line_begin", "line_end"]
    unix_lines: bool = False


Node: TypeAlias = Chars | Sequence | Alternatives | Group | Atomic | Repeat | Look | Reference | Boundary | Anchor


class NoFixedWidth(Exception):
    """A lookbehind cannot be written with fixed widths. The text says why."""


def fixed_widths(node: Node) -> Iterator[tuple[int, Node]]:
    """Yield (width, node) such that the nodes, each of one width, match together what the given one matches."""
    match node:
        case Chars():
            yield 1, node
        case Look() | Boundary() | Anchor():
            yield 0, node
        case Sequence(parts):
            for combination in product(*(tuple(fixed_widths(part)) for part in parts)):
                yield sum(width for width, _ in combination), Sequence([part for _, part in combination])
        case Alternatives(branches):
            for branch in branches:
                yield from fixed_widths(branch)
        case Group(body, number, name):
            bodies = tuple(fixed_widths(body))
            if number is not None and len({width for width, _ in bodies}) > 1:
                raise NoFixedWidth("a capturing group of several lengths in a lookbehind")
            if number is not None:
                yield bodies[0][0], node
            else:
                yield from ((width, Group(each, None, name)) for width, each in bodies)
        case Repeat(body, least, most):
            if most is None:
                raise NoFixedWidth("a lookbehind without an obvious maximum length")
            bodies = tuple(fixed_widths(body))
            if len(bodies) > 1 and most > 1:
                raise NoFixedWidth("a repetition of alternatives of several lengths in a lookbehind")
            if most - least >= MAX_LOOKBEHINDS:
                raise NoFixedWidth(f"a lookbehind of more than {MAX_LOOKBEHINDS} lengths")
            for width, each in bodies:
                yield from ((width * n, Repeat(each, n, n)) for n in range(least, most + 1))
        case Atomic():
            raise NoFixedWidth("an atomic group or possessive quantifier in a lookbehind")
        case Reference():
            raise NoFixedWidth("a backreference in a lookbehind")


def least_width(node: Node) -> int:
    """Return the fewest characters that the node matches, or fewer."""
    match node:
        case Chars():
            return 1
        case Sequence(parts):
            return sum(map(least_width, parts))
        case Alternatives(branches):
            return min(map(least_width, branches))
        case Group(body) | Atomic(body):
            return least_width(body)
        case Repeat(body, least):
            return least * least_width(body)
    return 0


def has_captures(node: Node) -> bool:
    match node:
        case Group(body, number):
            return number is not None or has_captures(body)
        case Sequence(parts) | Alternatives(parts):
            return any(has_captures(part) for part in parts)
        case Repeat(body) | Look(body) | Atomic(body):
            return has_captures(body)
    return False


class Writer:
    """Writes a node as the text of a pattern for Python's re, for text of characters below a limit.

    With the limit ASCII the pattern serves ASCII text only, and is short and fast. groups: Python's group numbers by
    Java's: the atomic groups of Java are written with groups of their own, since Python has them from 3.11 only.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.groups: dict[int, int] = {}
        self._written = 0  # capturing groups written up to here, in Python's count
        self._atomic = 0

    def text(self, node: Node) -> str:
        match node:
            case Chars(characters, literal):
                if literal is not None and ord(literal) < self.limit:
                    return literal_text(literal)
                return class_text(characters.ranges(self.limit), self.limit)
            case Sequence(parts):
                return "".join(self._in_sequence(part) for part in parts)
            case Alternatives(branches):
                return "|".join(self.text(branch) for branch in branches)
            case Group():
                return self._group(node)
            case Atomic(body):
                self._written += 1
                self._atomic += 1
                name = f"_{self._atomic}"
                # The lookahead is left as soon as it matched, and its group is then taken as it is.
                return f"(?=(?P<{name}>{self.text(body)}))(?P={name})"
            case Repeat():
                return self._repeat(node)
            case Look():
                return self._look(node)
            case Reference(number, ignore_case, unicode_case):
                reference = rf"\{self.groups[number]}"
                flags = ("u" if unicode_case else "a") + "i" if ignore_case else ""
                return f"(?{flags}:{reference})"
            case Boundary(negative):
                return self._boundary(negative)
            case Anchor():
                return self._anchor(node)

    def _in_sequence(self, node: Node) -> str:
        text = self.text(node)
        return f"(?:{text})" if isinstance(node, Alternatives) else text

    def _group(self, node: Group) -> str:
        if node.number is None:
            return f"(?:{self.text(node.body)})"
        self._written += 1
        self.groups[node.number] = self._written
        name = f"?P<{node.name}>" if node.name else ""
        return f"({name}{self.text(node.body)})"

    def _repeat(self, node: Repeat) -> str:
        text = self.text(node.body)
        if not isinstance(node.body, Chars | Group) or (isinstance(node.body, Chars) and text.startswith("(")):
            text = f"(?:{text})"
        return text + _times(node.least, node.most) + ("?" if node.lazy else "")

    def _look(self, node: Look) -> str:
        if not node.behind:
            return f"(?{'!' if node.negative else '='}{self.text(node.body)})"
        by_width: dict[int, list[Node]] = {}
        captures = has_captures(node.body)
        for n, (width, each) in enumerate(fixed_widths(node.body)):
            if n >= MAX_LOOKBEHINDS:
                raise NoFixedWidth(f"a lookbehind of more than {MAX_LOOKBEHINDS} lengths and alternatives")
            if n and captures:
                raise NoFixedWidth("a capturing group beside parts of several lengths in a lookbehind")
            by_width.setdefault(width, []).append(each)
        sign = "!" if node.negative else "="
        looks = [f"(?<{sign}{self.text(Alternatives(each))})" for _, each in sorted(by_width.items())]
        return "".join(looks) if node.negative or len(looks) == 1 else f"(?:{'|'.join(looks)})"

    def _boundary(self, negative: bool) -> str:
        if self.limit == ASCII:
            # Python's \B does not match in an empty text before 3.14.
            return r"(?!\b)" if negative else r"\b"
        # \b of Java 17: a mark belongs to the letter before it, here over at most three further marks. Python's own
        # \W, less the numbers that are no digits, is compiled in 1 ms, and a class of all letters in 15 ms.
        numbers = _inside((sets.CATEGORIES["No"] | sets.CATEGORIES["Nl"]).ranges(self.limit))
        letter, word = rf"[^\W_{numbers}]", rf"[^\W{numbers}]"
        mark = self._class(sets.BOUNDARY_MARK)
        behind = "|".join(f"(?<={letter}{mark * n})" for n in range(4))
        not_behind = "".join(f"(?<!{letter}{mark * n})" for n in range(4))
        sign = "!" if negative else ":"
        return f"(?{sign}(?u:(?:{behind})(?!{word}|{mark})|(?<=_)(?!{word})|(?<!_){not_behind}(?={word})))"

    def _class(self, characters: CharacterSet) -> str:
        return class_text(characters.ranges(self.limit), self.limit)

    def _anchor(self, node: Anchor) -> str:
        ends = self._class(sets.LINE_TERMINATORS)
        match node.kind, node.unix_lines:
            case "begin", _:
                return r"\A"
            case "very_end", _:
                return r"\Z"
            case "end", True:
                return r"(?=\n?\Z)"
            case "end", False:
                return rf"(?:(?=(?:\r\n|{ends})?\Z)(?<!\r(?=\n)))"
            case "line_begin", True:
                return r"(?:(?!\Z)(?:\A|(?<=\n)))"
            case "line_begin", False:
                return rf"(?:(?!\Z)(?:\A|(?<={ends})(?<!\r(?=\n))))"
            case "line_end", True:
                return r"(?=\n|\Z)"
        return rf"(?:(?={ends}|\Z)(?<!\r(?=\n)))"


def _times(least: int, most: int | None) -> str:
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
    if short is not None:
        return short
    return f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"


SHORT = {
    sets.DIGIT.ranges(ASCII): r"\d",
    sets.WORD.ranges(ASCII): r"\w",
    sets.SPACE.ranges(ASCII): r"\s",
}


def class_text(given: Ranges, limit: int) -> str:
    """Return the text for one character of the ranges, of text whose characters are below limit."""
    absent = sets.complement(given, limit)
    if not given:
        return r"[^\s\S]"  # one character wide, for lookbehinds
    if not absent:
        return "(?s:.)"
    if given in SHORT:
        return SHORT[given]
    if absent in SHORT:
        return SHORT[absent].upper()
    if len(given) == 1 and given[0][0] == given[0][1]:
        return literal_text(chr(given[0][0]))
    if len(absent) < len(given):
        return f"[^{_inside(absent)}]"
    return f"[{_inside(given)}]"


def literal_text(char: str) -> str:
    if char in r"\.^$*+?{}[]|()":
        return "\\" + char
    return char if char.isascii() and char.isprintable() else _in_class(ord(char))


def _inside(given: Ranges) -> str:
    text = []
    for first, last in given:
        if first == last:
            text.append(_in_class(first))
        elif first + 1 == last:
            text.append(_in_class(first) + _in_class(last))
        else:
            text.append(f"{_in_class(first)}-{_in_class(last)}")
    return "".join(text)


def _in_class(code: int) -> str:
    char = chr(code)
    if char.isascii() and char.isprintable():
        return "\\" + char if char in r"\]^-[&~|" else char
    escapes = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\f": r"\f", "\v": r"\v"}
    if char in escapes:
        return escapes[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
