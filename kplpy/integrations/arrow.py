"""put_table: puts the rows of pyarrow tables, record batches and data frames on a stream, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kplpy.errors import KplpyError
from kplpy.integrations.columns import Columns
from kplpy.producer import Producer

__all__ = ["Columns", "RowFailure", "TableResult", "put_table"]


@dataclass(frozen=True)
class RowFailure:
    """A row that was not delivered.

    row: its number in the table, from 0. error: what put_record, or the record's future, raised.
    """

    row: int
    error: KplpyError


@dataclass(frozen=True)
class TableResult:
    """What became of the rows of a table.

    rows: rows that were read; each is delivered or failed. delivered, failed: their numbers.
    possible_duplicates: of the delivered rows, those that may be in the stream twice.
    is_complete: the whole table was read. False: put_table stopped at `stop_after_failures`.
    failures: the first failed rows, at most `keep_failures`. reasons: the number of failed rows by reason.
    """

    rows: int = 0
    delivered: int = 0
    failed: int = 0
    possible_duplicates: int = 0
    is_complete: bool = True
    failures: tuple[RowFailure, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)


def put_table(
    producer: Producer,
    stream: str | None,
    table: Any,
    *,
    columns: Columns | None = None,
    keep_failures: int = 100,
    stop_after_failures: int | None = None,
) -> TableResult:
    """Put the rows of a table, wait for their outcomes, and return what became of them."""
    import pyarrow as pa

    columns = columns or Columns()
    rows = pa.table(table).to_pylist()
    futures = producer.put_records(
        stream or "", [(row[columns.data], row[columns.partition_key or ""]) for row in rows]
    )
    failures = []
    for number, future in enumerate(futures):
        error = future.exception()
        if error is not None:
            failures.append(RowFailure(number, error))
    duplicates = sum(future.result().possible_duplicate for future in futures if not future.exception())
    return TableResult(len(futures), len(futures) - len(failures), len(failures), duplicates, True, tuple(failures))
