"""Makes text from outside safe to show: in a log, an exception, or a terminal."""

from __future__ import annotations

import re

# C0, DEL and C1 controls; line and paragraph separators; what reverses the order of text; lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""Return `text` with each control character as Python would write it: `\n`, `\x1b`, `\u2028`.

    A line break could forge a line of the log, an escape sequence could command the terminal, an override of the
    direction could show text in another order, and a lone surrogate cannot be written as UTF-8. Tabs are escaped, too.
    All other characters stay, backslashes included: the result is for reading, not for decoding.
    """
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return ascii(found.group())[1:-1]
