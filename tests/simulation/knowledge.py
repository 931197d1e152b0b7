"""What the producer could know of where its aggregates landed: what it was shown of the stream, and when."""

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
"""The stream's incarnation and the shard's id: a stream that is created anew has the same ids with other ranges."""


@dataclass(frozen=True)
class Landed:
    """An aggregate that the service took, in a request that was answered at `ended`."""

    shard: Shard
    readable: bool  # a KCL consumer gets it
    ended: float
    oldest: float  # when the first of its records arrived

    @staticmethod
    def on(stream: Stream, shard_id: str, items: list[PendingRecord], ended: float) -> Landed:
        shard = stream.shards[shard_index(shard_id) or 0]
        readable = all(shard.first <= item.hash_key <= shard.last for item in items)
        return Landed((stream.incarnation, shard_id), readable, ended, min(item.arrival for item in items))

    def patience_is_over(self, ttl: float, now: float) -> bool:
        """Has it waited for a listing that explains it for as long as its oldest record may?"""
        return now >= max(min(self.ended + JUDGE_PATIENCE, self.oldest + ttl), self.ended + MAP_PATIENCE) - 1e-6


class Knowledge:
    """Times are the core's."""

    def __init__(self) -> None:
        self._shown: dict[Shard, list[tuple[float, float]]] = defaultdict(list)
        self._heard: list[tuple[float, float]] = []
        self._missing: list[float] = []

    def heard(self, started: float, now: float) -> None:
        """The stream, which was there, answered a request of `started`."""
        self._heard.append((started, now))

    def missing(self, now: float) -> None:
        """The service says that there is no such stream: its ids may be another's from here on."""
        self._missing.append(now)

    def shown(self, incarnation: int, shards: Iterable[ShardRange], started: float, now: float) -> None:
        """The producer has got a listing with these shards, which it had asked for at `started`."""
        self.heard(started, now)
        for shard in shards:
            self._shown[incarnation, shard.shard_id].append((now, started))

    def knew(self, landed: Landed, now: float) -> bool:
        """Could the producer know by now the range of the shard where the aggregate landed?

        Either a listing came since then and showed the shard; or one did before, and what was heard by then left no
        time in which the stream could have been deleted and created anew. An answer says that it was there at some time
        since its request, and nothing where that is long enough for another one. Nobody can know the range of a shard
        that no listing showed: one that was resharded at once, as UpdateShardCount does it, or while listings failed.
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
        """Does a listing since then show another stream's shard of that id, which cannot be told from this one?"""
        incarnation, shard_id = landed.shard
        return any(
            landed.ended < at <= now
            for (other, same_id), shown in self._shown.items()
            if same_id == shard_id and other != incarnation
            for at, _ in shown
        )
