"""A Kinesis for this machine: a model of the service that enforces its limits, and a server in front of it.

The model (`kplpy.local.Model`) needs nothing but Python. The servers need the extra: pip install 'kplpy[local]'.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kplpy.local.errors import ServiceError
    from kplpy.local.faults import Fault, Faults
    from kplpy.local.inprocess import LocalKinesis
    from kplpy.local.limits import Limits, Phases
    from kplpy.local.model import Exchange, LedgerRecord, Model
    from kplpy.local.process import LocalKinesisProcess, serve

__all__ = [
    "Exchange",
    "Fault",
    "Faults",
    "LedgerRecord",
    "Limits",
    "LocalKinesis",
    "LocalKinesisProcess",
    "Model",
    "Phases",
    "ServiceError",
    "serve",
]

_PLACES = {
    "Exchange": "model",
    "Fault": "faults",
    "Faults": "faults",
    "LedgerRecord": "model",
    "Limits": "limits",
    "LocalKinesis": "inprocess",
    "LocalKinesisProcess": "process",
    "Model": "model",
    "Phases": "limits",
    "ServiceError": "errors",
    "serve": "process",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for (the pytest plugin must cost nothing), and say which extra is missing."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"kplpy.local.{_PLACES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("kplpy"):
            raise
        raise ImportError(
            f"kplpy.local.{name} needs the extra: pip install 'kplpy[local]' (missing: {error.name})"
        ) from error
