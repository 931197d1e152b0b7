"""Knowledge: which shard ranges the producer could know when an aggregate landed, from the listings it received."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from kplpy.core.policy import JUDGE_PATIENCE, MAP_PATIENCE, RECREATION_TIME
from kplpy.core.record import PendingRecord
from kplpy.core.shard_range import ShardRange
from kplpy.local.model.sequence import shard_index
from kplpy.local.model.stream import Stream

Shard = tuple[int, str]
"""The stream's incarnation and the shard's id. A recreated stream has the same shard ids with other ranges."""


@dataclass(frozen=True)
class Landed:
    """An aggregate that the service accepted.

    shard: the shard on which it landed
    ended: when its response came, by the core's clock
    """

    shard: Shard
    readable: bool  # a KCL consumer does not drop it
    ended: float
    oldest: float  # when the first of its records arrived

    @staticmethod
    def on(stream: Stream, shard_id: str, items: list[PendingRecord], ended: float) -> Landed:
        shard = stream.shards[shard_index(shard_id) or 0]
        readable = all(shard.first <= item.hash_key <= shard.last for item in items)
        return Landed((stream.incarnation, shard_id), readable, ended, min(item.arrival for item in items))

    def patience_is_over(self, ttl: float, now: float) -> bool:
        """Return True if the aggregate has waited for a listing of its shard as long as its oldest record may."""
        return now >= max(min(self.ended + JUDGE_PATIENCE, self.oldest + ttl), self.ended + MAP_PATIENCE) - 1e-6


class Knowledge:
    """What the producer has learned about the stream. All times are the core's.

    first_listed: when the first listing came.
    """

    def __init__(self) -> None:
        self.first_listed = float("inf")
        self._shown: dict[Shard, list[tuple[float, float]]] = defaultdict(list)
        self._heard: list[tuple[float, float]] = []
        self._missing: list[float] = []

    def heard(self, started: float, now: float) -> None:
        """Note a response of the existing stream, at `now`, to a request sent at `started`."""
        self._heard.append((started, now))

    def missing(self, now: float) -> None:
        """Note a response that the stream does not exist: from now on its shard ids may be a recreated stream's."""
        self._missing.append(now)

    def shown(self, incarnation: int, shards: Iterable[ShardRange], started: float, now: float) -> None:
        """Note a listing with these shards, requested at `started` and received at `now`."""
        self.heard(started, now)
        self.first_listed = min(self.first_listed, now)
        for shard in shards:
            self._shown[incarnation, shard.shard_id].append((now, started))

    def knew(self, landed: Landed, now: float) -> bool:
        """Return True if the producer could know the range of the shard on which the aggregate landed.

        It can know the range if a listing after the landing showed the shard. It can also know the range if a listing
        before the landing showed the shard, and the responses since then left no time to delete and recreate the
        stream. A response proves that the stream existed at some time since its request was sent. It proves nothing if
        that time is long enough to recreate the stream.
        The producer cannot know the range of a shard that no listing showed. Such a shard was resharded at once, as
        UpdateShardCount does, or while listings failed.
        """
        shown = self._shown[landed.shard]
        if any(landed.ended < at <= now for at, _ in shown):
            return True
        before = [each for each in shown if each[0] <= landed.ended]
        if not before:
            return False
        listed, alive = before[-1]
        if any(listed <= at <= landed.ended for at in self._missing):
            return False
        for started, heard in self._heard:
            if listed < heard < landed.ended and heard - alive < RECREATION_TIME:
                alive = max(alive, started)
        return landed.ended - alive < RECREATION_TIME

    def takes_for_another(self, landed: Landed, now: float) -> bool:
        """Return True if a listing after the landing showed another incarnation's shard with the same id.

        The producer cannot distinguish the two.
        """
        incarnation, shard_id = landed.shard
        return any(
            landed.ended < at <= now
            for (other, same_id), shown in self._shown.items()
            if same_id == shard_id and other != incarnation
            for at, _ in shown
        )
