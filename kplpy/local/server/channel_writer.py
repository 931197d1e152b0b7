"""Writes what channels deliver as files: a folder for each bucket, a file for each object."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from kplpy.local.model.channel import StoredObject
from kplpy.local.model.errors import ServiceError
from kplpy.local.model.model import Model

_POLL = 0.2
"""Seconds between two looks for data that is due."""


class ChannelWriter:
    """Delivers the channels of a model on the event loop.

    directory: holds the buckets; created if it does not exist
    seconds: the freshness of all channels; None: each one's own

    An object is written before the model notes it as delivered. After a kill in between, it is written again.
    """

    def __init__(self, model: Model, directory: Path, seconds: float | None, clock: Callable[[], float]) -> None:
        self._model, self._directory, self._seconds, self._clock = model, directory, seconds, clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver; raises OSError if the directory cannot be made."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self.deliver()
            await asyncio.sleep(_POLL)

    def deliver(self) -> None:
        """Write what is due. A channel whose objects cannot be written is FAILED until they can."""
        for channel, objects, count in self._model.due_channels(self._clock(), self._seconds):
            try:
                for each in objects:
                    self._write(each)
                self._model.note_delivery(channel, count, self._clock())
            except (OSError, ServiceError) as error:
                channel.failure = f"The object cannot be written: {error}"
            else:
                channel.failure = None

    def _write(self, stored: StoredObject) -> None:
        path = self._directory / stored.bucket / stored.key
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_bytes(stored.body)
        os.replace(unfinished, path)
