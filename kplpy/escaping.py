"""Makes text from outside safe to show in a log, an exception, a repr or a terminal."""

from __future__ import annotations

import re
from itertools import islice
from reprlib import Repr
from typing import Any

# C0, DEL and C1 controls; line and paragraph separators; overrides of the text direction; lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# user:password@ of a URL. A password may hold an unescaped slash. Without a colon the user ends at the first slash.
_SIGN_IN = re.compile(r"(://)(?:[^\s\"'/?#@:]*:[^\s\"']*|[^\s\"'/?#]*)@")


def escape_controls(text: str) -> str:
    r"""Return `text` with each control character as Python would write it: `\n`, `\x1b`, `\u2028`.

    A line break could forge a line of the log. An escape sequence could control the terminal. A direction override
    could show text in another order. A lone surrogate cannot be written as UTF-8. Tabs are escaped too. All other
    characters stay, backslashes included, so the result cannot be decoded.
    """
    return _UNSAFE.sub(_escaped, text)


def hide_sign_in(text: str) -> str:
    """Return `text` with *** for the user and password of each URL in it."""
    return _SIGN_IN.sub(r"\1***@", text)


def shown(text: str) -> str:
    """Return `text` as logs and exceptions show it: without passwords, on one line."""
    return escape_controls(hide_sign_in(text)) if text else text


def brief_repr(value: object, limit: int = 80) -> str:
    """Return at most `limit` characters of the value's repr, for the message of an error.

    Large strings, bytes and built-in collections are cut before their repr is made. A value whose own repr raises is
    shown as its type's name.
    """
    try:
        return _Brief(limit).repr(value)[:limit]
    except Exception:
        return f"<{type(value).__name__}>"


class _Brief(Repr):
    """Shows the beginning of large values. Values within others are shown three levels deep."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxlong = limit
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 10

    def repr_str(self, x: Any, level: int) -> str:
        return repr(x[: self.maxstring])

    repr_bytes = repr_bytearray = repr_str

    def repr_dict(self, x: Any, level: int) -> str:  # in the dict's own order: reprlib sorts it
        if level <= 0:
            return "{...}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for key, value in islice(x.items(), self.maxdict)
        ]
        return "{" + ", ".join(shown) + (", ...}" if len(x) > self.maxdict else "}")

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            return repr(x)
        except Exception:
            return f"<{type(x).__name__}>"


def _escaped(found: re.Match[str]) -> str:
    return ascii(found.group())[1:-1]
