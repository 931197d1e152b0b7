"""A sink of Spark that only counts rows, for comparison (benchmarks/spark.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyspark.sql.datasource import DataSource, DataSourceArrowWriter, WriterCommitMessage


class Counted(WriterCommitMessage):  # type: ignore[misc]  # pyspark is not installed where types are checked
    """A task's report, without a count: nobody reads it."""


class BlankWriter(DataSourceArrowWriter):  # type: ignore[misc]  # as above
    """Reads the record batches of a partition."""

    def write(self, iterator: Iterator[Any]) -> Counted:
        assert sum(batch.num_rows for batch in iterator) >= 0
        return Counted()


class BlankDataSource(DataSource):  # type: ignore[misc]  # as above
    """The sink `blank`."""

    @classmethod
    def name(cls) -> str:
        return "blank"

    def writer(self, schema: Any, overwrite: bool) -> BlankWriter:
        return BlankWriter()
