"""The rows of tables, read back and compared. Needs the dependency group `examples`."""

from __future__ import annotations

import json
import math
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kplpy.local import LocalKinesis
from tests.examples.helpers import EXAMPLES, imported, objects, started
from tests.integration.reading import read_all
from tests.local_stream import PATIENCE

pytestmark = [pytest.mark.examples, pytest.mark.kinesis(stream="orders", limits=False)]


def test_rows_of_a_parquet_file(kinesis: LocalKinesis, tmp_path: Path) -> None:
    """As a program: 12,000 rows in chunks, each read back as it was."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("pandas")
    count = 12_000
    columns = {
        "id": list(range(count)),
        "customer": [f"c-{number % 100}" for number in range(count)],
        "price": [None if number % 3 == 0 else math.nan if number % 3 == 1 else 1.5 for number in range(count)],
        "total": [Decimal("12.30")] * count,
    }
    path = tmp_path / "sales.parquet"
    parquet.write_table(arrow.table(columns), path)
    with started([EXAMPLES / "put_table.py", "orders", path, "customer"], kinesis) as program:
        output, errors = program.communicate(timeout=PATIENCE)
    assert (program.returncode, output) == (0, "12000 rows delivered, 0 failed\n"), errors
    assert not Path(f"{path}.failed").exists()
    got = sorted(objects(kinesis), key=lambda row: int(row["id"]))
    assert [row["id"] for row in got] == columns["id"]
    assert got[:3] == [
        {"id": 0, "customer": "c-0", "price": None, "total": "12.30"},
        {"id": 1, "customer": "c-1", "price": None, "total": "12.30"},
        {"id": 2, "customer": "c-2", "price": 1.5, "total": "12.30"},
    ]
    assert all(each.partition_key == json.loads(each.data)["customer"] for each in read_all(kinesis, "orders"))


def test_rows_of_a_csv_file_and_of_a_data_frame(kinesis: LocalKinesis, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {
            "id": range(7),
            "customer": ["c-1"] * 7,
            "text": ["zwölf \u2028", None, "a\nb", '"', "", "\x1c", "x"],
            "at": pandas.Timestamp("2026-01-02T03:04:05Z"),
        }
    )
    path = tmp_path / "sales.csv"
    frame[["id", "customer"]].to_csv(path, index=False)
    with pytest.MonkeyPatch.context() as patch, imported("put_table", kinesis) as example:
        patch.setattr(example, "CHUNK_ROWS", 3)
        with kinesis.producer() as producer:
            assert example.put_rows(producer, "orders", example.rows_of(path, "customer")) == (7, 0)
            assert Counter(each["id"] for each in objects(kinesis)) == Counter(range(7))
            assert example.put_rows(producer, "orders", example.pandas_rows([frame], "customer")) == (7, 0)
    rows = sorted(objects(kinesis)[7:], key=lambda row: int(row["id"]))
    assert [row["text"] for row in rows] == list(frame["text"].astype(object).where(frame["text"].notna(), None))
    assert {row["at"] for row in rows} == {"2026-01-02T03:04:05.000Z"}


def test_a_table_is_read_no_faster_than_it_is_delivered(kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is answered, two chunks are read; a failed row is counted."""
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    read: list[int] = []

    def rows() -> Any:
        for number in range(10):
            read.append(number)
            yield b"%d" % number, "k"

    with imported("put_table", kinesis) as example, kinesis.producer(record_ttl_ms=300) as producer:
        monkeypatch.setattr(example, "CHUNK_ROWS", 2)
        held: list[int] = []
        real = example.count_delivered

        def count(futures: Any) -> int:
            if any(not each.done() for each in futures):
                held.append(producer.outstanding_records)
            delivered: int = real(futures)
            return delivered

        monkeypatch.setattr(example, "count_delivered", count)
        kinesis.faults.outage()
        assert example.put_rows(producer, "orders", rows()) == (0, 10)
        assert max(held) <= 4
        kinesis.faults.clear()
    assert len(read) == 10
