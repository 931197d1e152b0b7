"""KinesisDatasink with the real Ray: rows read back from a local Kinesis. Needs the dependency group `distributed`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from kplpy import ConfigError, InvalidRecordError, Producer
from kplpy.integrations.columns import Columns
from kplpy.local import LocalKinesis
from tests.integration.reading import read_all

ray: Any = pytest.importorskip("ray", reason="ray is not installed (dependency group distributed)")
pa: Any = pytest.importorskip("pyarrow")

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.timeout(300),
    pytest.mark.kinesis(streams={"orders": 2, "returns": 1}, limits=False),
    pytest.mark.filterwarnings("default"),  # Ray's own
]
ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray for all tests: starting it takes many seconds."""
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=256 * MIB,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _in_cluster(cluster: None) -> None:
    """Every test of this file uses the cluster."""


def sink(kinesis: LocalKinesis, stream: str | None = "orders", **options: Any) -> Any:
    from kplpy.integrations.ray import KinesisDatasink

    place = {"endpoint_url": kinesis.endpoint_url, "region_name": kinesis.region_name}
    return KinesisDatasink(stream, **{**place, "record_max_buffered_time_ms": 20, **options})


def write(dataset: Any, sink: Any, **ray_remote_args: Any) -> None:
    dataset.write_datasink(sink, ray_remote_args=ray_remote_args or None)


def table(count: int) -> Any:
    return pa.table(
        {"data": [b"%06d" % number for number in range(count)], "partitionKey": [f"k{n % 50}" for n in range(count)]}
    )


def test_every_row_of_many_blocks_is_read_back_once(kinesis: LocalKinesis) -> None:
    rows = table(5_000)
    to = sink(kinesis)
    write(ray.data.from_arrow([rows.slice(start, 1_250) for start in range(0, 5_000, 1_250)]), to)
    got = read_all(kinesis, "orders")
    assert sorted(each.data for each in got) == rows.column("data").to_pylist()
    assert {each.partition_key for each in got} == {f"k{n}" for n in range(50)}
    assert (to.result.rows, to.result.delivered, to.result.failed) == (5_000, 5_000, 0)


def test_blocks_without_rows_are_written(kinesis: LocalKinesis) -> None:
    rows = table(10)
    write(ray.data.from_arrow([rows.slice(0, 0), rows, rows.slice(0, 0)]), sink(kinesis))
    write(ray.data.from_arrow(rows).filter(lambda row: row["data"] == b"none"), sink(kinesis))
    assert sorted(each.data for each in read_all(kinesis, "orders")) == rows.column("data").to_pylist()


def test_rows_with_all_parts_of_a_record(kinesis: LocalKinesis) -> None:
    headers = pa.array([[("a", "1")], None], pa.map_(pa.string(), pa.string()))
    rows = pa.table(
        {
            "id": [1, 2],
            "partitionKey": ["k", None],
            "explicitHashKey": ["0", None],
            "headers": headers,
            "stream": ["orders", "returns"],
        }
    )
    write(ray.data.from_arrow(rows), sink(kinesis, None, columns=Columns(json="rest")))
    (one,), (other,) = read_all(kinesis, "orders"), read_all(kinesis, "returns")
    assert (json.loads(one.data), one.partition_key, one.explicit_hash_key, one.headers) == (
        {"id": 1},
        "k",
        "0",
        {"a": "1"},
    )
    assert (json.loads(other.data), other.headers) == ({"id": 2}, None)


def test_records_of_a_mebibyte(kinesis: LocalKinesis) -> None:
    payloads = [bytes([65 + number]) * (MIB - 2) for number in range(4)]
    write(ray.data.from_arrow(pa.table({"data": payloads, "partitionKey": ["k"] * 4})), sink(kinesis))
    assert sorted(each.data for each in read_all(kinesis, "orders")) == payloads


def test_a_throttled_stream_is_written_whole(kinesis: LocalKinesis) -> None:
    kinesis.faults.fail_entries("ProvisionedThroughputExceededException", times=3)
    rows = table(500)
    write(ray.data.from_arrow(rows), sink(kinesis))
    assert sorted(each.data for each in read_all(kinesis, "orders")) == rows.column("data").to_pylist()


def test_a_missing_stream_fails_the_write_with_stream_counts_and_reasons(kinesis: LocalKinesis) -> None:
    with pytest.raises(Exception, match="PutTableError") as raised:
        write(ray.data.from_arrow(table(20)), sink(kinesis, "missing"))
    text = str(raised.value)
    assert "stream 'missing': 0 of 20 rows delivered, 20 failed" in text
    assert "20 × RejectedError (ResourceNotFoundException)" in text


def test_a_schema_that_is_not_valid_starts_no_task(kinesis: LocalKinesis) -> None:
    with pytest.raises(Exception, match="column 'data' \\(data\\) must be binary or text, and its type is int64"):
        write(ray.data.from_arrow(pa.table({"data": [1], "partitionKey": ["k"]})), sink(kinesis))
    with pytest.raises(Exception, match="the table has no column 'partitionKey' for partition_key"):
        write(ray.data.from_arrow(pa.table({"data": [b"x"]})), sink(kinesis))
    assert read_all(kinesis, "orders") == []


def test_a_row_without_a_payload_fails_its_task(kinesis: LocalKinesis) -> None:
    rows = pa.table({"data": pa.array([b"x", None], pa.binary()), "partitionKey": ["k", "k"]})
    with pytest.raises(Exception, match="1 of 2 rows delivered, 1 failed: 1 × InvalidRecordError"):
        write(ray.data.from_arrow(rows), sink(kinesis))


def test_a_task_that_is_retried_writes_its_rows_again(kinesis: LocalKinesis, tmp_path: Path) -> None:
    """At least once. The second attempt may run in the same process, with the same producer."""
    from kplpy.integrations.ray import KinesisDatasink

    failed = tmp_path / "failed"

    class FailsOnce(KinesisDatasink):
        def write(self, blocks: Any, ctx: Any) -> Any:
            result = super().write(blocks, ctx)
            if not failed.exists():
                failed.touch()
                raise OSError("after the rows were delivered")
            return result

    to = FailsOnce("orders", endpoint_url=kinesis.endpoint_url, region_name=kinesis.region_name)
    write(ray.data.from_arrow(table(100)), to, retry_exceptions=True, max_retries=2)
    got = Counter(each.data for each in read_all(kinesis, "orders"))
    assert set(got.values()) == {2}
    assert len(got) == 100


def test_options_that_cannot_be_sent_to_workers_are_refused(kinesis: LocalKinesis) -> None:
    with pytest.raises(ConfigError, match="session must be text, a number, True, False or None"):
        sink(kinesis, session=boto3.Session())
    with pytest.raises(ConfigError, match="there is no Config field 'regionname'"):
        sink(kinesis, regionname="eu-west-1")
    with kinesis.producer() as producer, pytest.raises(InvalidRecordError, match="stream must be a str, got Producer"):
        sink(kinesis, producer)  # type: ignore[arg-type]


def test_a_closure_with_a_producer_that_cannot_be_sent_names_the_field(kinesis: LocalKinesis) -> None:
    with Producer(endpoint_url=kinesis.endpoint_url, region_name="eu-west-1", session=boto3.Session()) as producer:

        def put(row: dict[str, Any]) -> dict[str, Any]:
            producer.put_record("orders", row["data"], row["partitionKey"])
            return row

        with pytest.raises(TypeError, match=r"session=Session.* cannot be sent to another process"):
            ray.data.from_arrow(table(1)).map(put).materialize()
