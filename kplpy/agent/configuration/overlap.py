"""Decides whether two file patterns can match the same file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_MOST_ALTERNATIVES = 16
_BRACES = re.compile(r"(?<!\\)\{([^{}]*)\}")
_TOKEN = re.compile(r"\\(.)|(\*\*)|(\*)|(\?)|\[(!?)((?:\\.|[^]\\])+)\]|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Token:
    """One step of a pattern: a character of `characters`, or of all others if negated. many: any number of them."""

    characters: frozenset[str]
    negated: bool = False
    many: bool = False


_NO_SLASH, _ALL = frozenset("/"), frozenset[str]()


def overlap(first: str, second: str) -> bool:
    """Return True if there can be a path that both patterns match.

    Patterns with more than 16 alternatives are taken for wider ones, which can only make True of False.
    """
    (start, end), (other_start, other_end) = _ends(first), _ends(second)
    if not start.startswith(other_start) and not other_start.startswith(start):
        return False
    if not end.endswith(other_end) and not other_end.endswith(end):
        return False
    return any(_meet(one, other) for one in _alternatives(first) for other in _alternatives(second))


@lru_cache(maxsize=4096)
def _ends(pattern: str) -> tuple[str, str]:
    """Return the pattern before its first wildcard and behind its last. Most patterns differ there."""
    parts = re.split(r"[]*?[{}\\]", pattern)
    return parts[0], parts[-1] if "\\" not in pattern else ""


@lru_cache(maxsize=4096)
def _alternatives(pattern: str) -> list[tuple[_Token, ...]]:
    """Return the pattern without braces and without `**/`, which can also stand for no directory."""
    texts = [pattern]
    done: list[str] = []
    while texts:
        text = texts.pop()
        braces = _BRACES.search(text)
        if braces is None and "**/" not in text:
            done.append(text)
        elif len(texts) + len(done) >= _MOST_ALTERNATIVES:  # a wider pattern then
            done.append(_BRACES.sub("**", text).replace("**/", "**"))
        elif braces is not None:
            texts += [text[: braces.start()] + word + text[braces.end() :] for word in braces[1].split(",")]
        else:
            before, _, after = text.partition("**/")
            texts += [before + after, f"{before}**\\/{after}"]
    return [_tokens(text) for text in done]


def _tokens(text: str) -> tuple[_Token, ...]:
    tokens = []
    for found in _TOKEN.finditer(text):
        escaped, deep, star, one, negation, members, plain = found.groups()
        if deep or star:
            tokens.append(_Token(_ALL if deep else _NO_SLASH, negated=True, many=True))
        elif one:
            tokens.append(_Token(_NO_SLASH, negated=True))
        elif members:
            tokens.append(_class(members, bool(negation)))
        else:
            tokens.append(_Token(frozenset(escaped or plain)))
    return tuple(tokens)


def _class(members: str, negated: bool) -> _Token:
    characters: set[str] = set()
    for low, high, single in re.findall(r"(.)-(.)|(.)", members, re.DOTALL):
        characters |= (
            {single} if single else {chr(code) for code in range(ord(low), min(ord(high), ord(low) + 999) + 1)}
        )
    return _Token(frozenset(characters | _NO_SLASH if negated else characters - _NO_SLASH), negated)


def _share(one: _Token, other: _Token) -> bool:
    """Return True if a character fits both."""
    if one.negated and other.negated:
        return True
    if one.negated or other.negated:
        plain, rest = (other, one) if one.negated else (one, other)
        return bool(plain.characters - rest.characters)
    return bool(one.characters & other.characters)


def _meet(first: tuple[_Token, ...], second: tuple[_Token, ...]) -> bool:
    """Walk through both patterns at once; True if both can end together."""
    seen: set[tuple[int, int]] = set()
    waiting = [(0, 0)]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        here, there = place
        if (here, there) == (len(first), len(second)):
            return True
        one = first[here] if here < len(first) else None
        other = second[there] if there < len(second) else None
        if one is not None and one.many:
            waiting.append((here + 1, there))
        if other is not None and other.many:
            waiting.append((here, there + 1))
        if one is not None and other is not None and _share(one, other):
            waiting.append((here if one.many else here + 1, there if other.many else there + 1))
    return False
