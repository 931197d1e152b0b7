"""KinesisDatasink: Ray Data writes datasets to Kinesis. Needs the extra `ray`.

    ds.write_datasink(KinesisDatasink("orders", region_name="eu-west-1"))

docs/distributed.md has the guarantees and the sizing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

try:
    from ray.data import Datasink
    from ray.data.block import BlockAccessor
except ImportError as error:
    raise ImportError(f"kplpy.integrations.ray needs the extra `ray`: pip install kplpy[ray] ({error})") from error

import pyarrow as pa

from kplpy.errors import ConfigError
from kplpy.escaping import brief_repr
from kplpy.integrations.arrow import TableResult, put_table
from kplpy.integrations.columns import Columns, Layout
from kplpy.integrations.worker_producers import PlainOptions, worker_producer
from kplpy.logs import log
from kplpy.stream_names import parse_stream

if TYPE_CHECKING:
    from ray.data.datasource.datasink import WriteResult

__all__ = ["Columns", "KinesisDatasink"]

logger = logging.getLogger(__name__)


class KinesisDatasink(Datasink[TableResult]):  # type: ignore[misc]  # ray is not installed where types are checked
    """Writes the rows of a Ray dataset to a stream, at least once.

    A write task returns when each of its rows has an outcome. If a row failed, the task raises PutTableError, whose
    text has the stream, the counts and the reasons, and reads no further. Ray runs the task of a dead worker again, and
    with ray_remote_args={"retry_exceptions": True} a task that raised, too. Then its rows are written again.

    stream: name or ARN. None: each row's is in the column `columns.stream`.
    columns: the columns that make a record; default Columns().
    options: fields of Config with plain values, because the workers make their own producers. A worker process keeps
    one for each set of options.

    result: the totals of the last write that succeeded; None before.

    Raises ConfigError for an option that is unknown, not valid or not plain, and InvalidRecordError if `stream` is no
    name or ARN.
    """

    def __init__(self, stream: str | None, *, columns: Columns | None = None, **options: Any) -> None:
        if columns is not None and not isinstance(columns, Columns):
            raise ConfigError(f"columns must be a kplpy Columns, got {brief_repr(columns)}")
        if stream is not None:
            parse_stream(stream)
        self._stream = stream
        self._columns = columns or Columns()
        self._options = PlainOptions(options)
        self.result: TableResult | None = None

    def on_write_start(self, schema: Any = None) -> None:
        """Check the schema, if Ray knows it, before any task starts. Runs on the driver."""
        if isinstance(schema, pa.Schema):
            Layout(schema, self._columns, self._stream is not None)

    def write(self, blocks: Iterable[Any], ctx: Any) -> TableResult:
        """Put a task's blocks, and return what became of the rows. Runs in a worker."""
        tables = (BlockAccessor.for_block(block).to_arrow() for block in blocks)
        with worker_producer(self._options) as producer:
            result = put_table(
                producer,
                self._stream,
                (table for table in tables if table.num_rows),  # an empty block may have no columns
                columns=self._columns,
                keep_failures=3,
                stop_after_failures=1,
            )
        result.raise_if_failed(self._stream)
        return result

    def on_write_complete(self, write_result: WriteResult[TableResult]) -> None:
        """Add up the tasks' results in `result`, and log the totals. Runs on the driver."""
        tasks = [each for each in write_result.write_returns if isinstance(each, TableResult)]
        self.result = TableResult(
            rows=sum(each.rows for each in tasks),
            delivered=sum(each.delivered for each in tasks),
            possible_duplicates=sum(each.possible_duplicates for each in tasks),
        )
        stream = self._stream or f"column {self._columns.stream}"
        fields = {"rows": self.result.delivered, "duplicates": self.result.possible_duplicates}
        log(logger, "ray_written", {"stream": stream, "tasks": len(tasks), **fields})

    def get_name(self) -> str:
        """Return the name that Ray shows for the write tasks."""
        return "Kinesis"
