"""Flow: the files of one pattern on their way to one stream."""

from __future__ import annotations

import logging
import random
import socket
import time
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING

from kplpy import InvalidRecordError, RecordFuture, RecordRefusedError
from kplpy.agent.acknowledgement import Failed, Frontier, Part
from kplpy.agent.processing import cut, make_join, make_partition_keys, make_process
from kplpy.agent.sending import Sending
from kplpy.agent.settings import LONGEST, FlowSettings
from kplpy.agent.tailing import Checkpoints, Descriptors, FlowTailer
from kplpy.escaping import brief_repr
from kplpy.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kplpy.agent.tailing import Chunk, TailedFile

logger = logging.getLogger(__name__)

CHUNK_BYTES, LEAST_CHUNK_BYTES = 128 << 10, 4 << 10
"""The most and the least bytes that are read and put at a time."""
TOTAL_BYTES = 16 << 20
"""Bytes that all flows together may have outstanding, beyond LEAST_BYTES of each: data, keys and RECORD_BYTES each."""
LEAST_BYTES = 256 << 10
"""Bytes that each flow may have outstanding, whatever the others have."""
RECORD_BYTES = 420
"""Bytes of memory that an outstanding record takes beside its data: future, queues and key."""
FILLED_AGAIN_BELOW = 0.75
"""Part of its share below which a full flow reads again. Less space would be read in many small pieces."""
STALL_S = 0.1
"""Seconds without an outcome after which a full flow's records are due: it fills no buffer further."""
NEVER = float("inf")
_LONGEST_KEY = 1024
_EXAMPLE_CHARACTERS = 200
_NOT_OF_READING = (
    *("partition_key_option", "partition_key", "partition_key_field", "partition_key_pattern", "aggregation"),
    *("compression", "ordered", "join_before_processing", "max_buffer_age_ms", "max_buffer_size_records"),
    *("max_buffer_size_bytes", "truncated_record_terminator", "retry_initial_backoff_ms", "retry_max_backoff_ms"),
    *("publish_queue_capacity", "aggregated_record_size_bytes", "processing"),
)
"""The settings that the tailer does not use. Whether there are processors decides how long a line may be."""


@dataclass(slots=True)
class Budget:
    """The bytes that all flows have outstanding."""

    used: int = 0

    @property
    def free(self) -> int:
        return TOTAL_BYTES - self.used


@dataclass(slots=True)
class Counts:
    """What a flow has done since it was made.

    parsed: records read.
    cut: records that were too long, and were cut.
    dropped: records given up, because the service refuses them.
    failed: times that the producer gave a record up, and that it was put again.
    sent, sent_bytes: records accepted by the service, with all that is before them in the file.
    """

    parsed: int = 0
    cut: int = 0
    dropped: int = 0
    failed: int = 0
    sent: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class _Failure:
    """A record that waits to be put again."""

    part: Part
    at: int
    item: tuple[bytes, str | None]
    is_refused: bool


class Flow:
    """Reads, processes and puts the records of one pattern's files. Used from the agent's thread.

    The flow stops reading while it has its share of TOTAL_BYTES outstanding. So nothing is read faster than it is sent,
    and a stream that takes nothing leaves memory for other flows: a flow's share is what is free.
    """

    def __init__(
        self,
        settings: FlowSettings,
        sending: Sending,
        checkpoints: Checkpoints,
        descriptors: Descriptors,
        budget: Budget,
    ) -> None:
        self.settings = settings
        self.counts = Counts()
        self.poll_at = self.rests_until = 0.0
        self._chunk: Chunk | None = None  # read, and not put yet because something raised
        self.charge = 0
        self.outstanding = 0
        self.dropped_example = self.last_error = ""
        self._sending = sending
        self._producer = sending.producer
        self._budget = budget
        self.tailer = FlowTailer(settings, checkpoints, descriptors, clock=time.monotonic)
        self._frontiers: dict[TailedFile, Frontier] = {}
        self._found: list[_Failure] = []  # failures of this moment
        self._failed: list[_Failure] = []  # to be put again at retry_at
        self._refusals: dict[Part, dict[int, int]] = {}  # records accepted when a record was first refused
        self._failures = 0
        self.retry_at = 0.0
        self._record_bytes = 1.0  # of one record of the last chunk
        self._is_full = False
        self._stalled_charge = -1  # bytes outstanding since the flow is full, while they do not change
        self._flush_at = NEVER
        self._errors = RateLimitedLog(logger, "agent_records_failed")
        self._drops = RateLimitedLog(logger, "agent_records_dropped")
        self._use(settings)

    def _use(self, settings: FlowSettings) -> None:
        self.settings = settings
        self.stream = self._sending.stream_of(settings)
        self.process = make_process(settings)
        self._join = make_join(settings)
        self._keys_of = None if settings.destination == "firehose" else make_partition_keys(settings)
        self._keys_by_file = settings.ordered and not (
            settings.partition_key or settings.partition_key_field or settings.partition_key_pattern
        )
        self._largest = LONGEST[settings.destination]
        self._limit = max(LEAST_BYTES, settings.publish_queue_capacity * settings.max_buffer_size_bytes)

    @staticmethod
    def check(flows: Iterable[FlowSettings]) -> None:
        """Raise ConfigError if the processors or partition keys of a flow are wrong."""
        for settings in flows:
            make_process(settings)
            make_partition_keys(settings)

    def reads_as(self, settings: FlowSettings) -> bool:
        """Return True if these settings change only what happens to the records after they were read."""
        own = {name: getattr(settings, name) for name in _NOT_OF_READING}
        return replace(self.settings, **own) == settings and bool(settings.processing) == bool(self.settings.processing)

    def change(self, settings: FlowSettings) -> None:
        """Go on with other settings of the sending, and the same files. Raises ConfigError, and changes nothing."""
        before = self.settings
        try:
            self._use(settings)
        except BaseException:
            self._use(before)
            raise

    # --- reading ---

    def may_read(self, now: float) -> bool:
        """Return True if more records may be outstanding, and no failed ones go first."""
        if self._producer is not self._sending.producer:
            if self.settings.ordered and self._frontiers:  # until the replaced producer has sent what is before
                return False
            self._producer = self._sending.producer
        if self._failed and not all(each.is_refused for each in self._failed):
            return False
        share = self._share
        if self.charge >= share:
            self._is_full = True
        elif self.charge <= share * FILLED_AGAIN_BELOW:
            self._is_full = False
        if not self._is_full:
            self._stalled_charge = -1
            return True
        if self.charge != self._stalled_charge:
            self._stalled_charge, self._flush_at = self.charge, now + STALL_S
        elif now >= self._flush_at:
            self._flush_at = NEVER
            self._sending.flush(self.stream)
        return False

    @property
    def _share(self) -> int:
        """The bytes that the flow may have outstanding."""
        return max(LEAST_BYTES, min(self._budget.free, self._limit))

    def read(self) -> bool:
        """Read and put the next records. Return False if there are none now."""
        fitting = int((self._share - self.charge) * self._record_bytes / (self._record_bytes + RECORD_BYTES))
        chunk = self._chunk or self.tailer.read(min(CHUNK_BYTES, max(LEAST_CHUNK_BYTES, fitting)))
        if chunk is None:
            return False
        self._chunk = chunk
        raw = chunk.records
        self._record_bytes = (chunk.end - chunk.start) / max(1, len(raw))
        raw, processed = self._process(raw)
        frontier = self._frontiers.get(chunk.file)
        if frontier is None:
            frontier = self._frontiers[chunk.file] = Frontier(chunk.file)
        items: list[tuple[bytes, str | None]] = []
        if processed:
            items = list(zip(processed, self._keys(chunk.file, raw, processed), strict=True))
            if max(map(len, processed)) > self._largest - _LONGEST_KEY:
                items = [self._cut(data, key) for data, key in items]
        futures = self._put(items)
        size = sum(map(len, processed))
        self._add(frontier, Part(chunk.file, chunk.end, futures, size, size + RECORD_BYTES * len(futures)))
        self._chunk = None
        self.counts.parsed += len(chunk.records)
        return True

    def _process(self, raw: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return the records as they were read and as they are sent, without those that are not sent."""
        if self._join is not None:
            raw, _ = self._join(raw)
        process = self.process
        if process is None:
            return raw, raw
        processed = list(map(process, raw))
        kept = [after for after in processed if after is not None]
        if len(kept) < len(raw):
            raw = [before for before, after in zip(raw, processed, strict=True) if after is not None]
        return raw, kept

    def _keys(self, file: TailedFile, raw: list[bytes], processed: list[bytes]) -> Iterable[str | None]:
        if self._keys_of is None:
            return repeat(None, len(processed))
        if self._keys_by_file:
            return repeat(_key_of(file), len(processed))
        return self._keys_of(raw, processed)

    def _cut(self, data: bytes, key: str | None) -> tuple[bytes, str | None]:
        limit = self._largest - (
            len(key.encode(errors="surrogatepass")) if key is not None else 32 if self._keys_of is not None else 0
        )
        if len(data) <= limit:
            return data, key
        self.counts.cut += 1
        return cut(data, limit, self.settings.truncated_record_terminator), key

    def _put(self, items: list[tuple[bytes, str | None]]) -> list[RecordFuture | None]:
        try:
            return [*self._sending.put_records(self.stream, items)] if items else []
        except InvalidRecordError:
            return [self._put_one(item) for item in items]

    def _put_one(self, item: tuple[bytes, str | None]) -> RecordFuture | None:
        """Put one of several records, of which one is invalid, for example for its key."""
        try:
            (future,) = self._sending.put_records(self.stream, [item])
        except InvalidRecordError as error:
            self._drop(item[0], str(error))
            return None
        return future

    def _add(self, frontier: Frontier, part: Part) -> None:
        frontier.parts.append(part)
        self.outstanding += len(part.futures)
        self.charge += part.charge
        self._budget.used += part.charge

    def _drop(self, data: bytes, why: str) -> None:
        self.counts.dropped += 1
        self.dropped_example = brief_repr(data, _EXAMPLE_CHARACTERS)
        self._drops.say(flow=self.settings.id, reason=why, example=self.dropped_example)

    # --- outcomes ---

    def settle(self, now: float) -> bool:
        """Look at the outcomes of what was put. Return True if some file's accepted part grew."""
        grew = self._advance(self._note_failure)
        if self._found:
            self._collect_failed(now)
        elif grew and not self._failed:
            self._failures = 0
        return grew

    def settle_last(self) -> None:
        """Take the last outcomes, after the producer was closed. What failed is sent by the next agent."""
        self._advance(lambda part, at, future, error: None)

    def _advance(self, failed: Failed) -> bool:
        """Pass the parts that have outcomes. Return True if some file's accepted part grew."""
        grew = False
        for file, frontier in list(self._frontiers.items()):
            passed = frontier.advance(failed)
            if passed:
                grew = True
                for part in passed:
                    self._passed(part)
                self.tailer.accepted(file, passed[-1].end)
            if not frontier.parts:
                del self._frontiers[file]
        return grew

    def _note_failure(self, part: Part, at: int, future: RecordFuture, error: Exception) -> None:
        item = (future.data, None if future.keyless else future.partition_key)
        self._found.append(_Failure(part, at, item, isinstance(error, RecordRefusedError)))
        self.last_error = str(error)

    def _collect_failed(self, now: float) -> None:
        """Find the failures in all parts, and plan what becomes of their records."""
        for frontier in self._frontiers.values():
            for part in frontier.parts:
                part.collect_failed(self._note_failure)
        found, self._found = self._found, []
        if found:
            self._plan(found, now)

    def _passed(self, part: Part) -> None:
        sent = sum(map(bool, part.futures)) if None in part.futures else len(part.futures)
        self.counts.sent += sent
        self.counts.sent_bytes += part.raw_bytes
        self._refusals.pop(part, None)
        self.outstanding -= len(part.futures)
        self.charge -= part.charge
        self._budget.used -= part.charge

    def _plan(self, found: list[_Failure], now: float) -> None:
        """Have failed records put again, after a pause that grows with the failures in a row."""
        self.counts.failed += len(found)
        self._errors.say(flow=self.settings.id, times=len(found), reason=self.last_error)
        for each in found:
            if each.is_refused and self._is_cause(each):
                each.part.drop(each.at)
                self._drop(each.item[0], self.last_error)
            else:
                self._failed.append(each)
        if self._failed and now >= self.retry_at:
            self._failures += 1
            settings = self.settings
            delay = settings.retry_initial_backoff_ms * 2 ** min(self._failures - 1, 30)
            delay = min(delay, settings.retry_max_backoff_ms) / 1000
            self.retry_at = now + delay * random.uniform(0.7, 1.3)

    def _is_cause(self, failure: _Failure) -> bool:
        """Return True if others were accepted since the record was refused for the first time."""
        accepted = self.counts.sent + sum(
            future is not None and future.done() and future.exception() is None
            for frontier in self._frontiers.values()
            for part in frontier.parts
            for future in part.futures
        )
        return accepted > self._refusals.setdefault(failure.part, {}).setdefault(failure.at, accepted)

    def put_failed(self, now: float) -> None:
        """Put failed records again when it is time. In order, once nothing else is outstanding, if order is kept."""
        if not self._failed or now < self.retry_at:
            return
        if self.settings.ordered and self._has_pending():
            return
        self._collect_failed(now)  # so that none of them is put behind new records
        order = {
            part: place
            for place, part in enumerate(part for frontier in self._frontiers.values() for part in frontier.parts)
        }
        self._failed.sort(key=lambda each: (order[each.part], each.at))
        futures = self._put([each.item for each in self._failed])
        failed, self._failed = self._failed, []
        for each, future in zip(failed, futures, strict=True):
            if future is None:
                each.part.drop(each.at)
            else:
                each.part.put_again(each.at, future)
        self._sending.flush(self.stream)

    def _has_pending(self) -> bool:
        return any(
            future is not None and not future.done()
            for frontier in self._frontiers.values()
            for part in frontier.parts
            for future in part.futures
        )

    # --- looking ---

    @property
    def has_parts(self) -> bool:
        """True while something that was read has no outcome, or is not passed yet."""
        return bool(self._frontiers)

    @property
    def retries_at(self) -> float | None:
        """When failed records are put again, in the agent's seconds. None: there are none."""
        return self.retry_at if self._failed else None

    def skipped(self) -> tuple[int, int, str]:
        """Return how many records processors dropped and failed on, and the latest that was dropped."""
        process = self.process
        if process is None:
            return 0, 0, ""
        last = process.last_dropped
        return process.dropped, process.failed, "" if last is None else brief_repr(last, _EXAMPLE_CHARACTERS)

    def close(self) -> None:
        self.tailer.close()
        self._errors.close()
        self._drops.close()
        self._budget.used -= self.charge
        self.charge = 0


_HOST = socket.gethostname()[:64]


def _key_of(file: TailedFile) -> str:
    """Return the partition key of all records of a file: the same after a rename and after a restart."""
    device, inode = file.key
    return f"{_HOST}:{device:x}:{inode}"
