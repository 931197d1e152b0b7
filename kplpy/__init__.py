"""A producer library for Amazon Kinesis Data Streams, modelled on the KPL."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kplpy import serializers as serializers
    from kplpy.config.options import Config as Config
    from kplpy.config.streams import StreamOptions as StreamOptions
    from kplpy.errors import AggregateTooLargeError as AggregateTooLargeError
    from kplpy.errors import BatchTooLargeError as BatchTooLargeError
    from kplpy.errors import BufferFullError as BufferFullError
    from kplpy.errors import CheckpointError as CheckpointError
    from kplpy.errors import ConfigError as ConfigError
    from kplpy.errors import FlushTimeoutError as FlushTimeoutError
    from kplpy.errors import ForkedError as ForkedError
    from kplpy.errors import InvalidRecordError as InvalidRecordError
    from kplpy.errors import KplpyError as KplpyError
    from kplpy.errors import NotPicklableError as NotPicklableError
    from kplpy.errors import ProducerClosedError as ProducerClosedError
    from kplpy.errors import RecordExpiredError as RecordExpiredError
    from kplpy.errors import RecordFailedError as RecordFailedError
    from kplpy.errors import RecordRefusedError as RecordRefusedError
    from kplpy.errors import RecordSpooledError as RecordSpooledError
    from kplpy.errors import RejectedError as RejectedError
    from kplpy.errors import SetupError as SetupError
    from kplpy.errors import SpoolError as SpoolError
    from kplpy.errors import SpoolFullError as SpoolFullError
    from kplpy.errors import ThrottledError as ThrottledError
    from kplpy.errors import UnreadableBatchError as UnreadableBatchError
    from kplpy.futures.record_future import RecordFuture as RecordFuture
    from kplpy.producer import Producer as Producer
    from kplpy.records import Attempt as Attempt
    from kplpy.records import RecordResult as RecordResult
    from kplpy.records import UserRecord as UserRecord
    from kplpy.reports import Health as Health
    from kplpy.reports import HotKey as HotKey
    from kplpy.reports import HotKeys as HotKeys
    from kplpy.reports import StreamTotals as StreamTotals
    from kplpy.wire.deaggregate import deaggregate as deaggregate
    from kplpy.wire.deaggregate_all import UserRecords as UserRecords
    from kplpy.wire.deaggregate_all import deaggregate_all as deaggregate_all

__version__ = "0.2.0"

if TYPE_CHECKING:
    __accelerated__: bool  # compiled code runs: docs/accelerator.md

# The module of each public name, imported when the name is first used, so that `import kplpy` costs next to nothing.
_HOMES = {
    "AggregateTooLargeError": "kplpy.errors",
    "Attempt": "kplpy.records",
    "BatchTooLargeError": "kplpy.errors",
    "BufferFullError": "kplpy.errors",
    "Config": "kplpy.config.options",
    "CheckpointError": "kplpy.errors",
    "ConfigError": "kplpy.errors",
    "FlushTimeoutError": "kplpy.errors",
    "ForkedError": "kplpy.errors",
    "Health": "kplpy.reports",
    "HotKey": "kplpy.reports",
    "HotKeys": "kplpy.reports",
    "InvalidRecordError": "kplpy.errors",
    "KplpyError": "kplpy.errors",
    "NotPicklableError": "kplpy.errors",
    "Producer": "kplpy.producer",
    "ProducerClosedError": "kplpy.errors",
    "RecordExpiredError": "kplpy.errors",
    "RecordFailedError": "kplpy.errors",
    "RecordFuture": "kplpy.futures.record_future",
    "RecordRefusedError": "kplpy.errors",
    "RecordResult": "kplpy.records",
    "RecordSpooledError": "kplpy.errors",
    "RejectedError": "kplpy.errors",
    "SetupError": "kplpy.errors",
    "SpoolError": "kplpy.errors",
    "SpoolFullError": "kplpy.errors",
    "StreamOptions": "kplpy.config.streams",
    "StreamTotals": "kplpy.reports",
    "ThrottledError": "kplpy.errors",
    "UnreadableBatchError": "kplpy.errors",
    "UserRecord": "kplpy.records",
    "UserRecords": "kplpy.wire.deaggregate_all",
    "deaggregate": "kplpy.wire.deaggregate",
    "deaggregate_all": "kplpy.wire.deaggregate_all",
}

__all__ = sorted([*_HOMES, "__accelerated__", "__version__"])


def __getattr__(name: str) -> Any:
    if name == "serializers":
        return import_module("kplpy.serializers")
    if name == "__accelerated__":
        return import_module("kplpy.accelerator").accelerated
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'kplpy' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
