"""The spool's work: writes drained records to disk before they are sent, and reads back what memory cannot hold."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from kplpy.concurrency import WakeSignal, new_lock, outlive
from kplpy.core.gauges import SpoolGauges
from kplpy.core.outcome import Completion, Failed, Reason, stays_spooled
from kplpy.core.record import payload_size
from kplpy.errors import InvalidRecordError, SpoolError, SpoolFullError
from kplpy.futures.record_future import RecordFuture
from kplpy.futures.spooled import SpoolOrigin, StoredSignal, UnstoredOrigin
from kplpy.logs import log
from kplpy.process.threads import start_thread
from kplpy.rate_limited_log import RateLimitedLog
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.put_target import RECORD_OVERHEAD
from kplpy.runtime.stream import Results, Stream
from kplpy.runtime.stream_spool import WRITE_BYTES, Batch, Parked, StoredRow, StreamSpool, Unread
from kplpy.runtime.threads import JOIN_TIMEOUT, NEVER, lend_thread, thread_state
from kplpy.spool.directory import adopt_dead
from kplpy.spool.part import Part, Row

if TYPE_CHECKING:
    from kplpy.config.options import Config
    from kplpy.runtime.delivery import Delivery
    from kplpy.runtime.meter import Meter
    from kplpy.runtime.planner import Planner

logger = logging.getLogger(__name__)

ROW_RECORDS, ROW_BYTES = 1000, 512 << 10
"""The most records of a row, and the payload at which a row ends. Less with a small buffer."""
LOAD_BYTES = 256 << 10
"""Bytes of the rows that are read at a time. Streams take turns."""
OUTAGE_BYTES = 8 << 20
"""Charged bytes of one stream that stay in memory while the service does not answer."""
MEMORY_SHARE = 0.5
"""The part of the buffer for records that are written. The rest is for records that wait to be written."""
RETRY_INTERVAL = 1.0
"""Seconds between two attempts to write after the disk failed."""
CHECK_INTERVAL = 0.25
"""Seconds between two looks at memory while records are on disk only. Usually an outcome comes first."""


class Spooling:
    """A producer's spool. Its steps run on the thread "kplpy-spool", or inline if no thread can be started.

    on_refusal: called when `refusal` begins or ends.
    refusal: the error that puts raise at the moment, or None.
    recovered: records that earlier processes left.
    """

    def __init__(self, config: Config, buffer: Buffer, meter: Meter, on_refusal: Callable[[], object]) -> None:
        assert config.spool is not None
        self.directory = Path(config.spool)
        self._sync = config.spool_sync_ms / 1000
        self._max_bytes = config.spool_max_bytes
        self._on_full = config.spool_on_full
        self._on_error = config.spool_on_error
        self._ttl = None if config.spool_ttl_ms is None else config.spool_ttl_ms / 1000
        self._memory = int(MEMORY_SHARE * config.max_buffered_bytes)
        if self._on_full == "drop_oldest":  # only what left memory can be dropped
            self._memory = min(self._memory, self._max_bytes // 2)
        self._memory_records = int(MEMORY_SHARE * config.max_buffered_records)
        self._row_records = max(1, min(ROW_RECORDS, self._memory_records // 8))
        self._row_bytes = max(1, min(ROW_BYTES, self._memory // 8))
        self._buffer = buffer
        self._meter = meter
        self._on_refusal = on_refusal
        self._signal = StoredSignal()
        self._wake_signal = WakeSignal()
        self._sleeps_until = NEVER
        self._errors = RateLimitedLog(logger, "internal_errors")
        self._not_answered = RateLimitedLog(logger, "spool_not_answered")
        self._step_lock = threading.Lock()
        self._answer_lock = new_lock()
        self._spools: list[StreamSpool] = []
        self._own: Part | None = None
        self._parts: list[Part] = []
        self._reported_damage: dict[Part, int] = {}  # the damage of each part that is logged, in entries
        self._batches: list[Batch] = []  # taken from the queues, not handed over
        self._late_answers: dict[Part, dict[int, bytes | None]] = {}  # that could not be written
        self._hurried = False
        self._is_full = False
        self._trouble: SpoolError | None = None
        self._retry_at = -NEVER
        self._oldest_unsendable = NEVER  # of streams whose names are unknown, by time.monotonic()
        self._turn = 0
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._reads = True
        self.refusal: type[SpoolError] | type[SpoolFullError] | None = None
        self.recovered = 0

    # --- set-up ---

    def attach(self, planner: Planner, delivery: Delivery) -> None:
        """Take over what this part of the producer works with."""
        self._planner = planner
        self._delivery = delivery
        delivery.spooling = self

    def add(self, stream: Stream) -> StreamSpool:
        """Have a new stream's records go through the spool."""
        stream.origin = SpoolOrigin(stream.origin.stream, self._signal)
        stream.linger = min(stream.linger, self._sync)  # the scheduler drains the stream early enough to be written
        made = StreamSpool(stream, self._sync, self.wake_by, self.hurry)
        self._spools.append(made)
        return made

    def recover(self, open_stream: Callable[[str], Stream]) -> None:
        """Take over what dead processes left."""
        unreadable: list[SpoolError] = []
        for part in adopt_dead(self.directory, unreadable):
            self._parts.append(part)
            self._report_damage(part)
            for name, left in part.streams().items():
                try:
                    stream = open_stream(name)
                except InvalidRecordError as error:
                    log(logger, "spool_stream_unknown", {"path": str(part.path), "stream": name, "reason": str(error)})
                    put_at = left.oldest - time.time() + time.monotonic()
                    self._oldest_unsendable = min(self._oldest_unsendable, put_at)
                    continue
                spool = next(each for each in self._spools if each.stream is stream)
                spool.backlog.append(Unread(part, 0, left.records, left.oldest, recovered=True))
                spool.backlog_records += left.records
                self.recovered += left.records
        for trouble in unreadable:
            log(logger, "spool_part_unreadable", {"reason": str(trouble)})
        if self.recovered:
            log(logger, "spool_recovered", {"path": str(self.directory), "records": self.recovered})

    def start(self) -> None:
        """Start the thread. If none can be started, the steps run inline."""
        thread = threading.Thread(target=self._run, name="kplpy-spool", daemon=True)
        if start_thread(thread):
            self._thread = thread

    # --- any thread ---

    def wake_by(self, when: float) -> None:
        """Have the spool thread look for work by then."""
        if when < self._sleeps_until:
            self._wake_signal.wake()

    def hurry(self) -> None:
        """Write what is queued now."""
        self._hurried = True
        self._wake_signal.wake()

    def check(self) -> None:
        """Raise the error of a put: the spool is full, or the disk failed, and the Config says that puts raise."""
        refusal = self.refusal
        if refusal is SpoolFullError:
            raise SpoolFullError(
                f"the spool in {str(self.directory)!r} is full: it holds {self._held_bytes()} bytes, "
                f"spool_max_bytes={self._max_bytes}"
            )
        if refusal is not None:
            cause = self._trouble
            raise SpoolError(f"the spool does not take records: {cause}") from cause

    def wait_put(self, record: RecordFuture) -> None:
        """Block until the record of a put is on disk, or will not be. Raise what the put raises."""
        self._signal.wait(record, None)
        if self._on_error == "raise":
            record.stored(0)

    async def wait_put_async(self, record: RecordFuture) -> None:
        """Do what wait_put() does, without blocking the event loop."""
        await self._signal.wait_async(record)
        if self._on_error == "raise":
            record.stored(0)

    def wait_written(self, records: Sequence[RecordFuture]) -> None:
        """Block until the records are on disk, or will not be."""
        for record in records:
            self._signal.wait(record, None)

    async def wait_written_async(self, records: Sequence[RecordFuture]) -> None:
        """Do what wait_written() does, without blocking the event loop."""
        for record in records:
            await self._signal.wait_async(record)

    def backlog_records(self) -> int:
        """Return how many records are on disk only."""
        return sum(each.backlog_records for each in list(self._spools))

    def gauges(self, oldest: float) -> SpoolGauges:
        """Return what the spool holds. Waits for a write that is under way.

        oldest: when the oldest record without an outcome was put, by time.monotonic().
        """
        parts = list(self._parts)
        records = sum(part.records for part in parts)
        oldest = min(oldest, self._oldest_unsendable) if records else NEVER
        return SpoolGauges(records, self._held_bytes(), self.backlog_records(), oldest)

    # --- outcomes, on the thread that delivers them ---

    def answered(self, completions: Sequence[Completion]) -> None:
        """Write that the records have an outcome, before their futures get it."""
        with self._answer_lock:
            changed: dict[StoredRow, None] = {}
            last = None
            for each in completions:
                if stays_spooled(each.outcome):
                    continue
                for item in each.items:
                    row: Any = cast("RecordFuture", item)._origin
                    if row.__class__ is StoredRow:
                        place = item.number - row.first
                        row.answered[place if row.places is None else row.places[place]] = 1
                        if row is not last:
                            last = changed[row] = row  # type: ignore[assignment]
            done: dict[Part, dict[int, bytes | None]] = {}
            for row in changed:
                done.setdefault(row.part, {})[row.row_id] = bytes(row.answered) if 0 in row.answered else None
            self._write_answers(done)

    def _write_answers(self, done: dict[Part, dict[int, bytes | None]]) -> None:
        """Write the answers, and those that could not be written before. Under `_answer_lock`."""
        late, self._late_answers = self._late_answers, {}
        for part, answers in done.items():
            late.setdefault(part, {}).update(answers)
        for part, answers in late.items():
            try:
                part.answered(answers)
            except SpoolError as error:
                self._late_answers[part] = answers
                self._meter.spool("failed", 1)
                self._not_answered.say(str(error))

    def released(self) -> None:
        """Look for work, because memory or disk space became free."""
        if self._batches or self._is_full or self.backlog_records():
            self._wake_signal.wake()

    @property
    def left_message(self) -> str:
        """Why a record that stays in the spool was not delivered."""
        return f"it is in the spool in {str(self.directory)!r}, and the next producer there sends it"

    def keep(self, results: Results) -> None:
        """Have the stored ones of the records that the close fails left in the spool instead."""
        kept: list[Completion] = []
        for each in results.completions:
            outcome = each.outcome
            if not (isinstance(outcome, Failed) and outcome.reason is Reason.CLOSED):
                kept.append(each)
                continue
            stored = [item for item in each.items if cast("RecordFuture", item)._origin.__class__ is StoredRow]
            others = [item for item in each.items if cast("RecordFuture", item)._origin.__class__ is not StoredRow]
            if stored:
                left = Failed(Reason.SPOOLED, self.left_message)
                kept.append(Completion(stored, left, payload_size(stored)))
                results.pipeline.totals.user_records_failed -= len(stored)
            if others:
                kept.append(Completion(others, outcome, payload_size(others)))
        results.completions = kept

    # --- steps ---

    def _run(self) -> None:
        thread_state.is_kplpy = True
        outlive(self._turn_of_thread, self._after_error, lambda: self._stopping)

    def _turn_of_thread(self) -> bool:
        self._sleeps_until = NEVER
        when = self.step()
        self._sleeps_until = when
        self._wake_signal.wait(when - time.monotonic())
        return not self._stopping

    def _after_error(self, error: BaseException) -> None:
        self._errors.say(f"{type(error).__name__}: {error}", error)

    def step_inline(self) -> float:
        """Do what step() does on an application thread, which must not get the errors of the disk."""
        try:
            return self.step()
        except Exception as error:
            self._after_error(error)
            return time.monotonic() + CHECK_INTERVAL

    def step(self) -> float:
        """Write what is due, and load what there is memory for. Return when to call again."""
        if not self._step_lock.acquire(blocking=False):  # the other thread, or the interrupted step, does it
            return time.monotonic() + CHECK_INTERVAL
        try:
            now = time.monotonic()
            if self._batches or self._is_due(now):
                self._write(now)
            if self._is_full and not self._batches:
                self._set_full(self._held_bytes() >= self._max_bytes)
            if self._trouble is not None and now >= self._retry_at:
                self._probe()
            self._load()
            return self._next_step(time.monotonic())
        finally:
            self._step_lock.release()

    def _is_due(self, now: float) -> bool:
        spools = list(self._spools)
        return (
            self._hurried
            or any(each.due <= now for each in spools)
            or sum(each.unwritten_bytes for each in spools) >= WRITE_BYTES
        )

    def _next_step(self, now: float) -> float:
        spools = list(self._spools)
        times = [each.due for each in spools if not self._batches or all(each.is_ready for each in self._batches)]
        if self._batches:  # the spool is full, or memory is
            times.append(now + CHECK_INTERVAL)
        if any(each.backlog for each in spools):
            times.append(now + CHECK_INTERVAL)
        if self._trouble is not None:
            times.append(self._retry_at)
        return min(times, default=NEVER)

    # --- writing ---

    def _write(self, now: float) -> None:
        """Write what is queued, and hand it over."""
        if all(each.is_ready for each in self._batches):
            self._hurried = False
            self._take_queues(now)
        unwritten = [each for each in self._batches if not each.is_ready]
        fitting = self._fitting(unwritten)
        if fitting:
            self._write_batches(fitting, now)
            self._signal.notify()
        batches, self._batches = self._batches, []
        held_back: set[StreamSpool] = set()
        handed_over: dict[StreamSpool, None] = {}
        for place, batch in enumerate(batches):
            spool = batch.spool
            # A batch that is not on disk must not overtake older records of its stream, which are.
            waits = spool in held_back or not batch.is_ready or (batch.row is None and spool.backlog)
            try:
                is_handed_over = not waits and self._hand_over(batch)
            except BaseException:  # the stream is broken, and the other batches are not
                self._batches += batches[place + batch.is_counted_off :]
                raise
            if is_handed_over:
                handed_over[spool] = None
            else:
                held_back.add(spool)
                self._batches.append(batch)
        for spool in handed_over:
            self._plan(spool)

    def _take_queues(self, now: float) -> None:
        for spool in list(self._spools):
            with spool.stream.locked_pipeline():
                self._planner.drain(spool.stream, now)
                records = spool.take_queue()
                for begin in range(0, len(records), self._row_records):
                    self._add_batches(spool, records[begin : begin + self._row_records])

    def _add_batches(self, spool: StreamSpool, records: list[RecordFuture]) -> None:
        """Make a batch of the records, or several if they are large."""
        batch = Batch(spool, records)
        if batch.size > self._row_bytes and len(records) > 1:
            middle = len(records) // 2
            self._add_batches(spool, records[:middle])
            self._add_batches(spool, records[middle:])
        else:
            self._batches.append(batch)

    def _write_batches(self, batches: list[Batch], now: float) -> None:
        wall = time.time()
        rows = [
            (each.spool.stream.origin.stream, wall - now + each.records[0].arrival, each.records) for each in batches
        ]
        if now < self._retry_at:
            assert self._trouble is not None
            self._not_written(batches, self._trouble)
            return
        try:
            part = self._own_part()
            began = time.monotonic()
            ids = part.write(rows)
            self._meter.spool("synced", time.monotonic() - began)
        except SpoolError as error:
            self._retry_at = now + RETRY_INTERVAL
            self._begin_trouble(error)
            self._not_written(batches, error)
            return
        self._end_trouble()
        for batch, row_id in zip(batches, ids, strict=True):
            row = StoredRow(batch.spool.stream.origin.stream, part, row_id, bytearray(len(batch.records)))
            for record in batch.records:
                record._origin = row
            batch.row = row

    def _own_part(self) -> Part:
        if self._own is None:
            self._own = Part.create(self.directory)
            self._parts.append(self._own)
        return self._own

    def _not_written(self, batches: list[Batch], error: SpoolError) -> None:
        """Send the records from memory. Refuse them if their puts wait for the disk."""
        refuses = self._sync == 0 and self._on_error == "raise"
        for batch in batches:
            batch.error = error
            if refuses:
                self._delivery.refuse(batch.records, error)
            else:
                origin = UnstoredOrigin(batch.spool.stream.origin.stream, error)
                for record in batch.records:
                    record._origin = origin
                self._meter.spool("bypassed", len(batch.records))

    def _hand_over(self, batch: Batch) -> bool:
        """Give the records to the pipeline, or leave them on disk. False: neither, they wait for memory."""
        spool, stream, row, count = batch.spool, batch.spool.stream, batch.row, len(batch.records)
        with stream.locked_pipeline():
            if stream.broken is not None:
                return False
            if row is None and batch.records[0].done():  # refused
                batch.count_off()
                spool.accepted += count
                self._buffer.release(stream, count, batch.charge)
                return True
            if row is not None and (spool.backlog or not self._has_memory(spool)):
                if not spool.backlog and not spool.is_slow(time.monotonic()):
                    return False
                batch.count_off()
                self._park(batch, row)
                return True
            if row is not None:
                row.first = stream.pipeline.next_number
            batch.count_off()
            self._accept(spool, batch.records)
            return True

    def _accept(self, spool: StreamSpool, records: list[RecordFuture], drop: bool = False) -> None:
        """Hand records to the pipeline, which fails them at once with `drop`. Under the stream's lock."""
        stream, now = spool.stream, time.monotonic()
        first = stream.pipeline.next_number
        stream.keep(records)
        flushes = [each for each in stream.flushes if each.spool_mark > spool.accepted]
        spool.note_accepted(len(records), now)
        try:
            if drop:
                stream.pipeline.drop(records, Reason.DROPPED, "the spool was full")
            else:
                self._planner.accept(stream, records, now)
        except BaseException:
            for number, record in enumerate(records, first):
                record.number = number  # as the pipeline does: recovery fails the records, and answered() reads it
            raise
        if flushes:  # they wait for these records, too
            mark = stream.pipeline.flush(now)
            for each in flushes:
                each.mark = mark

    def _park(self, batch: Batch, row: StoredRow) -> None:
        """Leave the records on disk only. Under the stream's lock."""
        spool, records = batch.spool, batch.records
        row.park(records)
        spool.parked[row.part, row.row_id] = Parked(row, {place: ref(each) for place, each in enumerate(records)})
        if not spool.backlog or spool.backlog[-1].part is not row.part:
            spool.backlog.append(
                Unread(row.part, row.row_id - 1, 0, time.time() - time.monotonic() + records[0].arrival, False)
            )
        spool.backlog[-1].last = row.row_id
        spool.backlog[-1].records += len(records)
        spool.backlog_records += len(records)
        self._buffer.release(spool.stream, len(records), batch.charge)
        batch.records = []

    def _forget_dead(self, spool: StreamSpool) -> None:
        """Drop the references to parked futures that nobody holds."""
        for key, (row, futures) in list(spool.parked.items()):
            alive = {place: each for place, each in futures.items() if each() is not None}
            if alive:
                spool.parked[key] = Parked(row, alive)
            else:
                del spool.parked[key]

    def _plan(self, spool: StreamSpool) -> None:
        """Have the scheduler or a sender go on with the stream."""
        stream = spool.stream
        with stream.locked_pipeline():
            stream.end_flushes()
            self._planner.plan(stream, time.monotonic())
        self._forget_dead(spool)

    # --- the bound of the disk ---

    def _held_bytes(self) -> int:
        return sum(each.bytes for each in list(self._parts))

    def _fitting(self, batches: list[Batch]) -> list[Batch]:
        """Return the first of the batches, as many as may be written. Drops the oldest records if that is wanted."""
        fitting: list[Batch] = []
        size = 0
        for batch in batches:
            size += batch.size
            if not self._makes_space(size, bool(fitting)):
                break
            fitting.append(batch)
        if batches:
            self._set_full(len(fitting) < len(batches))
        return fitting

    def _makes_space(self, size: int, has_others: bool) -> bool:
        """Return True if so many bytes may be written. An empty spool takes a batch of any size, but no others."""
        while (held := self._held_bytes()) + size > self._max_bytes and (held > 0 or has_others):
            if self._on_full != "drop_oldest" or not self._drop_oldest():
                return self._on_error == "memory" and self._trouble is not None  # the write fails, and they go on
        return True

    def _set_full(self, is_full: bool) -> None:
        if is_full and not self._is_full:
            log(logger, "spool_full", {"path": str(self.directory), "bytes": self._held_bytes()})
        self._is_full = is_full
        self._set_refusal()

    def _drop_oldest(self) -> bool:
        """Fail the oldest rows that are on disk only. Return False if there is none."""
        spools = [each for each in self._spools if each.backlog]
        if not spools:
            return False
        spool = min(spools, key=lambda each: each.backlog[0].oldest)
        self._meter.spool("dropped", self._load_rows(spool, drop=True))
        return True

    # --- disk trouble ---

    def _begin_trouble(self, error: SpoolError) -> None:
        self._meter.spool("failed", 1)
        if self._trouble is None:
            goes_on = "puts raise" if self._on_error == "raise" else "records are sent from memory"
            log(logger, "spool_failed", {"path": str(self.directory), "reason": str(error), "goes_on": goes_on}, error)
        self._trouble = error
        self._set_refusal()

    def _end_trouble(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log(logger, "spool_works_again", {"path": str(self.directory)})
        self._set_refusal()

    def _set_refusal(self) -> None:
        refusal: type[SpoolError] | type[SpoolFullError] | None = None
        if self._trouble is not None and self._on_error == "raise":
            refusal = SpoolError
        elif self._is_full and self._on_full == "raise":
            refusal = SpoolFullError
        if refusal is not self.refusal:
            self.refusal = refusal
            self._on_refusal()

    def _probe(self) -> None:
        """Find out if the disk takes records again."""
        try:
            self._own_part().write([])
        except SpoolError as error:
            self._retry_at = time.monotonic() + RETRY_INTERVAL
            self._begin_trouble(error)
        else:
            self._retry_at = -NEVER
            self._end_trouble()

    # --- reading back ---

    def _has_memory(self, spool: StreamSpool) -> bool:
        """Return True if the stream's pipeline may get more records."""
        stream = spool.stream
        if stream.broken is not None or not self._reads:
            return False
        active = max(1, sum(1 for each in self._spools if each.backlog or each.stream.held_records))
        held = stream.held_bytes - spool.queued_bytes
        limit = self._memory // active
        if stream.pipeline.in_outage:
            limit = min(limit, OUTAGE_BYTES)
        records = stream.held_records - spool.queued_records
        return held <= 0 or (held < limit and records < self._memory_records // active)

    def _load(self) -> None:
        """Read back rows, one stream after the other, while there is memory."""
        self._turn += 1
        spools = list(self._spools)
        first = self._turn % max(1, len(spools))
        waiting = [each for each in spools[first:] + spools[:first] if each.backlog]
        while waiting:
            for spool in list(waiting):
                has_memory = bool(spool.backlog) and self._has_memory(spool)
                if not has_memory:
                    waiting.remove(spool)
                if has_memory or self._has_expired(spool):  # without memory once: their failures wake this thread
                    self._load_rows(spool)
                    self._plan(spool)
            if self._is_due(time.monotonic()):
                self._wake_signal.wake()  # new records go first
                return

    def _has_expired(self, spool: StreamSpool) -> bool:
        if self._ttl is None or not self._reads or not spool.backlog:
            return False
        return time.time() >= spool.backlog[0].oldest + self._ttl

    def _load_rows(self, spool: StreamSpool, drop: bool = False) -> int:
        """Read the oldest rows, and give them to the pipeline, or fail them. Return how many records that were."""
        unread, stream = spool.backlog[0], spool.stream
        part = unread.part
        count = 0
        found = part.read(stream.origin.stream, unread.after, 1 if drop else LOAD_BYTES)
        rows = [row for row in found if row.id <= unread.last]
        for row in rows:
            if count and not drop and not self._has_memory(spool):
                break  # the others are read again later
            count += self._load_row(spool, unread, row, drop)
            if drop:
                with self._answer_lock:  # now, so that no more is dropped than needed
                    self._write_answers({part: {row.id: None}})
        with stream.locked_pipeline():
            lost = self._end_unread(spool, unread) if not rows or unread.records <= 0 else []
        self._report_damage(part)
        if lost:
            self._delivery.fail(lost, Failed(Reason.DAMAGED, "its row cannot be read"))
        if drop:
            stream.request_wake()  # the scheduler delivers the failures
        return count

    def _end_unread(self, spool: StreamSpool, unread: Unread) -> list[RecordFuture]:
        """Forget rows that are all read. What is missing was damaged: return its futures. Under the stream's lock."""
        lost: list[RecordFuture] = []
        if unread.records:
            spool.backlog_records -= unread.records
            spool.accepted += unread.records
            for part, row_id in list(spool.parked):
                if part is unread.part and row_id <= unread.last:
                    parked = spool.parked.pop((part, row_id))
                    lost += [each for held in parked.futures.values() if (each := held()) is not None]
        spool.backlog.popleft()
        return lost

    def _report_damage(self, part: Part) -> None:
        """Log and count the damage that was found since the last call."""
        found = part.damaged[self._reported_damage.get(part, 0) :]
        if found:
            self._reported_damage[part] = self._reported_damage.get(part, 0) + len(found)
            more = f"; and {len(found) - 10} more" if len(found) > 10 else ""
            damage = "; ".join(found[:10]) + more
            log(logger, "spool_damaged", {"path": str(self.directory), "entries": len(found), "damage": damage})
            self._meter.spool("damaged", len(found))

    def _load_row(self, spool: StreamSpool, unread: Unread, row: Row, drop: bool) -> int:
        stream = spool.stream
        size = len(row.records)
        flags = bytearray(row.answered) if row.answered is not None else bytearray(size)
        parked = spool.parked.pop((unread.part, row.id), None)
        stored = StoredRow(stream.origin.stream, unread.part, row.id, flags) if parked is None else parked.row
        arrival = time.monotonic() - max(0.0, time.time() - row.accepted)
        records: list[RecordFuture] = []
        places: list[int] = []
        for place, (data, key, explicit, tags) in enumerate(row.records):
            if flags[place]:
                continue
            held = None if parked is None else parked.futures.get(place)
            future = None if held is None else held()
            if future is None:
                future = stream.checks.restored(stored, data, key, explicit, tags, arrival)
                future.maybe_written = unread.recovered
            records.append(future)
            places.append(place)
        stored.unpark()
        charge = payload_size(records) + len(records) * RECORD_OVERHEAD
        with stream.locked_pipeline() as pipeline:
            stored.first = pipeline.next_number
            stored.places = places if len(places) < size else None
            self._buffer.charge_loaded(stream, len(records), charge)
            unread.after = row.id
            unread.records -= len(records)
            unread.oldest = row.accepted
            spool.backlog_records -= len(records)
            self._accept(spool, records, drop)
        return len(records)

    # --- the end ---

    def stop_reading(self) -> None:
        """Give no more stored records to the pipelines, because the close fails what they have."""
        self._reads = False

    def stop(self) -> None:
        """Stop the thread, and write what is queued. Called once the engine's threads have ended."""
        self._stopping = True
        self._reads = False
        self._wake_signal.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_TIMEOUT)
        with lend_thread():
            self._write_rest()

    def end(self) -> None:
        """Close the files. Futures of records that stay in the spool get RecordSpooledError. Called after stop()."""
        left = 0
        for spool in self._spools:
            alive = [each() for parked in spool.parked.values() for each in parked.futures.values()]
            self._delivery.leave_spooled([each for each in alive if each is not None], self.left_message)
            spool.parked.clear()
        with self._answer_lock:
            self._write_answers({})
        parts, self._parts, self._own = self._parts, [], None
        for part in parts:
            left += part.records
            try:
                part.close()
            except SpoolError as error:
                self._errors.say(f"closing the spool: {error}", error)
        self._signal.notify()
        if left:
            log(logger, "closed_with_spooled", {"path": str(self.directory), "records": left})
        self._errors.close()
        self._not_answered.close()

    def _write_rest(self) -> None:
        with self._step_lock:
            now = time.monotonic()
            self._retry_at = -NEVER
            self._take_queues(now)
            batches = [each for each in self._batches if not each.is_ready]
            if batches:
                self._write_batches(batches, now)
            for batch in self._batches:
                if batch.row is not None:
                    self._delivery.leave_spooled(batch.records, self.left_message)
                else:
                    self._delivery.fail(batch.records, Failed(Reason.CLOSED, f"the producer was closed: {batch.error}"))
            self._batches.clear()

    def abandon(self) -> None:
        """Leave the parts to the parent process, in a forked child."""
        self._stopping = True
        for part in self._parts:
            part.abandon()
