"""Examines a stream and the way to it, and says what to mend: the command `kplpy doctor` as a function.

from kplpy.doctor import examine

report = examine("orders", rate=5000)
if not report.is_sound:
    print(report.problems)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kplpy.doctor.finding import Finding as Finding
    from kplpy.doctor.finding import Level as Level
    from kplpy.doctor.prices import Prices as Prices
    from kplpy.doctor.report import Report as Report
    from kplpy.doctor.run import examine as examine

__all__ = ["Finding", "Level", "Prices", "Report", "examine"]

# Imported when a name is first used: the command's help needs none of it, and the checks import botocore.
_MODULES = {"Finding": "finding", "Level": "finding", "Prices": "prices", "Report": "report", "examine": "run"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"kplpy.doctor.{_MODULES[name]}"), name)
