"""What a local Kinesis is started with, checked in one place for the thread, the process and the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kplpy.local.checks import NAME
from kplpy.local.limits import Limits, Phases
from kplpy.local.model import Model

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Options:
    """See LocalKinesis for the meaning of each; a bad value raises ValueError with the value and the rule."""

    shards: int = 1
    stream: str | None = "test"
    streams: Mapping[str, int] | None = None
    limits: Limits | None = None
    phases: Phases | None = None
    https: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    region_name: str = "us-east-1"
    store: bool = True
    retention_bytes: int | None = GIB
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        for name, shards in self.wanted_streams().items():
            if not isinstance(name, str) or not re.fullmatch(NAME, name) or len(name) > 128:
                raise ValueError(f"a stream's name must match {NAME}, at most 128 characters; got {name!r}")
            if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= 10_000:
                raise ValueError(f"a stream has 1 to 10000 shards; got {shards!r} for {name!r}")
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 (any free one) to 65535, got {self.port!r}")
        if not self.host:
            raise ValueError("host must not be empty; 127.0.0.1 serves this machine only")
        if not re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-\d+", self.region_name):
            raise ValueError(f"region_name must look like us-east-1, got {self.region_name!r}")
        if self.retention_bytes is not None and self.retention_bytes < 1:
            raise ValueError(f"retention_bytes must be 1 or more, or None for no bound; got {self.retention_bytes!r}")
        if self.data_dir is not None and not self.store:
            raise ValueError("data_dir keeps every record, store=False none: choose one")
        if self.limits is not None and not isinstance(self.limits, Limits):
            raise ValueError(f"limits must be a kplpy.local.Limits or None, got {self.limits!r}")
        if self.phases is not None and not isinstance(self.phases, Phases):
            raise ValueError(f"phases must be a kplpy.local.Phases or None, got {self.phases!r}")

    def wanted_streams(self) -> dict[str, int]:
        """The streams to begin with, by name, with their numbers of shards."""
        if self.streams is not None:
            return dict(self.streams)
        return {} if self.stream is None else {self.stream: self.shards}

    def model(self) -> Model:
        return Model(
            limits=self.limits,
            phases=self.phases,
            region=self.region_name,
            store=self.store,
            retention_bytes=self.retention_bytes,
        )
