"""put_table: puts the rows of pyarrow tables, record batches and data frames on streams, in bounded memory."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

try:
    import pyarrow as pa
except ImportError as error:
    raise ImportError(
        f"kplpy's integrations with Arrow need the extra `arrow`: pip install kplpy[arrow] ({error})"
    ) from error

from kplpy.errors import InvalidRecordError, KplpyError, RecordFailedError
from kplpy.escaping import brief_repr
from kplpy.futures.record_future import RecordFuture
from kplpy.futures.tally import Tally
from kplpy.integrations import arrow_values
from kplpy.integrations.columns import Columns, Layout
from kplpy.producer import Producer
from kplpy.validation import Rows, RowValues

__all__ = ["Columns", "PutTableError", "RowFailure", "TableResult", "put_table"]

PART_ROWS, PART_BYTES = 2_000, 1 << 20
"""The most rows, and about the most bytes, that are put at a time."""
WINDOW_ROWS = 50_000
"""The most rows from the oldest one without an outcome to the newest: some 12 MB of futures.

At most half of max_buffered_records, because records are accepted one by one, and slowly, while the buffer is full.
"""
FRAME_ROWS = 10_000
"""The rows of a pandas frame that are converted at a time."""


@dataclass(frozen=True)
class RowFailure:
    """A row that was not delivered.

    row: its number in the table, from 0. error: what put_record raised, or the record's future.
    """

    row: int
    error: KplpyError


@dataclass(frozen=True)
class TableResult:
    """What became of a table's rows.

    rows: the rows that were read. Each is delivered or failed.
    delivered, failed: the numbers of rows.
    possible_duplicates: the delivered rows that may be in the stream twice.
    is_complete: the whole table was read. False after stop_after_failures, and in a PutTableError.
    failures: the first failed rows in the order in which they became known, at most keep_failures.
    reasons: the number of failed rows by the class of the error, with the code of the service if there is one.
    """

    rows: int = 0
    delivered: int = 0
    failed: int = 0
    possible_duplicates: int = 0
    is_complete: bool = True
    failures: tuple[RowFailure, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return counts, reasons and the first failure as text."""
        duplicates = f" ({self.possible_duplicates} possible duplicates)" if self.possible_duplicates else ""
        text = f"{self.delivered} of {self.rows} rows delivered{duplicates}, {self.failed} failed"
        if self.reasons:
            text += ": " + ", ".join(f"{count} × {reason}" for reason, count in self.reasons.items())
        if self.failures:
            text += f"; row {self.failures[0].row}: {self.failures[0].error}"
        return text if self.is_complete else f"{text}; not all rows were read"

    def raise_if_failed(self, stream: str | None) -> None:
        """Raise PutTableError if a row failed. Its text has the stream, the counts and the reasons."""
        if self.failed:
            raise PutTableError(f"{_named(stream)}: {self}", self)


class PutTableError(KplpyError):
    """Rows of a table failed, or the table could not be read to its end.

    result: what became of the rows that were read.
    __cause__: the error of the reader or of the producer that ended the put; None if rows failed.
    """

    def __init__(self, message: str, result: TableResult | None = None) -> None:
        super().__init__(message, result)
        self.result = result or TableResult()

    def __str__(self) -> str:
        return str(self.args[0])


def put_table(
    producer: Producer,
    stream: str | None,
    table: Any,
    *,
    columns: Columns | None = None,
    keep_failures: int = 100,
    stop_after_failures: int | None = None,
) -> TableResult:
    """Put a record for each row, wait for all outcomes, and return what became of the rows.

    The rows are put in parts, in their order. The call waits while the buffer is full, whatever on_buffer_full is, and
    while 50,000 rows have no outcome. So a reader may be longer than the memory. The last rows are sent at once,
    without waiting for record_max_buffered_time_ms.

    stream: name or ARN of all rows. None: each row's is in the column `columns.stream`.
    table: a pyarrow Table, RecordBatch or RecordBatchReader; a pandas DataFrame, without its index; an object with
    `__arrow_c_stream__`, such as a polars DataFrame; or an iterable of Tables and RecordBatches.
    columns: the columns that make a record; default Columns().
    keep_failures: the most failures in the result, 0 or more. Each keeps its row's data. The counts are always exact.
    stop_after_failures: read no further once so many rows have failed, 1 or more. None: read all.

    A row that breaks a rule of put_record fails with InvalidRecordError, and the others are put.

    Raises:

    - InvalidRecordError: the schema has no valid columns, or the stream is not valid. Nothing was put.
    - TypeError: the table is none of these types.
    - PutTableError: a later batch has a schema that is not valid, the reader raised, or the producer was closed. The
      rows that were read before have their outcomes, which `result` has.
    - ProducerClosedError: the producer was closed before the first row.
    - KplpyError: the call was made in a callback, or in a signal handler or a `__del__` that interrupted kplpy.
    """
    _check_number("keep_failures", keep_failures, 0)
    if stop_after_failures is not None:
        _check_number("stop_after_failures", stop_after_failures, 1)
    if columns is not None and not isinstance(columns, Columns):
        raise TypeError(f"columns must be a kplpy Columns, got {brief_repr(columns)}")
    columns = columns or Columns()
    if stream is not None:
        producer.config.for_stream(stream)  # raises if it is no name or ARN
    schema, batches = _read(table)
    put = _TablePut(producer, stream, columns, keep_failures, stop_after_failures)
    if schema is not None:
        put.lay_out(schema)
    return put.run(batches)


class _Part:
    """The futures of rows that were put together.

    rows: the row number of each future. counted: futures whose outcome was counted, from the first on.
    """

    __slots__ = ("counted", "futures", "rows")

    def __init__(self, futures: list[RecordFuture], rows: Sequence[int]) -> None:
        self.futures = futures
        self.rows = rows
        self.counted = 0


class _TablePut:
    """One call of put_table."""

    def __init__(
        self,
        producer: Producer,
        stream: str | None,
        columns: Columns,
        keep_failures: int,
        stop_after_failures: int | None,
    ) -> None:
        self._producer = producer
        self._stream = stream
        self._columns = columns
        self._keep = keep_failures
        self._stop_after = stop_after_failures
        self._schema: pa.Schema | None = None
        self._layout: Layout | None = None
        self._window = min(WINDOW_ROWS, producer.config.max_buffered_records // 2)
        self._parts: deque[_Part] = deque()  # in the order of the rows
        self._held = 0  # futures in `_parts`
        self._streams: set[str] = set()
        self._tally = Tally()
        self._rows = self._failed = 0
        self._failures: list[RowFailure] = []
        self._reasons: Counter[str] = Counter()

    def lay_out(self, schema: pa.Schema) -> Layout:
        """Check the schema, and return the layout of its tables."""
        if self._layout is None or not schema.equals(self._schema):
            self._layout, self._schema = Layout(schema, self._columns, self._stream is not None), schema
        return self._layout

    def run(self, batches: Iterable[pa.RecordBatch]) -> TableResult:
        """Put all batches, and wait for the outcomes."""
        is_complete = True
        try:
            for part in map(_parts_of, batches):
                if not all(map(self._put_part, part)):
                    is_complete = False
                    break
        except Exception as error:
            if not self._streams and not self._failed:
                raise
            result = self._end(is_complete=False)
            what = f"stopped by {type(error).__name__}: {error}"
            raise PutTableError(f"{_named(self._stream)}: {what}; {result}", result) from error
        return self._end(is_complete)

    def _put_part(self, part: pa.RecordBatch) -> bool:
        """Put the rows, and count the outcomes so far. Return False to stop."""
        rows = _rows_of(part, self.lay_out(part.schema))
        first = self._rows
        if self._stream is not None:
            self._put_rows(self._stream, rows, range(first, first + part.num_rows))
        else:
            self._put_by_stream(part.column(self.lay_out(part.schema).by_role["stream"]), rows)
        self._rows = first + part.num_rows
        self._count(self._window)
        return self._stop_after is None or self._failed < self._stop_after

    def _put_by_stream(self, column: pa.Array, rows: Rows) -> None:
        by_stream: dict[Any, list[int]] = {}
        for number, name in enumerate(arrow_values.texts(column)):
            by_stream.setdefault(name, []).append(number)
        values = rows.values() if len(by_stream) > 1 else None
        for name, numbers in by_stream.items():
            of_stream = [self._rows + number for number in numbers]
            try:
                if name is None:
                    raise InvalidRecordError("the row's stream is null, and no stream is given for the whole table")
                self._producer.config.for_stream(name)
            except InvalidRecordError as error:
                for row in of_stream:
                    self._fail(row, error)
            else:
                self._put_rows(name, rows if values is None else _taken(values, numbers), of_stream)

    def _put_rows(self, stream: str, rows: Rows, numbers: Sequence[int]) -> None:
        futures, errors = self._producer._put_rows(stream, rows)
        self._streams.add(stream)
        for place, error in errors.items():
            self._fail(numbers[place], error)
        if errors:
            numbers = [number for place, number in enumerate(numbers) if place not in errors]
        self._parts.append(_Part(futures, numbers))
        self._held += len(futures)

    def _count(self, most: int) -> None:
        """Count outcomes from the oldest row on. Wait until at most `most` rows are left."""
        while self._parts:
            part = self._parts[0]
            futures = part.futures
            part.counted = self._tally.count(futures, part.counted)
            if part.counted == len(futures):
                self._parts.popleft()
                self._held -= len(futures)
                continue
            future = futures[part.counted]
            if not future.done() and self._held <= most:
                return
            error = future.exception()  # waits
            if error is not None:
                self._fail(part.rows[part.counted], error)
                part.counted += 1

    def _fail(self, row: int, error: KplpyError) -> None:
        self._failed += 1
        self._reasons[_reason(error)] += 1
        if len(self._failures) < self._keep:
            self._failures.append(RowFailure(row, error))

    def _end(self, is_complete: bool) -> TableResult:
        """Wait for all outcomes, and return the result."""
        if self._parts:
            for stream in self._streams:
                self._producer.flush(stream)
        self._count(0)
        return TableResult(
            self._tally.delivered + self._failed,  # not _rows, because an error may have left out the rest of a part
            self._tally.delivered,
            self._failed,
            self._tally.duplicates,
            is_complete,
            tuple(self._failures),
            dict(self._reasons.most_common()),
        )


def _reason(error: KplpyError) -> str:
    """Return the error's class, with the service's code if there is one."""
    name, code = type(error).__name__, None
    if isinstance(error, RecordFailedError):
        response = getattr(error.cause, "response", None)  # of botocore's ClientError
        if isinstance(response, Mapping):
            code = response.get("Error", {}).get("Code")
        elif error.attempts:
            code = error.attempts[-1].error_code
    return f"{name} ({code})" if code else name


def _named(stream: str | None) -> str:
    return "the streams of a table" if stream is None else f"stream {stream!r}"


def _check_number(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {brief_repr(value)}")


# --- reading tables ---


def _read(table: Any) -> tuple[pa.Schema | None, Iterable[pa.RecordBatch]]:
    """Return the table's schema, and its batches. The schema is None if only the batches have one."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(table, pandas.DataFrame):
        return _read_frame(table)
    if isinstance(table, pa.Table):
        return table.schema, table.to_batches()
    if isinstance(table, pa.RecordBatch):
        return table.schema, [table]
    if isinstance(table, pa.RecordBatchReader):
        return table.schema, table
    if hasattr(table, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(table)
        return reader.schema, reader
    if isinstance(table, Iterable) and not isinstance(table, (str, bytes, Mapping)):
        return None, _batches_of(table)
    raise TypeError(f"table must {_TABLES}; got {type(table).__name__}")


_TABLES = (
    "be a pyarrow Table, RecordBatch or RecordBatchReader, a pandas DataFrame, an object with __arrow_c_stream__, or "
    "an iterable of Tables and RecordBatches"
)


def _batches_of(tables: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    for each in tables:
        if isinstance(each, pa.RecordBatch):
            yield each
        elif isinstance(each, pa.Table):
            yield from each.to_batches()
        else:
            raise TypeError(f"table must {_TABLES}; got an iterable of {type(each).__name__}")


def _read_frame(frame: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the schema of a pandas frame, and its rows in batches."""
    try:
        schema = pa.Schema.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidRecordError(f"pyarrow cannot convert the data frame: {error}") from error
    starts = range(0, len(frame), FRAME_ROWS)
    return schema, (
        pa.RecordBatch.from_pandas(frame.iloc[start : start + FRAME_ROWS], schema, preserve_index=False)
        for start in starts
    )


def _parts_of(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield slices of about PART_BYTES, at most PART_ROWS rows."""
    if not batch.num_rows:
        return
    usual = max(1, batch.nbytes // batch.num_rows)
    rows = max(1, min(PART_ROWS, PART_BYTES // usual))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _rows_of(part: pa.RecordBatch, layout: Layout) -> Rows:
    """Return the rows' records."""
    roles = layout.by_role
    values = partial(_values_of, part, layout)
    if layout.json is not None or roles.keys() & {"explicit_hash_key", "headers"}:
        return Rows(values)
    keys = part.column(roles["partition_key"]) if "partition_key" in roles else None
    return Rows(values, (part.column(roles["data"]), keys))


def _values_of(part: pa.RecordBatch, layout: Layout) -> RowValues:
    """Return the parts of the rows' records as Python objects."""
    roles = layout.by_role

    def values(role: str, read: Any) -> Any:
        return read(part.column(roles[role])) if role in roles else None

    data: Sequence[bytes | None]
    if layout.json is None:
        data = arrow_values.payloads(part.column(roles["data"]))
    else:
        data = arrow_values.json_rows(part.select(layout.json))
    return RowValues(
        data,
        values("partition_key", arrow_values.texts) or [None] * part.num_rows,
        values("explicit_hash_key", arrow_values.hash_keys),
        values("headers", arrow_values.header_maps),
    )


def _taken(values: RowValues, numbers: Sequence[int]) -> Rows:
    """Return the rows with these numbers."""
    columns = (values.data, values.partition_keys, values.explicit_hash_keys, values.headers)
    taken = RowValues(*(None if column is None else [column[number] for number in numbers] for column in columns))  # type: ignore[arg-type]
    return Rows(lambda: taken)
