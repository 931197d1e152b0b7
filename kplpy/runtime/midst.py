"""Has a signal handler, or a __del__, struck this thread in the midst of kplpy's own work?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import dropwhile
from types import FrameType

from kplpy import forks

_WORK = ("kplpy.runtime.", "kplpy.core.", "kplpy.wire.")
# What calls a producer as users do: at the interpreter's end.
_CALLERS = ("kplpy.runtime.lifecycle", "kplpy.runtime.uwsgi")
_FRONT = ("kplpy.producer", "kplpy.runtime.waiting", "kplpy.runtime.engine")


_inherited: frozenset[int] = frozenset()  # the ids of frames that a fork left on the stack: of the parent's work


@forks.renew
def _inherit() -> None:
    global _inherited
    _inherited = frozenset(id(frame) for frame in _stack(sys._getframe()))


def is_below() -> bool:
    """Is kplpy at work below what called its producer?

    Told by the stack, for whoever took a lock cannot note that at once: the garbage collector may run, and with it any
    __del__, between the two. Some microseconds; for slow paths only.
    """
    frames = dropwhile(lambda frame: _module(frame) in _FRONT, _stack(sys._getframe(1)))  # the call itself
    return any(_is_work(_module(frame)) and id(frame) not in _inherited for frame in frames)


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_work(module: str) -> bool:
    return module.startswith(_WORK) and module not in _CALLERS
