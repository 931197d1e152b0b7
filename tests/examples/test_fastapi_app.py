"""The FastAPI example: back-pressure, readiness, failures. Needs the dependency group `examples`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kplpy.local import LocalKinesis
from tests.examples.helpers import imported
from tests.integration.reading import read_all
from tests.local_stream import PATIENCE, contents

pytestmark = [pytest.mark.examples, pytest.mark.kinesis(stream="orders", limits=False)]

ORDER = {"customer": "c-42", "item": "book"}


def test_fastapi_puts_orders_and_is_ready(kinesis: LocalKinesis) -> None:
    client_of = pytest.importorskip("fastapi.testclient").TestClient
    with imported("fastapi_app", kinesis) as example:
        with client_of(example.create_app()) as client:
            answer = client.post("/orders", json=ORDER)
            assert answer.status_code == 201
            [entry] = kinesis.ledger("orders")
            assert answer.json() == {"shard": entry.shard_id, "sequence_number": entry.sequence_number}
            assert client.get("/ready").status_code == 200
            assert client.post("/orders", json={"customer": "", "item": "book"}).status_code == 422
            assert client.post("/orders", json={**ORDER, "item": "x" * (2 << 20)}).status_code == 422
        [record] = read_all(kinesis, "orders")
        assert (json.loads(record.data), record.partition_key) == (ORDER, "c-42")


def test_fastapi_answers_503_under_back_pressure(kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch) -> None:
    client_of = pytest.importorskip("fastapi.testclient").TestClient
    with imported("fastapi_app", kinesis) as example:
        producer = kinesis.producer(max_buffered_records=5, record_ttl_ms=None)
        with client_of(example.create_app(producer)) as client:
            kinesis.faults.outage()
            monkeypatch.setattr(example, "OLDEST_AGE_MS", 0)
            for number in range(5):
                client.portal.call(buffer, producer, b"%d" % number)
            answer = client.post("/orders", json=ORDER)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            answer = client.get("/ready")
            assert (answer.status_code, answer.json()["outstanding_records"]) == (503, 5)
            kinesis.faults.clear()
            producer.flush(timeout=PATIENCE)
            assert client.get("/ready").json()["outstanding_records"] == 0
            assert client.post("/orders", json=ORDER).status_code == 201
    assert sum(contents(kinesis).values()) == 6


async def buffer(producer: Any, data: bytes) -> None:
    producer.put_record("orders", data, "k")


def test_fastapi_answers_502_when_an_order_is_given_up(kinesis: LocalKinesis) -> None:
    client_of = pytest.importorskip("fastapi.testclient").TestClient
    with imported("fastapi_app", kinesis) as example:
        producer = kinesis.producer(record_ttl_ms=200)
        with client_of(example.create_app(producer)) as client:
            kinesis.faults.outage()
            answer = client.post("/orders", json=ORDER)
            assert answer.status_code == 502
            assert "the order was not delivered" in answer.json()["detail"]
            kinesis.faults.clear()
