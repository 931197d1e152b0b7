r"""Parses a regular expression of java.util.regex (Java 17), as java.util.regex.Pattern does.

Character classes follow its rules where they differ from Python's: nested classes are united, && intersects with all
that follows it, "]" is a literal at the start only, and white space in a class is skipped with (?x).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from kplpy.agent.processing import character_sets as sets
from kplpy.agent.processing.character_sets import CharacterSet
from kplpy.agent.processing.syntax import (
    Alternatives,
    Anchor,
    Atomic,
    Boundary,
    Chars,
    Group,
    Look,
    Node,
    Reference,
    Repeat,
    Sequence,
)

ESCAPED_CLASSES: dict[str, CharacterSet] = {
    "d": sets.DIGIT,
    "w": sets.WORD,
    "s": sets.SPACE,
    "h": sets.HORIZONTAL,
    "v": sets.VERTICAL,
}
CONTROL_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "a": "\a", "e": "\x1b"}
END = ""  # what peek() returns behind the pattern
WHITE = frozenset(" \t\n\v\f\r")
HEX = frozenset("0123456789abcdefABCDEF")
OCTAL = frozenset("01234567")
DIGITS = frozenset("0123456789")
ASCII_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
FLAGS = "idmsuxU"
MOST = 2**31 - 1  # of a quantifier


class SyntaxProblem(Exception):
    """A construct that Java refuses, or that cannot be translated. args: what is wrong; position: its index."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


@dataclass(slots=True)
class LineBreak(Group):
    r"""\R."""


@dataclass(slots=True)
class _Token:
    """One character of the pattern. quoted: between \\Q and \\E, where each character stands for itself."""

    char: str
    position: int
    quoted: bool = False


@dataclass(slots=True)
class Parsed:
    """A pattern's parts. names: group name → number, in Java's count."""

    node: Node
    groups: int
    names: dict[str, int]
    has_last_match: bool  # \G


def _tokens(pattern: str) -> list[_Token]:
    tokens: list[_Token] = []
    i, quoted = 0, False
    while i < len(pattern):
        pair = pattern[i : i + 2]
        if quoted and pair == "\\E":
            quoted = False
            i += 2
        elif quoted:
            tokens.append(_Token(pattern[i], i, True))
            i += 1
        elif pair == "\\Q":
            quoted = True
            i += 2
        else:
            # An escape is kept whole, so that the Q of an escaped backslash and a Q begins no quotation.
            length = 2 if pattern[i] == "\\" else 1
            tokens += [_Token(c, i + n) for n, c in enumerate(pattern[i : i + length])]
            i += length
    return tokens


def parse(pattern: str, flags: str = "") -> Parsed:
    """Return the parts of a pattern. flags: letters of inline flags that hold from the start.

    Raises SyntaxProblem, with the construct and its position.
    """
    parser = _Parser(pattern, frozenset(flags))
    node = parser.alternatives()
    if parser.here < len(parser.tokens):
        raise parser.problem("a closing parenthesis without an opening one")
    for position, number in parser.references:
        if number > parser.groups:
            raise SyntaxProblem(f"a backreference to group {number}, and there are {parser.groups}", position)
    return Parsed(node, parser.groups, parser.names, parser.has_last_match)


@dataclass(slots=True)
class _Parser:
    pattern: str
    flags: frozenset[str]
    tokens: list[_Token] = field(init=False)
    here: int = 0
    groups: int = 0
    names: dict[str, int] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    references: list[tuple[int, int]] = field(default_factory=list)
    has_last_match: bool = False
    depth: int = 0

    def __post_init__(self) -> None:
        self.tokens = _tokens(self.pattern)

    # reading

    def position(self, ahead: int = 0) -> int:
        at = self.here + ahead
        return self.tokens[at].position if at < len(self.tokens) else len(self.pattern)

    def problem(self, reason: str, ahead: int = 0) -> SyntaxProblem:
        return SyntaxProblem(reason, self.position(ahead))

    def peek(self, ahead: int = 0) -> str:
        """Return the next character if it can be syntax: END at the end, NUL for a quoted one."""
        at = self.here + ahead
        if at >= len(self.tokens):
            return END
        return "\0quoted" if self.tokens[at].quoted else self.tokens[at].char

    def raw(self, ahead: int = 0) -> str:
        at = self.here + ahead
        return self.tokens[at].char if at < len(self.tokens) else END

    def take(self) -> str:
        char = self.raw()
        self.here += 1
        return char

    def accept(self, char: str) -> bool:
        if self.peek() == char:
            self.here += 1
            return True
        return False

    def skip_comments(self) -> None:
        """Skip white space and comments where (?x) holds."""
        if "x" not in self.flags:
            return
        ends = "\n" if "d" in self.flags else "\n\r\x85\u2028\u2029"
        while True:
            if self.peek() in WHITE:
                self.here += 1
            elif self.peek() == "#":
                while self.peek() != END and self.peek() not in ends:
                    self.here += 1
            else:
                return

    # structure

    def alternatives(self) -> Node:
        self.depth += 1
        if self.depth > 100:
            raise self.problem("groups nested more than 100 deep")
        branches = [self.sequence()]
        while self.accept("|"):
            branches.append(self.sequence())
        self.depth -= 1
        return branches[0] if len(branches) == 1 else Alternatives(branches)

    def sequence(self) -> Node:
        parts: list[Node] = []
        while True:
            self.skip_comments()
            char = self.peek()
            if char in (END, "|", ")"):
                return parts[0] if len(parts) == 1 else Sequence(parts)
            if char in ("*", "+", "?"):
                raise self.problem(f"a quantifier {char!r} behind nothing that it can repeat")
            if char == "{":
                raise self.problem("a '{' that is no quantifier; write \\{")
            node = self.group() if char == "(" else self.atom()
            if node is not None:
                parts.append(self.quantified(node))

    def quantified(self, node: Node) -> Node:
        self.skip_comments()
        char = self.peek()
        if char in ("?", "*", "+"):
            self.here += 1
            least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}[char]
        elif char == "{":
            least, most = self.braces()
        else:
            return node
        if isinstance(node, LineBreak):
            node = Atomic(node.body)  # Java does not come back into one that is repeated
        self.skip_comments()
        if self.accept("+"):
            return Atomic(Repeat(node, least, most))
        return Repeat(node, least, most, lazy=self.accept("?"))

    def braces(self) -> tuple[int, int | None]:
        start = self.position()
        self.here += 1
        least = most = self.digits()
        if least is None:
            raise SyntaxProblem("a '{' that is no quantifier; write \\{", start)
        if self.accept(","):
            most = self.digits()
        if not self.accept("}"):
            raise SyntaxProblem("a quantifier without its '}'", start)
        if most is not None and most < least:
            raise SyntaxProblem(f"a quantifier from {least} to {most}", start)
        if max(least, most or 0) > MOST:
            raise SyntaxProblem(f"a quantifier above {MOST}", start)
        return least, most

    def digits(self) -> int | None:
        start = self.here
        while self.peek() in DIGITS and self.peek() != END:
            self.here += 1
        return int("".join(token.char for token in self.tokens[start : self.here])) if self.here > start else None

    def group(self) -> Node | None:
        start = self.position()
        self.here += 1
        flags = self.flags
        if not self.accept("?"):
            return self.capturing(None, start)
        char = self.take()
        node: Node
        if char == ":":
            node = Group(self.body(start))
        elif char in ("=", "!"):
            node = Look(self.body(start), behind=False, negative=char == "!")
        elif char == ">":
            node = Atomic(self.body(start))
        elif char == "<" and self.peek() in ("=", "!"):
            negative = self.take() == "!"
            node = Look(self.body(start), behind=True, negative=negative)
        elif char == "<":
            return self.capturing(self.group_name(), start)
        else:
            self.here -= 1
            if not self.inline_flags(start):
                return None
            node = Group(self.body(start))
        self.flags = flags
        return node

    def body(self, start: int) -> Node:
        node = self.alternatives()
        if not self.accept(")"):
            raise SyntaxProblem("a group without its closing parenthesis", start)
        return node

    def capturing(self, name: str | None, start: int) -> Node:
        flags = self.flags
        self.groups += 1
        number = self.groups
        if name is not None:
            if name in self.names:
                raise SyntaxProblem(f"the group name {name!r} a second time", start)
            self.names[name] = number
        node = Group(self.body(start), number, name)
        self.closed.add(number)
        self.flags = flags
        return node

    def group_name(self) -> str:
        start = self.here
        while self.peek() in ASCII_LETTERS or (self.here > start and self.peek() in DIGITS):
            self.here += 1
        name = "".join(token.char for token in self.tokens[start : self.here])
        if not name:
            raise self.problem("a group name that does not begin with an ASCII letter")
        if not self.accept(">"):
            raise self.problem("a group name with other characters than ASCII letters and digits, or without '>'")
        return name

    def inline_flags(self, start: int) -> bool:
        """Read (?flags-flags) or (?flags-flags:. Return True if a group begins."""
        on = True
        flags = set(self.flags)
        while True:
            char = self.peek()
            if char in FLAGS and char != END:
                if char == "U" and on:
                    raise self.problem("the flag U: character classes of all of Unicode")
                (flags.add if on else flags.discard)(char)
            elif char == "-" and on:
                on = False
            elif char in (")", ":"):
                self.here += 1
                self.flags = frozenset(flags)
                return char == ":"
            else:
                found = self.raw()
                hint = "; Java writes (?<name>" if found == "P" else ""
                raise SyntaxProblem(f"the unknown group kind or flag '(?{found}'{hint}", start)
            self.here += 1

    # single characters

    @property
    def ignore_case(self) -> bool:
        return "i" in self.flags

    @property
    def unicode_case(self) -> bool:
        return "u" in self.flags

    def literal(self, char: str) -> Chars:
        if self.ignore_case:
            has_case = char.isalpha() if self.unicode_case else char in ASCII_LETTERS
            if has_case:
                return Chars(sets.single(char, True, self.unicode_case))
        return Chars(sets.fixed(sets.of(char)), char)

    def atom(self) -> Node:
        unix = "d" in self.flags
        many_lines = "m" in self.flags
        match self.peek():
            case "[":
                self.here += 1
                return Chars(self.character_class(consume=True))
            case "\\":
                return self.escape()
            case "^":
                self.here += 1
                return Anchor("line_begin" if many_lines else "begin", unix)
            case "$":
                self.here += 1
                return Anchor("line_end" if many_lines else "end", unix)
            case ".":
                self.here += 1
                if "s" in self.flags:
                    return Chars(sets.EVERYTHING)
                return Chars(~(sets.fixed(sets.of("\n")) if unix else sets.LINE_TERMINATORS))
        return self.literal(self.take())

    def escape(self) -> Node:
        char = self.peek(1)
        match char:
            case "A":
                node: Node = Anchor("begin")
            case "z":
                node = Anchor("very_end")
            case "Z":
                node = Anchor("end", "d" in self.flags)
            case "G":
                self.has_last_match = True
                node = Anchor("begin")
            case "b" | "B":
                if char == "b" and self.peek(2) == "{" and self.peek(3) == "g":
                    raise self.problem(r"the boundary of grapheme clusters, \b{g}")
                node = Boundary(negative=char == "B")
            case "R":
                pair = Sequence([Chars(sets.fixed(sets.of(c)), c) for c in "\r\n"])
                node = LineBreak(Alternatives([pair, Chars(sets.VERTICAL)]))
            case "X":
                raise self.problem(r"the grapheme cluster, \X")
            case "k":
                return self.named_reference()
            case _ if char in DIGITS and char not in (END, "0"):
                return self.numbered_reference()
            case _:
                found = self.escaped_character()
                return self.literal(found) if isinstance(found, str) else Chars(found)
        self.here += 2
        return node

    def named_reference(self) -> Node:
        start = self.position()
        self.here += 2
        if not self.accept("<"):
            raise SyntaxProblem(r"\k without '<name>'", start)
        name = self.group_name()
        if name not in self.names:
            raise SyntaxProblem(f"a backreference to the group {name!r}, which does not exist before it", start)
        return self.reference(self.names[name], start)

    def numbered_reference(self) -> Node:
        start = self.position()
        self.here += 1
        number = int(self.take())
        # Further digits belong to the number as long as there is such a group.
        while self.peek() in DIGITS and self.peek() != END and number * 10 + int(self.peek()) <= self.groups:
            number = number * 10 + int(self.take())
        return self.reference(number, start)

    def reference(self, number: int, start: int) -> Node:
        if number not in self.closed:
            raise SyntaxProblem(f"a backreference to group {number}, which is not closed before it", start)
        if number > 99:
            raise SyntaxProblem("a backreference to a group above 99", start)
        return Reference(number, self.ignore_case, self.unicode_case)

    def escaped_character(self, before_range: bool = False) -> str | CharacterSet:
        """Read an escape that stands for one character, inside or outside a class."""
        start = self.position()
        self.here += 1
        if self.here >= len(self.tokens):
            raise SyntaxProblem("a backslash at the end", start)
        char = self.take()
        if char == "v" and before_range:
            return "\v"
        if char in ESCAPED_CLASSES:
            return ESCAPED_CLASSES[char]
        if char.lower() in ESCAPED_CLASSES and char in ASCII_LETTERS:
            return ~ESCAPED_CLASSES[char.lower()]
        if char in CONTROL_ESCAPES:
            return CONTROL_ESCAPES[char]
        match char:
            case "p" | "P":
                found = self.property(start)
                return ~found if char == "P" else found
            case "0":
                return self.octal(start)
            case "x":
                return self.hexadecimal(start)
            case "u":
                return self.utf16(start)
            case "c":
                if self.here >= len(self.tokens):
                    raise SyntaxProblem(r"\c without a character", start)
                return chr(ord(self.take()) ^ 64)
            case "N":
                return self.character_name(start)
        if char in ASCII_LETTERS or char in DIGITS:
            raise SyntaxProblem(f"the escape \\{char}, which Java does not have here", start)
        return char

    def octal(self, start: int) -> str:
        digits = ""
        while self.peek() in OCTAL and self.peek() != END and len(digits) < 3:
            if len(digits) == 2 and digits[0] > "3":
                break
            digits += self.take()
        if not digits:
            raise SyntaxProblem(r"\0 without octal digits", start)
        return chr(int(digits, 8))

    def hexadecimal(self, start: int) -> str:
        if self.accept("{"):
            digits = ""
            while self.peek() in HEX and self.peek() != END:
                digits += self.take()
            if not digits or not self.accept("}") or int(digits, 16) > 0x10FFFF:
                raise SyntaxProblem(r"\x{…} that is no hexadecimal code point with its '}'", start)
            return chr(int(digits, 16))
        return chr(self.hex_digits(2, start))

    def hex_digits(self, count: int, start: int) -> int:
        digits = "".join(self.raw(n) for n in range(count))
        if len(digits) < count or not HEX.issuperset(digits):
            raise SyntaxProblem(f"an escape without its {count} hexadecimal digits", start)
        self.here += count
        return int(digits, 16)

    def utf16(self, start: int) -> str:
        code = self.hex_digits(4, start)
        if 0xD800 <= code < 0xDC00 and self.peek() == "\\" and self.peek(1) == "u":
            before = self.here
            self.here += 2
            low = self.hex_digits(4, start)
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
            self.here = before
        return chr(code)

    def character_name(self, start: int) -> str:
        if not self.accept("{"):
            raise SyntaxProblem(r"\N without '{NAME}'", start)
        name = self.until_brace(start)
        try:
            return unicodedata.lookup(name)
        except KeyError:
            raise SyntaxProblem(f"the unknown character name {name!r}", start) from None

    def until_brace(self, start: int) -> str:
        name = ""
        while self.raw() not in ("}", END):
            name += self.take()
        if not self.accept("}"):
            raise SyntaxProblem("a name without its '}'", start)
        return name

    def property(self, start: int) -> CharacterSet:
        if not self.accept("{"):
            if self.here >= len(self.tokens):
                raise SyntaxProblem(r"\p without a name", start)
            return self.named_property(self.take(), start)
        return self.named_property(self.until_brace(start), start)

    def named_property(self, name: str, start: int) -> CharacterSet:
        found: CharacterSet | None
        key, equals, value = name.partition("=")
        if equals and key.lower() in ("gc", "general_category"):
            found = sets.CATEGORIES.get(value)
            name = value
        elif equals or name.startswith("In"):
            raise SyntaxProblem(f"the script or block \\p{{{name}}}: only categories and properties are known", start)
        elif name.startswith("Is"):
            name = name[2:]
            found = sets.UNICODE_PROPERTIES.get(name.upper()) or sets.CATEGORIES.get(name) or sets.POSIX.get(name)
            if found is None:
                raise SyntaxProblem(f"the script or property \\p{{Is{name}}}: it is not known", start)
        else:
            found = sets.CATEGORIES.get(name) or sets.POSIX.get(name) or sets.JAVA_METHODS.get(name)
        if found is None:
            raise SyntaxProblem(f"the unknown property \\p{{{name}}}", start)
        if self.ignore_case:
            found = sets.in_both_cases(name, found)
        return found

    # character classes

    def character_class(self, consume: bool) -> CharacterSet:
        """Read a class behind its "[", or with consume=False the rest of one behind &&."""
        start = self.position(-1)
        self.skip_comments()
        negated = consume and self.tokens[self.here - 1].char == "[" and self.accept("^")
        result: CharacterSet | None = None
        while True:
            self.skip_comments()
            char = self.peek()
            if char == END:
                raise SyntaxProblem("a character class without its ']'", start)
            if char == "]" and result is not None:
                self.here += consume
                return ~result if negated else result
            if char == "[":
                self.here += 1
                found = self.character_class(consume=True)
            elif char == "&" and self.peek(1) == "&":
                self.here += 2
                result = self.intersection(result, start)
                continue
            else:
                found = self.class_range()
            result = found if result is None else result | found

    def intersection(self, left: CharacterSet | None, start: int) -> CharacterSet:
        right: CharacterSet | None = None
        while True:
            self.skip_comments()
            char = self.peek()
            if char == END:
                raise SyntaxProblem("a character class without its ']'", start)
            if char in ("]", "&"):
                break
            if char == "[":
                self.here += 1
                nested = self.character_class(consume=True)
                right = nested if right is None else right | nested
            elif right is not None:
                raise self.problem("characters behind a nested class on the right of &&")
            else:
                right = self.character_class(consume=False)
        if right is None:
            raise self.problem("an && without a right side")
        return right if left is None else left & right

    def class_range(self) -> CharacterSet:
        start = self.position()
        if self.peek() == "\\":
            found = self.escaped_character(before_range=self.peek(2) == "-")
            if not isinstance(found, str):
                return found
            first = found
        else:
            first = self.take()
        self.skip_comments()
        if self.peek() != "-" or self.peek(1) in ("[", "]", END):
            return sets.single(first, self.ignore_case, self.unicode_case)
        self.here += 1
        self.skip_comments()
        if self.peek() == "\\":
            found = self.escaped_character(before_range=True)
            if not isinstance(found, str):
                raise SyntaxProblem("a range of characters that ends in a class", start)
            last = found
        else:
            last = self.take()
        if last < first:
            raise SyntaxProblem(f"the range of characters {first}-{last}, which is backwards", start)
        return sets.span(first, last, self.ignore_case, self.unicode_case)
