r"""Java's regular expressions, matched by Python's re.

A pattern is parsed (java_parser.py) and written in Python's syntax (syntax.py) twice: for text of ASCII alone,
which is short and fast, and for any text. So what differs in meaning only outside ASCII (\b, \p{L}, classes) costs
nothing for most records. Patterns behave as in Java 17, which has the Unicode 13 database; characters that later
versions added are letters here if they are in Python's database.
"""

from __future__ import annotations

import re
from functools import cached_property

from kplpy.agent.processing.character_sets import ASCII, UNICODE
from kplpy.agent.processing.java_parser import Parsed, SyntaxProblem, parse
from kplpy.agent.processing.syntax import Chars, NoFixedWidth, Sequence, Writer, least_width
from kplpy.errors import ConfigError

Match = re.Match[str]


class PatternError(ConfigError):
    """A regular expression that Java refuses, or one with a construct that kplpy does not translate.

    construct: what is refused. position: the index of its first character in the pattern. pattern: the expression.
    """

    def __init__(self, message: str, construct: str = "", position: int = 0, pattern: str = "") -> None:
        super().__init__(message, construct, position, pattern)
        self.construct = construct
        self.position = position
        self.pattern = pattern

    def __str__(self) -> str:
        return str(self.args[0])


class JavaPattern:
    """A regular expression of Java. Its methods take text and are named as those of re.Pattern.

    source: as configured. group_count, group_names: of capturing groups, in Java's count. text: for ASCII text, in
    Python's syntax. literal: the text that the pattern is, if it has no syntax.
    """

    def __init__(self, source: str, where: str, parsed: Parsed) -> None:
        self.source = source
        self.where = where
        self.group_count = parsed.groups
        self.group_names = dict(parsed.names)
        self.literal = _literal(parsed)
        self._parsed = parsed
        self._is_never_empty = least_width(parsed.node) > 0
        self._ascii, self.text, self._groups = self._compile(ASCII)

    def _compile(self, limit: int) -> tuple[re.Pattern[str], str, tuple[int, ...]]:
        writer = Writer(limit)
        try:
            text = writer.text(self._parsed.node)
            compiled = re.compile(text, re.ASCII)
        except NoFixedWidth as error:
            raise _error(self.where, self.source, str(error), None) from None
        except (re.error, RecursionError, OverflowError) as error:
            raise _error(self.where, self.source, f"what Python's re refuses: {error}", None) from None
        return compiled, text, tuple(writer.groups[n] for n in range(1, self.group_count + 1))

    @cached_property
    def _wide(self) -> re.Pattern[str]:
        """The pattern for text with other characters than ASCII, compiled when such a text comes."""
        compiled, text, _ = self._compile(UNICODE)
        return self._ascii if text == self.text else compiled

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        return re.compile(rf"(?:{self._ascii.pattern})\Z", re.ASCII)

    @cached_property
    def _whole_wide(self) -> re.Pattern[str]:
        return re.compile(rf"(?:{self._wide.pattern})\Z", re.ASCII)

    def fullmatch(self, text: str) -> Match | None:
        """Return a match of the whole text, as Java's matches(), or None."""
        return (self._whole if text.isascii() else self._whole_wide).match(text)

    def match(self, text: str) -> Match | None:
        """Return a match at the start of the text, as Java's lookingAt(), or None."""
        return (self._ascii if text.isascii() else self._wide).match(text)

    def search(self, text: str, start: int = 0) -> Match | None:
        """Return the first match from start on, as Java's find(), or None."""
        return (self._ascii if text.isascii() else self._wide).search(text, start)

    def groups_of(self, match: Match) -> tuple[str | None, ...]:
        """Return the texts of all groups of a match, in Java's count."""
        if match.re.groups == self.group_count:
            return match.groups()
        return tuple(match[n] for n in self._groups)

    def split(self, text: str) -> list[str]:
        """Return the text split as Java's String.split: without empty texts at the end."""
        if self.literal:
            parts = text.split(self.literal)
            if len(parts) == 1:
                return parts
        else:
            parts = self._split(text)
            if len(parts) == 1 and parts[0] == text:
                return parts
        while parts and not parts[-1]:
            parts.pop()
        return parts

    def _split(self, text: str) -> list[str]:
        pattern = self._ascii if text.isascii() else self._wide
        if not pattern.groups and self._is_never_empty:
            return pattern.split(text)
        parts: list[str] = []
        index = start = 0
        while start <= len(text) and (match := pattern.search(text, start)):
            first, end = match.span()
            # An empty match is followed by a search from the next character; one at the start splits nothing.
            start = end + (first == end)
            if end == 0:
                continue
            parts.append(text[index:first])
            index = end
        if index == 0:
            return [text]
        parts.append(text[index:])
        return parts


def translate(pattern: str, where: str = "pattern", *, flags: str = "", for_split: bool = False) -> JavaPattern:
    r"""Return a Java regular expression, to be matched by Python.

    where: what the pattern is, for the message, such as "matchPattern of flow fh:logs:/var/log/app.log". flags: the
    letters of inline flags that hold from the start, as "m". for_split: the pattern splits text, so that \G, which
    looks at the last match, is refused.

    Raises PatternError, which names the construct and its position.
    """
    try:
        parsed = parse(pattern, flags)
    except SyntaxProblem as problem:
        raise _error(where, pattern, str(problem), problem.position) from None
    if for_split and parsed.has_last_match:
        raise _error(where, pattern, r"\G, the end of the last match, in a pattern that splits", pattern.find(r"\G"))
    return JavaPattern(pattern, where, parsed)


def _error(where: str, pattern: str, construct: str, position: int | None) -> PatternError:
    place = "" if position is None else f" at position {position}"
    return PatternError(
        f"{where}: the regular expression {pattern!r} has{place} {construct}", construct, position or 0, pattern
    )


def _literal(parsed: Parsed) -> str | None:
    parts = parsed.node.parts if isinstance(parsed.node, Sequence) else [parsed.node]
    if all(isinstance(part, Chars) and part.literal is not None for part in parts):
        return "".join(part.literal or "" for part in parts if isinstance(part, Chars))
    return None
