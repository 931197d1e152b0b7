"""Sets of code points, as sorted ranges: what Java's character classes and properties hold."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache

from kplpy.agent.processing.unicode_tables import OTHER_ALPHABETIC

Ranges = tuple[tuple[int, int], ...]  # (first, last), both inclusive, in order, not adjacent

ASCII = 0x80  # limits: a set is computed below its limit only, so that ASCII text needs no table of all characters
UNICODE = 0x110000


def ranges(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Return the pairs as Ranges: sorted and merged."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pairs):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def of(text: str) -> Ranges:
    return ranges((ord(c), ord(c)) for c in text)


def complement(given: Ranges, limit: int) -> Ranges:
    result, start = [], 0
    for first, last in given:
        if first > start:
            result.append((start, first - 1))
        start = last + 1
    if start < limit:
        result.append((start, limit - 1))
    return tuple(result)


def below(given: Ranges, limit: int) -> Ranges:
    return tuple((first, min(last, limit - 1)) for first, last in given if first < limit)


def contains(given: Ranges, code: int) -> bool:
    i = bisect_right(given, (code, UNICODE)) - 1
    return i >= 0 and given[i][0] <= code <= given[i][1]


class CharacterSet:
    """A set of characters whose ranges are computed when they are wanted, below a limit."""

    def __init__(self, compute: Callable[[int], Ranges]) -> None:
        self._compute = lru_cache(maxsize=2)(compute)

    def ranges(self, limit: int) -> Ranges:
        return self._compute(limit)

    def __or__(self, other: CharacterSet) -> CharacterSet:
        return CharacterSet(lambda limit: ranges((*self.ranges(limit), *other.ranges(limit))))

    def __and__(self, other: CharacterSet) -> CharacterSet:
        return ~(~self | ~other)

    def __invert__(self) -> CharacterSet:
        return CharacterSet(lambda limit: complement(self.ranges(limit), limit))


def fixed(given: Ranges) -> CharacterSet:
    return CharacterSet(lambda limit: below(given, limit))


def where(condition: Callable[[str], bool]) -> CharacterSet:
    """Return the set of the characters for which the condition holds."""

    def compute(limit: int) -> Ranges:
        result: list[tuple[int, int]] = []
        start = -1
        for code in range(limit):
            if condition(chr(code)):
                if start < 0:
                    start = code
            elif start >= 0:
                result.append((start, code - 1))
                start = -1
        if start >= 0:
            result.append((start, limit - 1))
        return tuple(result)

    return CharacterSet(compute)


def simple_upper(char: str) -> str:
    """Return the upper case of one character as Java's Character.toUpperCase: one character, or itself."""
    upper = char.upper()
    return upper if len(upper) == 1 else char


def simple_lower(char: str) -> str:
    lower = char.lower()
    return lower if len(lower) == 1 else char


def fold(char: str) -> str:
    return simple_lower(simple_upper(char))


@lru_cache(maxsize=2)
def _cased(limit: int) -> tuple[tuple[int, int, int], ...]:
    """Return (code, upper, fold) of each character that has another case."""
    chars = (chr(code) for code in range(limit))
    cases = ((char, simple_upper(char), fold(char)) for char in chars)
    return tuple((ord(c), ord(upper), ord(folded)) for c, upper, folded in cases if not c == upper == folded)


@lru_cache(maxsize=2)
def _folded(limit: int) -> dict[int, list[int]]:
    """Return fold → the characters below limit that have it, where there is more than one."""
    by_fold: dict[int, list[int]] = defaultdict(list)
    for code, _, folded in _cased(limit):
        by_fold[folded].append(code)
    for folded, codes in by_fold.items():
        if folded not in codes:
            codes.append(folded)
    return by_fold


def single(char: str, ignore_case: bool, unicode_case: bool) -> CharacterSet:
    """Return the set of one character, in both cases with ignore_case, as Java compares them."""
    if ignore_case and unicode_case:
        return CharacterSet(lambda limit: below(_in_other_cases(char, limit), limit))
    if ignore_case and char.isascii():
        return fixed(of(char.lower() + char.upper()))
    return fixed(of(char))


def _in_other_cases(char: str, limit: int) -> Ranges:
    return ranges((code, code) for code in (*_folded(limit).get(ord(fold(char)), ()), ord(char)))


def span(first: str, last: str, ignore_case: bool, unicode_case: bool) -> CharacterSet:
    """Return a range of a class, first to last."""
    low, high = ord(first), ord(last)
    plain: Ranges = ((low, high),)
    if ignore_case and unicode_case:

        def compute(limit: int) -> Ranges:
            cased = _cased(limit)
            codes = [code for code, upper, folded in cased if low <= upper <= high or low <= folded <= high]
            return below(ranges((*plain, *((code, code) for code in codes))), limit)

        return CharacterSet(compute)
    if ignore_case:
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        return fixed(ranges((*plain, *of("".join(c.swapcase() for c in letters if low <= ord(c) <= high)))))
    return fixed(plain)


@lru_cache(maxsize=2)
def _categories(limit: int) -> dict[str, list[tuple[int, int]]]:
    """Return general category → its ranges, of the characters below limit."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    category = unicodedata.category
    first, current = 0, category("\0")
    for code in range(1, limit):
        name = category(chr(code))
        if name != current:
            found[current].append((first, code - 1))
            first, current = code, name
    found[current].append((first, limit - 1))
    return found


def _category(*names: str) -> CharacterSet:
    return CharacterSet(lambda limit: ranges(pair for name in names for pair in _categories(limit)[name]))


CATEGORIES = {
    **{
        name: _category(name)
        for name in (
            *("Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Me", "Mc", "Nd", "Nl", "No", "Zs", "Zl", "Zp"),
            *("Cc", "Cf", "Co", "Cs", "Pd", "Ps", "Pe", "Pc", "Po", "Sm", "Sc", "Sk", "So", "Pi", "Pf"),
        )
    },
    "L": _category("Lu", "Ll", "Lt", "Lm", "Lo"),
    "M": _category("Mn", "Me", "Mc"),
    "N": _category("Nd", "Nl", "No"),
    "Z": _category("Zs", "Zl", "Zp"),
    "C": _category("Cc", "Cf", "Co", "Cs", "Cn"),
    "P": _category("Pd", "Ps", "Pe", "Pc", "Po", "Pi", "Pf"),
    "S": _category("Sm", "Sc", "Sk", "So"),
    "LC": _category("Lu", "Ll", "Lt"),
    "LD": _category("Lu", "Ll", "Lt", "Lm", "Lo", "Nd"),
    "L1": fixed(((0, 0xFF),)),
    "all": fixed(((0, UNICODE - 1),)),
    "ASCII": fixed(((0, 0x7F),)),
}

DIGIT = fixed(((0x30, 0x39),))
UPPER = fixed(((0x41, 0x5A),))
LOWER = fixed(((0x61, 0x7A),))
ALPHA = UPPER | LOWER
ALNUM = ALPHA | DIGIT
PUNCT = fixed(((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)))
SPACE = fixed(((0x09, 0x0D), (0x20, 0x20)))
WORD = ALNUM | fixed(of("_"))

POSIX = {
    "Alnum": ALNUM,
    "Alpha": ALPHA,
    "Blank": fixed(of(" \t")),
    "Cntrl": fixed(((0, 0x1F), (0x7F, 0x7F))),
    "Digit": DIGIT,
    "Graph": ALNUM | PUNCT,
    "Lower": LOWER,
    "Print": fixed(((0x20, 0x7E),)),
    "Punct": PUNCT,
    "Space": SPACE,
    "Upper": UPPER,
    "XDigit": fixed(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66))),
}

_LETTER, _DIGIT = CATEGORIES["L"], CATEGORIES["Nd"]
_ALPHABETIC = _LETTER | CATEGORIES["Nl"] | fixed(OTHER_ALPHABETIC)
_WHITE_SPACE = CATEGORIES["Z"] | fixed(((9, 0xD), (0x85, 0x85)))
_LOWERCASE, _UPPERCASE = where(str.islower), where(str.isupper)

# \p{IsName}: names in capital letters
UNICODE_PROPERTIES = {
    "ALPHABETIC": _ALPHABETIC,
    "LETTER": _LETTER,
    "LOWERCASE": _LOWERCASE,
    "UPPERCASE": _UPPERCASE,
    "TITLECASE": CATEGORIES["Lt"],
    "WHITE_SPACE": _WHITE_SPACE,
    "WHITESPACE": _WHITE_SPACE,
    "CONTROL": CATEGORIES["Cc"],
    "PUNCTUATION": CATEGORIES["P"],
    "DIGIT": _DIGIT,
    "ALNUM": _ALPHABETIC | _DIGIT,
    "ASSIGNED": ~CATEGORIES["Cn"],
}

# \p{javaName}: the methods of java.lang.Character
JAVA_METHODS = {
    "javaLowerCase": _LOWERCASE,
    "javaUpperCase": _UPPERCASE,
    "javaAlphabetic": _ALPHABETIC,
    "javaTitleCase": CATEGORIES["Lt"],
    "javaDigit": _DIGIT,
    "javaDefined": ~CATEGORIES["Cn"],
    "javaLetter": _LETTER,
    "javaLetterOrDigit": CATEGORIES["LD"],
    "javaSpaceChar": CATEGORIES["Z"],
    "javaWhitespace": (CATEGORIES["Z"] & ~fixed(of("\u00a0\u2007\u202f"))) | fixed(((9, 0xD), (0x1C, 0x1F))),
    "javaISOControl": CATEGORIES["Cc"],
}

BOUNDARY_MARK = CATEGORIES["Mn"]

LINE_TERMINATORS = fixed(of("\n\r\x85\u2028\u2029"))
HORIZONTAL = fixed(of(" \t\xa0\u1680\u180e\u202f\u205f\u3000")) | fixed(((0x2000, 0x200A),))
VERTICAL = fixed(of("\n\x0b\f\r\x85\u2028\u2029"))
EVERYTHING = CATEGORIES["all"]


_LETTERS_WITH_CASE = _LOWERCASE | _UPPERCASE | CATEGORIES["Lt"]
_IN_BOTH_CASES = {
    **dict.fromkeys(("Lu", "Ll", "Lt"), CATEGORIES["LC"]),
    **dict.fromkeys(("Lower", "Upper"), ALPHA),
    **dict.fromkeys(("javaLowerCase", "javaUpperCase", "javaTitleCase"), _LETTERS_WITH_CASE),
    **dict.fromkeys(("LOWERCASE", "UPPERCASE", "TITLECASE"), _LETTERS_WITH_CASE),
}


def in_both_cases(name: str, found: CharacterSet) -> CharacterSet:
    """Return the set that Java takes for the property of this name where case is ignored."""
    return _IN_BOTH_CASES.get(name) or _IN_BOTH_CASES.get(name.upper()) or found
