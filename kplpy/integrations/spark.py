"""KinesisDataSource: Spark writes data frames to Kinesis, as batch jobs and as streams. Needs Spark 4.0 or later.

    df.write.format("kplpy-kinesis").mode("append").option("kinesis.region", "eu-west-1").save("orders")

Spark finds the source by its name, through the top-level module pyspark_kplpy. docs/distributed.md has the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql.datasource import DataSource, DataSourceArrowWriter, DataSourceStreamWriter, WriterCommitMessage

from kplpy.errors import ConfigError, InvalidRecordError
from kplpy.integrations.arrow import put_table
from kplpy.integrations.columns import Layout
from kplpy.integrations.spark_options import SinkOptions
from kplpy.integrations.worker_producers import worker_producer
from kplpy.logs import log

__all__ = ["Delivered", "KinesisDataSource"]

logger = logging.getLogger(__name__)

_HINT = "options streamName, column.data, column.partitionKey, column.stream, json"


@dataclass(frozen=True)
class Delivered(WriterCommitMessage):  # type: ignore[misc]  # pyspark is not installed where types are checked
    """A task's report, after all its rows were delivered.

    rows: the rows of the task's partition.
    possible_duplicates: the rows that may be in the stream twice, because a request was lost after it was sent.
    """

    rows: int
    possible_duplicates: int


class KinesisDataSource(DataSource):  # type: ignore[misc]  # as above
    """The sink `kplpy-kinesis`. It only writes, in the modes append (batch) and append or update (streaming)."""

    @classmethod
    def name(cls) -> str:
        """Return the name for format()."""
        return "kplpy-kinesis"

    def writer(self, schema: Any, overwrite: bool) -> KinesisWriter:
        """Return the writer of a batch job. Spark calls this in a process that plans the job.

        Raises ConfigError for options, and InvalidRecordError for columns, that are not valid.
        """
        if overwrite:
            raise ConfigError("records of a stream cannot be overwritten: use mode('append')")
        return self._writer(schema)

    def streamWriter(self, schema: Any, overwrite: bool) -> KinesisWriter:
        """Return the writer of a streaming query. Spark calls this twice for each micro-batch."""
        if overwrite:
            raise ConfigError("records of a stream cannot be overwritten: use outputMode('append') or 'update'")
        return self._writer(schema)

    def _writer(self, schema: Any) -> KinesisWriter:
        # Not public (pyspark 4.0 to 4.3). Without it, a wrong schema would be reported by the first task instead.
        from pyspark.sql.pandas.types import to_arrow_schema

        options = SinkOptions.parse(dict(self.options))
        try:
            Layout(to_arrow_schema(schema), options.columns, options.stream is not None)
        except InvalidRecordError as error:
            raise InvalidRecordError(f"{error} (in Spark: {_HINT})") from None
        return KinesisWriter(options)


class KinesisWriter(DataSourceArrowWriter, DataSourceStreamWriter):  # type: ignore[misc]  # as above
    """Writes the partitions of a job or micro-batch.

    Spark pickles it to each task and to the process that commits. Only a task's Delivered comes back.
    """

    def __init__(self, options: SinkOptions) -> None:
        self._options = options

    def write(self, iterator: Iterator[Any]) -> Delivered:
        """Put a partition's record batches, and return once every row is delivered. Runs in a worker.

        Raises PutTableError if a row failed. Spark then retries the whole partition, so that rows that were delivered
        are written again.
        """
        options = self._options
        with worker_producer(options.producer) as producer:
            result = put_table(
                producer, options.stream, iterator, columns=options.columns, keep_failures=3, stop_after_failures=1
            )
        result.raise_if_failed(options.stream)
        return Delivered(result.rows, result.possible_duplicates)

    def commit(self, messages: Sequence[Delivered | None], batchId: int | None = None) -> None:
        """Log what the tasks delivered. batchId: number of the micro-batch; None: a batch job."""
        tasks = [each for each in messages if each is not None]
        rows = sum(each.rows for each in tasks)
        duplicates = sum(each.possible_duplicates for each in tasks)
        fields = {"stream": self._stream(), "write": _write(batchId), "rows": rows}
        log(logger, "spark_committed", {**fields, "tasks": len(tasks)})
        if duplicates:
            log(logger, "spark_duplicates", {**fields, "duplicates": duplicates})

    def abort(self, messages: Sequence[Delivered | None], batchId: int | None = None) -> None:
        """Log what the finished tasks delivered, because nothing can be taken back."""
        tasks = [each for each in messages if each is not None]
        fields = {"stream": self._stream(), "write": _write(batchId), "rows": sum(each.rows for each in tasks)}
        log(logger, "spark_aborted", {**fields, "tasks": len(tasks)})

    def _stream(self) -> str:
        options = self._options
        return f"column {options.columns.stream}" if options.stream is None else options.stream


def _write(batch_id: int | None) -> str:
    return "batch" if batch_id is None else f"micro-batch {batch_id}"
