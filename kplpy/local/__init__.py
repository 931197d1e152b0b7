"""A local Kinesis, Firehose and CloudWatch: a model of the services, and an HTTP server for the model.

The model (`kplpy.local.Model`) enforces the service's limits. It needs only Python.
The servers need the extra: pip install 'kplpy[local]'.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kplpy.local.model.errors import ServiceError
    from kplpy.local.model.faults import Fault, Faults
    from kplpy.local.model.ledger import DeliveryLedgerRecord, LedgerRecord
    from kplpy.local.model.limits import Limits, Phases
    from kplpy.local.model.model import Exchange, Model
    from kplpy.local.server.inprocess import LocalKinesis
    from kplpy.local.server.process import LocalKinesisProcess, serve

__all__ = [
    "DeliveryLedgerRecord",
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

_MODULES = {
    "DeliveryLedgerRecord": "model.ledger",
    "Exchange": "model.model",
    "Fault": "model.faults",
    "Faults": "model.faults",
    "LedgerRecord": "model.ledger",
    "Limits": "model.limits",
    "LocalKinesis": "server.inprocess",
    "LocalKinesisProcess": "server.process",
    "Model": "model.model",
    "Phases": "model.limits",
    "ServiceError": "model.errors",
    "serve": "server.process",
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use, because importing the pytest plugin must stay cheap.

    Raises ImportError with the name of the extra if a package is missing.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"kplpy.local.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("kplpy"):
            raise
        raise ImportError(
            f"kplpy.local.{name} needs the extra: pip install 'kplpy[local]' (missing: {error.name})"
        ) from error
