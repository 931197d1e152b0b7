"""The options of a local Kinesis, checked for LocalKinesis, LocalKinesisProcess and the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from kplpy.local.model.limits import Limits, Phases
from kplpy.local.model.model import Model
from kplpy.local.model.validation import NAME

GIB = 1 << 30


class DefaultStream(str):
    """The name of the default stream.

    The stream is created unless a data directory has streams already.
    """


DEFAULT_STREAM = DefaultStream("test")


class Arguments(TypedDict, total=False):
    """The keyword arguments of LocalKinesis, which explains them."""

    shards: int
    stream: str | None
    streams: Mapping[str, int] | None
    delivery_streams: Collection[str]
    limits: Limits | bool | None
    phases: Phases | None
    https: bool
    host: str
    port: int
    region_name: str
    store: bool
    retention_bytes: int | None
    data_dir: str | Path | None
    channels_dir: str | Path | None
    channel_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """The arguments of LocalKinesis, which explains them.

    A bad value raises ValueError with the value and the rule.
    """

    shards: int = 1
    stream: str | None = DEFAULT_STREAM
    streams: Mapping[str, int] | None = None
    delivery_streams: Collection[str] = ()
    limits: Limits | bool | None = True
    phases: Phases | None = None
    https: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    region_name: str = "us-east-1"
    store: bool = True
    retention_bytes: int | None = GIB
    data_dir: str | Path | None = None
    channels_dir: str | Path | None = None
    channel_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, shards in self.wanted_streams().items():
            if not isinstance(name, str) or not re.fullmatch(NAME, name) or len(name) > 128:
                raise ValueError(f"a stream's name must match {NAME}, at most 128 characters; got {name!r}")
            if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= 10_000:
                raise ValueError(f"a stream has 1 to 10000 shards; got {shards!r} for {name!r}")
        if isinstance(self.delivery_streams, str):
            raise ValueError(f"delivery_streams must be a collection of names, got {self.delivery_streams!r}")
        for name in self.delivery_streams:
            if not isinstance(name, str) or not re.fullmatch(NAME, name) or len(name) > 64:
                raise ValueError(f"a delivery stream's name must match {NAME}, at most 64 characters; got {name!r}")
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 (any free port) to 65535, got {self.port!r}")
        if not self.host:
            raise ValueError("host must not be empty; 127.0.0.1 accepts connections from this machine only")
        if not re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-\d+", self.region_name):
            raise ValueError(f"region_name must look like us-east-1, got {self.region_name!r}")
        if self.retention_bytes is not None and self.retention_bytes < 1:
            raise ValueError(f"retention_bytes must be 1 or more, or None for no bound; got {self.retention_bytes!r}")
        if self.data_dir is not None and not self.store:
            raise ValueError("data_dir keeps every record and store=False keeps none: choose one of them")
        seconds = self.channel_seconds
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0):
            raise ValueError(f"channel_seconds must be a number of seconds, 0 or more, or None; got {seconds!r}")
        if self.limits is not None and not isinstance(self.limits, (Limits, bool)):
            raise ValueError(f"limits must be a kplpy.local.Limits, True or False; got {self.limits!r}")
        if self.phases is not None and not isinstance(self.phases, Phases):
            raise ValueError(f"phases must be a kplpy.local.Phases or None, got {self.phases!r}")

    def wanted_streams(self, restored: Collection[str] = ()) -> dict[str, int]:
        """Return the number of shards of each wanted stream.

        `restored`: names of streams in the data directory.
        """
        if self.streams is not None:
            return dict(self.streams)
        if self.stream is None or (restored and isinstance(self.stream, DefaultStream)):
            return {}
        return {self.stream: self.shards}

    def model(self) -> Model:
        """Return a new model with these options and without streams."""
        limits = Limits.no_rates() if self.limits is False else self.limits
        return Model(
            limits=limits if isinstance(limits, Limits) else None,
            phases=self.phases,
            region=self.region_name,
            store=self.store,
            retention_bytes=self.retention_bytes,
        )

    def to_json(self) -> str:
        """Return the options as JSON for a process's command line; from_json() reads them there."""
        plain = asdict(self)
        if isinstance(self.stream, DefaultStream):
            del plain["stream"]
        plain["delivery_streams"] = list(self.delivery_streams)
        for name in ("data_dir", "channels_dir"):
            plain[name] = None if plain[name] is None else str(plain[name])
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> Options:
        plain = json.loads(text)
        if isinstance(plain["limits"], dict):
            plain["limits"] = Limits(**plain["limits"])
        if plain["phases"] is not None:
            plain["phases"] = Phases(**plain["phases"])
        return cls(**plain)
