"""Makes text from outside safe to show in a log, an exception, a repr or a terminal."""

from __future__ import annotations

import re

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


def _escaped(found: re.Match[str]) -> str:
    return ascii(found.group())[1:-1]
