"""Producers that a worker process keeps from task to task, by their options. For Spark, Ray and their like.

A producer a task would list the shards and open connections for each task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kplpy.concurrency import new_lock
from kplpy.config.options import Config
from kplpy.errors import ConfigError
from kplpy.producer import Producer

KEPT_IDLE = 4
"""Producers without a task that a process keeps. The one that was used least recently is closed first."""

_PLAIN = (str, int, float, bool, type(None))


class PlainOptions:
    """Fields of Config with values that can be sent to any process: str, int, float, bool, None, and groups of them.

    Raises ConfigError for another value, for an unknown field, and for a value that breaks the field's rule.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            _check_plain(name, value)
        Config(**options)
        self._options = dict(options)
        self.key = json.dumps(self._options, sort_keys=True)

    def config(self) -> Config:
        """Return a Config with these fields."""
        return Config(**self._options)


def _check_plain(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, each in value.items():
            _check_plain(f"{name}[{key!r}]", each)
    elif isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            _check_plain(f"{name}[{number}]", each)
    elif not isinstance(value, _PLAIN):
        raise ConfigError(
            f"{name} must be text, a number, True, False or None, because it is sent to worker processes; "
            f"got {type(value).__name__}"
        )


class _Kept:
    """A producer, and how many tasks use it."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.tasks = 0


_lock = new_lock()
_kept: dict[str, _Kept] = {}  # by PlainOptions.key, the least recently used first


@contextmanager
def worker_producer(options: PlainOptions) -> Iterator[Producer]:
    """Lend this process's producer with these options. It is made at the first use, and stays open afterwards.

    The caller awaits the outcomes of what it puts, so that nothing is buffered at the end of the block: a worker
    process may end without running exit handlers. If it does run them, the producer is closed as any other.
    """
    with _lock:
        kept = _kept.pop(options.key, None)
        if kept is None or not kept.producer.health().is_open:
            kept = _Kept(Producer(options.config()))
        _kept[options.key] = kept
        kept.tasks += 1
    try:
        yield kept.producer
    finally:
        with _lock:
            kept.tasks -= 1
            idle = [key for key, each in _kept.items() if not each.tasks]
            surplus = [_kept.pop(key).producer for key in idle[: len(_kept) - KEPT_IDLE] if len(_kept) > KEPT_IDLE]
        for producer in surplus:
            producer.close()
