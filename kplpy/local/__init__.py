"""A Kinesis for this machine: a model of the service that enforces its limits, and a server in front of it.

The model (`kplpy.local.Model`) needs nothing but Python. The servers need the extra: pip install 'kplpy[local]'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kplpy.local.errors import ServiceError
from kplpy.local.faults import Fault, Faults
from kplpy.local.limits import Limits, Phases
from kplpy.local.model import Exchange, LedgerRecord, Model

if TYPE_CHECKING:
    from kplpy.local.inprocess import LocalKinesis
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

_SERVERS = {"LocalKinesis": "inprocess", "LocalKinesisProcess": "process", "serve": "process"}


def __getattr__(name: str) -> Any:
    """Import a server when it is asked for, and say which extra is missing."""
    if name not in _SERVERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"kplpy.local.{_SERVERS[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("kplpy"):
            raise
        raise ImportError(
            f"kplpy.local.{name} needs the extra: pip install 'kplpy[local]' (missing: {error.name})"
        ) from error
