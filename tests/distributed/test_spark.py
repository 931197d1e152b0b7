"""The data source `kplpy-kinesis` in a real Spark: two worker processes, three attempts for each task."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kplpy import Producer, deaggregate
from kplpy.local import LocalKinesis
from tests.distributed.spark import java_is_here, make_session, place_of
from tests.local_stream import contents, user_records

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.xdist_group("spark"),  # one session for all
    pytest.mark.filterwarnings("ignore"),  # pyspark's own
]

ATTEMPTS = 3
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    session = make_session(f"local[2,{ATTEMPTS}]")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(streams={"orders": 2}, limits=False) as kinesis:
        yield kinesis


@pytest.fixture
def stream(kinesis: LocalKinesis, request: pytest.FixtureRequest) -> str:
    """Make a stream of two shards for the test."""
    name: str = request.node.name.replace("[", "-").strip("]")[:100]
    kinesis.client().create_stream(StreamName=name, ShardCount=2)
    return name


def sink(frame: Any, kinesis: LocalKinesis, **options: str) -> Any:
    return frame.write.format("kplpy-kinesis").mode("append").options(**place_of(kinesis), **options)


def numbers(spark: Any, count: int, partitions: int = 4) -> Any:
    return spark.range(count, numPartitions=partitions).selectExpr(
        "cast(id as string) data", "concat('key-', id % 50) partitionKey"
    )


def expected(count: int) -> set[bytes]:
    return {str(number).encode() for number in range(count)}


def refusal(write: Callable[[], object]) -> str:
    """Return the text of the error that the write raises."""
    with pytest.raises(Exception) as caught:  # an AnalysisException or a PythonException
        write()
    return str(caught.value)


# --- batch ---


def test_a_frame_is_delivered_once_and_found_by_name(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    sink(numbers(spark, 20_000), kinesis).save(stream)
    assert contents(kinesis, stream) == Counter(expected(20_000))
    assert {each.partition_key for each in user_records(kinesis, stream)} == {f"key-{each}" for each in range(50)}


def test_registering_replaces_the_source_that_was_found(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    """Spark 4.0 refuses to register what it has found (SPARK-51919), and writes to it all the same."""
    import pyspark

    from kplpy.integrations.spark import KinesisDataSource

    session = spark.newSession()
    session.range(1).write.format("noop").mode("append").save()
    if pyspark.__version__.startswith("4.0."):
        assert "ALREADY_EXISTS" in refusal(lambda: session.dataSource.register(KinesisDataSource))
    else:
        session.dataSource.register(KinesisDataSource)
    sink(numbers(session, 10), kinesis, streamName=stream).save()
    assert contents(kinesis, stream) == Counter(expected(10))


def test_all_columns_arrive(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    rows = [
        (b"\x00\xff", "a", "0", {"type": "x", "empty": None}, stream),
        (b"", None, None, None, stream),
        (b"third", "c", str(2**128 - 1), {}, stream),
    ]
    schema = "data binary, partitionKey string, explicitHashKey string, headers map<string,string>, stream string"
    sink(spark.createDataFrame(rows, schema).repartition(2), kinesis).save()
    got: dict[bytes, tuple[Any, ...]] = {}
    for record in kinesis.ledger(stream):
        for each in deaggregate(record.data):
            key = each.explicit_hash_key or record.explicit_hash_key
            got[each.data] = (each.partition_key or record.partition_key, key, dict(each.headers or {}))
    assert got.pop(b"\x00\xff") == ("a", "0", {"type": "x", "empty": None})
    assert got.pop(b"third") == ("c", str(2**128 - 1), {})
    ((data, (key, *rest)),) = got.items()
    assert (data, len(key), rest[-1]) == (b"", 32, {})  # kplpy chose the key


def test_other_columns_become_json(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    frame = spark.sql("select id as partitionKey, 'pears' as fruit, 7 as count from values ('1'), ('2') as t(id)")
    sink(frame, kinesis, json="all").save(stream)
    sink(frame, kinesis, json="rest").save(stream)
    got = sorted((each.data.decode() for each in user_records(kinesis, stream)), key=len)
    assert [json.loads(each) for each in got[:2]] == [{"fruit": "pears", "count": 7}] * 2
    assert {json.loads(each)["partitionKey"] for each in got[2:]} == {"1", "2"}


def test_other_names_of_columns(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    frame = numbers(spark, 10).selectExpr("data as body", "partitionKey as customer")
    names = {"column.data": "body", "column.partitionKey": "customer"}
    sink(frame, kinesis, **names).save(stream)
    assert contents(kinesis, stream) == Counter(expected(10))


def test_frames_without_rows_and_empty_partitions(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    sink(numbers(spark, 0), kinesis).save(stream)
    sink(numbers(spark, 3, partitions=8), kinesis).save(stream)
    assert contents(kinesis, stream) == Counter(expected(3))


def test_records_of_one_mebibyte(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    """Arrow batches of few rows keep such records from filling the memory."""
    size = (1 << 20) - len("key")
    frame = spark.range(6, numPartitions=2).selectExpr(
        f"rpad(cast(id as string), {size}, 'x') data", "'key' partitionKey"
    )
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "2")
    try:
        sink(frame, kinesis).save(stream)
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert [len(each.data) for each in user_records(kinesis, stream)] == [size] * 6
    larger = frame.selectExpr("concat(data, 'y') data", "partitionKey").limit(1)
    assert "max_user_record_size" in refusal(lambda: sink(larger, kinesis).save(stream))


def test_a_workers_producer_serves_later_tasks(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    """A new producer for each of the 16 tasks would list the shards 16 times."""
    listed = []

    def watch(operation: str, params: Mapping[str, Any], now: float) -> None:
        if operation == "ListShards" and params.get("StreamName") == stream:
            listed.append(now)

    kinesis.faults.plan = watch
    try:
        for _ in range(2):
            sink(numbers(spark, 100, partitions=8), kinesis).save(stream)
    finally:
        kinesis.faults.plan = None
    assert contents(kinesis, stream) == Counter(dict.fromkeys(expected(100), 2))
    assert 1 <= len(listed) <= 8


# --- streaming ---


def start(spark: Any, kinesis: LocalKinesis, source: Path, checkpoint: Path, stream: str, through: Any = None) -> Any:
    frame = spark.readStream.schema("data string, partitionKey string").json(str(source))
    if through is not None:
        frame = frame.mapInArrow(through, frame.schema)
    options = {**place_of(kinesis), "streamName": stream, "checkpointLocation": str(checkpoint)}
    return frame.writeStream.format("kplpy-kinesis").options(**options).trigger(availableNow=True).start()


def write_rows(file: Path, first: int, last: int) -> None:
    file.parent.mkdir(exist_ok=True)
    lines = [json.dumps({"data": str(number), "partitionKey": f"key-{number % 50}"}) for number in range(first, last)]
    file.with_suffix(".tmp").write_text("\n".join(lines))
    file.with_suffix(".tmp").rename(file)


def test_a_stream_goes_on_from_its_checkpoint(spark: Any, kinesis: LocalKinesis, stream: str, tmp_path: Path) -> None:
    source, checkpoint = tmp_path / "rows", tmp_path / "checkpoint"
    write_rows(source / "1.json", 0, 500)
    start(spark, kinesis, source, checkpoint, stream).awaitTermination(60)
    assert contents(kinesis, stream) == Counter(expected(500))
    write_rows(source / "2.json", 500, 800)
    start(spark, kinesis, source, checkpoint, stream).awaitTermination(60)
    assert contents(kinesis, stream) == Counter(expected(800))


def test_a_failed_micro_batch_is_replayed_after_the_restart(
    spark: Any, kinesis: LocalKinesis, stream: str, tmp_path: Path
) -> None:
    """Rows that the failed attempts delivered arrive again: at least once."""
    source, checkpoint, repaired = tmp_path / "rows", tmp_path / "checkpoint", tmp_path / "repaired"
    write_rows(source / "1.json", 0, 500)

    def fail_at_first(batches: Iterator[Any]) -> Iterator[Any]:
        yield from batches
        if not repaired.exists():
            raise RuntimeError("out of order")

    query = start(spark, kinesis, source, checkpoint, stream, fail_at_first)
    assert "out of order" in refusal(lambda: query.awaitTermination(60))
    repaired.touch()
    start(spark, kinesis, source, checkpoint, stream, fail_at_first).awaitTermination(60)
    got = contents(kinesis, stream)
    assert set(got) == expected(500)
    assert max(got.values()) <= 1 + ATTEMPTS


# --- failures ---


def test_a_task_that_fails_is_retried_as_a_whole(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    def fail_at_first(batches: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        yield from batches
        context = TaskContext.get()
        if context.partitionId() == 1 and context.attemptNumber() == 0:
            raise RuntimeError("out of order")

    frame = numbers(spark, 1000, partitions=2)
    sink(frame.mapInArrow(fail_at_first, frame.schema), kinesis).save(stream)
    got = contents(kinesis, stream)
    assert set(got) == expected(1000)
    assert all(got[each] == 1 for each in expected(500))  # the other partition
    assert max(got.values()) <= 2


def test_a_stream_that_throttles_gets_every_row(spark: Any) -> None:
    with LocalKinesis(stream="orders") as limited:
        frame = spark.range(300, numPartitions=2).selectExpr(
            "rpad(cast(id as string), 10000, ' ') data", "cast(id as string) partitionKey"
        )
        limited.faults.fail_entries("ProvisionedThroughputExceededException", times=5)
        sink(frame, limited).save("orders")  # also 3 MB for a shard that takes 1 MB a second
        got = contents(limited)
    assert {each.strip() for each in got} == expected(300)


def test_a_missing_stream_fails_the_job(spark: Any, kinesis: LocalKinesis) -> None:
    text = refusal(lambda: sink(numbers(spark, 10, partitions=1), kinesis).save("missing"))
    assert "stream 'missing': 0 of 10 rows delivered, 10 failed: " in text
    assert "ResourceNotFoundException" in text


def test_a_row_that_is_not_valid_fails_the_job(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    frame = numbers(spark, 10, partitions=1).selectExpr("nullif(data, '7') data", "partitionKey")
    text = refusal(lambda: sink(frame, kinesis).save(stream))
    assert f"stream '{stream}': 9 of 10 rows delivered, 1 failed" in text
    assert "row 7" in text


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (["data"], {}, ["partitionKey", "column.partitionKey"]),
        (["partitionKey"], {}, ["'data'", "json"]),
        (["data", "partitionKey", "1 as more"], {}, ["'more'", "json"]),
        (["1 as data", "partitionKey"], {}, ["'data'", "int"]),
        (["data", "partitionKey", "array(1) as headers"], {}, ["headers"]),
        (["data", "partitionKey"], {"streamNam": "x"}, ["no option streamnam", "streamName"]),
        (["data", "partitionKey"], {"record_ttl_ms": "soon"}, ["record_ttl_ms", "whole number", "'soon'"]),
        (["data", "partitionKey"], {"kinesis.credentialProviderClass": "X"}, ["Java class"]),
    ],
)
def test_wrong_schemas_and_options_are_refused_before_any_task(
    spark: Any, kinesis: LocalKinesis, columns: list[str], options: dict[str, str], words: list[str]
) -> None:
    frame = numbers(spark, 10).selectExpr(*columns)
    text = refusal(lambda: sink(frame, kinesis, **options).save("orders"))
    assert [word for word in words if word not in text] == [], text
    assert contents(kinesis) == Counter()


def test_a_write_needs_a_stream_and_cannot_overwrite(spark: Any, kinesis: LocalKinesis, tmp_path: Path) -> None:
    frame = numbers(spark, 10)
    assert "streamName" in refusal(lambda: sink(frame, kinesis).save())
    assert "mode('append')" in refusal(lambda: sink(frame, kinesis).mode("overwrite").save("orders"))
    totals = spark.readStream.format("rate").load().groupBy("value").count().selectExpr("'x' data", "'k' partitionKey")
    query = totals.writeStream.format("kplpy-kinesis").outputMode("complete").options(**place_of(kinesis))
    query = query.option("checkpointLocation", str(tmp_path)).start("orders")
    assert "outputMode('append')" in refusal(lambda: query.awaitTermination(60))


# --- closures ---


def test_a_captured_producer_is_a_new_one_in_each_task(spark: Any, kinesis: LocalKinesis, stream: str) -> None:
    """The task awaits the outcomes, because a worker ends without running exit handlers."""
    producer = kinesis.producer()

    def put(rows: Iterator[Any]) -> None:
        with producer:
            for future in [producer.put_record(stream, row.data.encode(), row.partitionKey) for row in rows]:
                future.result(30)

    with producer:
        assert "session" in refusal(lambda: numbers(spark, 10).foreachPartition(put))
    producer = Producer(endpoint_url=kinesis.endpoint_url, region_name=kinesis.region_name)
    with producer:
        numbers(spark, 10).foreachPartition(put)
    assert contents(kinesis, stream) == Counter(expected(10))


# --- docs/distributed.md ---


@pytest.mark.timeout(250)  # another Java, on a machine that may be busy
def test_the_pages_program_shows_what_the_page_says(tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    if not java_is_here():
        pytest.skip("no Java is here")
    page = (ROOT / "docs/distributed.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n([^`]*pyspark[^`]*)^```\n+shows[^\n]*\n+```text\n([^`]*)^```$", page, re.M)
    assert found is not None
    with LocalKinesis(streams={"orders": 2, "logs": 2}) as kinesis:
        settings = {
            "PYTHONPATH": str(ROOT),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "AWS_ENDPOINT_URL_KINESIS": kinesis.endpoint_url,
            "AWS_DEFAULT_REGION": kinesis.region_name,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", found[1]],
            cwd=tmp_path,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert (done.stdout, done.returncode) == (found[2], 0), done.stderr


# --- what Spark's commit logs ---


def test_commit_and_abort_log_what_the_tasks_delivered(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("pyspark")
    from kplpy.integrations.spark import Delivered, KinesisWriter
    from kplpy.integrations.spark_options import SinkOptions

    caplog.set_level(logging.INFO, "kplpy")
    writer = pickle.loads(pickle.dumps(KinesisWriter(SinkOptions.parse({"streamname": "orders"}))))
    writer.commit([Delivered(10, 0), Delivered(5, 2)], 3)
    writer.abort([Delivered(10, 0), None])
    assert [record.getMessage() for record in caplog.records] == [
        "orders: a Spark micro-batch 3 delivered 15 rows of 2 tasks",
        "orders: a Spark micro-batch 3 delivered 15 rows, of which 2 may be in the stream twice",
        "orders: a Spark batch was aborted, and the 10 rows of 1 finished tasks stay in the stream",
    ]
