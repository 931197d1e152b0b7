"""Chooses between compiled code and its twin in Python.

`compiled` marks a class or a function that kplpy/accelerator/native.pyx has, too. The Python twin is the reference: the
compiled code must do the same in each case. KPLPY_ACCELERATOR in the environment chooses, when kplpy is imported:

- auto, or not set: compiled code if it can be loaded.
- no: Python only.
- must: an ImportError if the compiled code cannot be loaded.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

INTERFACE = 3
"""Changed together with native.pyx, so that an extension of other sources is not loaded."""
VARIABLE = "KPLPY_ACCELERATOR"
_MISSING = "kplpy.accelerator.native"

_Twin = TypeVar("_Twin")


def _load() -> tuple[ModuleType | None, str]:
    """Return the extension module. Without it: None, and the reason."""
    wanted = os.environ.get(VARIABLE, "auto")
    if wanted == "no":
        return None, f"{VARIABLE}=no"
    if wanted not in ("", "auto", "must"):
        raise ImportError(f"{VARIABLE} must be auto, no or must, got {wanted!r}")
    reason = _why_not()
    module = None
    if not reason:
        try:
            module = import_module(_MISSING)
        except ModuleNotFoundError as error:
            reason = _why_not_built() if error.name == _MISSING else str(error)
        except ImportError as error:
            reason = str(error)
        else:
            if module.INTERFACE != INTERFACE:
                module, reason = None, "it was compiled from other sources: install kplpy again"
            elif not module.take():
                module, reason = None, "kplpy was imported before in this process, and imported again"
    if module is None and wanted == "must":
        raise ImportError(f"{VARIABLE}=must, and the accelerator cannot be loaded: {reason}")
    return module, reason


def _why_not() -> str:
    """Return why this interpreter must not load the extension. Empty if it may."""
    if sys.implementation.name != "cpython":
        return f"it is for CPython, and this is {sys.implementation.name}"
    if "t" in getattr(sys, "abiflags", ""):
        return "it needs the GIL, and this Python is free-threaded"
    return ""


def _why_not_built() -> str:
    """Return the reason that hatch_build.py wrote when kplpy was installed."""
    try:
        return Path(__file__).with_name("not_built.txt").read_text(encoding="utf-8").strip()
    except OSError:
        return "this package was built without it"


native: Any
native, reason = _load()
accelerated = native is not None
twins: dict[str, Any] = {}
"""The Python twins by name, for tests."""


def compiled(twin: _Twin) -> _Twin:
    """Return the compiled class or function of the twin's name, or the twin where the extension is not loaded."""
    name: str = twin.__name__  # type: ignore[attr-defined]
    twins[name] = twin
    chosen: _Twin = twin if native is None else getattr(native, name)
    return chosen


def signature_of(method: Callable[..., Any]) -> str:
    """Return the parameters of a method in Python as the documentation of a method in C has them."""
    parameters = inspect.signature(method).parameters.values()
    plain = inspect.Signature([each.replace(annotation=inspect.Parameter.empty) for each in parameters])
    return str(plain).replace("(self", "($self, /", 1)


def describe() -> str:
    """Return in words which code runs, and why."""
    return f"on ({native.vectors()})" if native is not None else f"off ({reason})"
