"""The recipe for the AWS Glue schema registry in docs/serializers.md, against moto's Glue."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import pytest

from kplpy import InvalidRecordError, RecordFuture
from kplpy.local import LocalKinesis
from tests.integration.test_docs import environment
from tests.local_stream import PATIENCE, local, producing, user_records

pytest.importorskip("aws_schema_registry", reason="on Python 3.10 aws-glue-schema-registry needs orjson 3.6")

from aws_schema_registry import KafkaDeserializer, SchemaRegistryClient
from aws_schema_registry.avro import AvroSchema
from aws_schema_registry.codec import encode
from aws_schema_registry.jsonschema import JsonSchema
from aws_schema_registry.schema import ValidationError
from moto.server import ThreadedMotoServer

PAGE = Path(__file__).parents[2] / "docs/serializers.md"
REGION = "eu-west-1"
FIELDS = [{"name": "id", "type": "long"}, {"name": "item", "type": "string"}]
SCHEMAS: dict[str, Callable[[], Any]] = {
    "avro": lambda: AvroSchema({"type": "record", "name": "Order", "fields": FIELDS}),
    "json": lambda: JsonSchema(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {"id": {"type": "integer"}, "item": {"type": "string"}},
            "required": ["id", "item"],
        }
    ),
}


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def glue(moto_url: str) -> Iterator[Any]:
    client: Any = boto3.client(
        "glue", endpoint_url=moto_url, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x"
    )
    client.create_registry(RegistryName="events")
    yield client
    client.delete_registry(RegistryId={"RegistryName": "events"})


@pytest.fixture
def calls(glue: Any) -> list[str]:
    names: list[str] = []
    glue.meta.events.register("before-call.glue", lambda model, **_: names.append(model.name))
    return names


@pytest.mark.parametrize("compression", [False, True])
@pytest.mark.parametrize("kind", SCHEMAS)
def test_records_of_several_threads_come_back_and_the_registry_is_asked_once(
    glue: Any, calls: list[str], kind: str, compression: bool
) -> None:
    registry, schema = SchemaRegistryClient(glue, registry_name="events"), SCHEMAS[kind]()
    version = registry.get_or_register_schema_version(
        definition=str(schema), schema_name="orders", data_format=schema.data_format
    )
    assert calls == ["GetSchemaByDefinition", "CreateSchema", "GetSchemaVersion"]
    calls.clear()

    def order(value: Any) -> bytes:
        schema.validate(value)
        data: bytes = encode(schema.write(value), version.version_id, compression=compression)
        return data

    given = [{"id": number, "item": f"bøk {number}"} for number in range(200)]
    futures: list[RecordFuture] = []
    with local() as kinesis, producing(kinesis, streams={"orders": {"value_serializer": order}}) as producer:

        def put(part: list[Any]) -> None:
            futures.extend(producer.put_record("orders", each, "customer-42") for each in part[:50])
            futures.extend(producer.put_records("orders", [(each, "customer-42") for each in part[50:]]))

        threads = [threading.Thread(target=put, args=(part,)) for part in (given[:100], given[100:])]
        for each in threads:
            each.start()
        for each in threads:
            each.join(PATIENCE)
        with pytest.raises(InvalidRecordError, match=r"value_serializer raised ValidationError") as raised:
            producer.put_record("orders", {"id": 7.5, "item": "book"}, "customer-42")
        assert isinstance(raised.value.__cause__, ValidationError)
        producer.flush(timeout=PATIENCE)
        assert len(kinesis.ledger("orders")) < len(given)  # aggregates
        records = user_records(kinesis)
    assert calls == []
    assert [each.data[:2] for each in records] == [b"\x03\x05" if compression else b"\x03\x00"] * len(given)
    assert {UUID(bytes=each.data[2:18]) for each in records} == {version.version_id}
    deserializer = KafkaDeserializer(registry)
    read = [deserializer.deserialize("orders", each.data) for each in records]
    assert sorted((each.data for each in read), key=lambda value: value["id"]) == given
    assert {each.schema for each in read} == {schema}
    assert calls == ["GetSchemaVersion"]
    again = registry.get_or_register_schema_version(
        definition=str(schema), schema_name="orders", data_format=schema.data_format
    )
    assert again.version_id == version.version_id
    assert calls == ["GetSchemaVersion", "GetSchemaByDefinition"]


@pytest.mark.usefixtures("glue")
def test_the_program_of_the_page_prints_what_the_page_says(moto_url: str, tmp_path: Path) -> None:
    found = re.search(
        r"^```python\n([^`]*aws_schema_registry.*?)^```$.*?^```text\n(.*?)^```$", PAGE.read_text(), re.M | re.S
    )
    assert found is not None
    with LocalKinesis(stream="orders") as kinesis:
        settings = environment(
            tmp_path,
            AWS_ENDPOINT_URL_KINESIS=kinesis.endpoint_url,
            AWS_ENDPOINT_URL_GLUE=moto_url,
            AWS_DEFAULT_REGION=REGION,
            AWS_ACCESS_KEY_ID="x",
            AWS_SECRET_ACCESS_KEY="x",
        )
        command = [sys.executable, "-c", found[1]]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=settings, timeout=PATIENCE, check=False
        )
    assert (done.stdout, done.returncode) == (found[2], 0), done.stderr
