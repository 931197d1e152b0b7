"""The Django example: back-pressure, and puts after a commit. Needs the dependency group `examples`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kplpy.dead_letters.entry import parse_entry
from kplpy.local import LocalKinesis
from tests.examples.helpers import imported
from tests.integration.reading import read_all
from tests.local_stream import PATIENCE, contents

pytestmark = [pytest.mark.examples, pytest.mark.kinesis(stream="orders", limits=False)]


def django_client() -> Any:
    """Set Django up, once in this process, with the example's urls and a database in memory; returns a test client."""
    import django
    from django.conf import settings

    if not settings.configured:
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        settings.configure(ROOT_URLCONF="examples.django_events", ALLOWED_HOSTS=["*"], DATABASES={"default": database})
        django.setup()
    from django.urls import clear_url_caches

    clear_url_caches()
    from django.test import Client

    return Client()


def test_django_puts_events_and_answers_503_without_room(kinesis: LocalKinesis, tmp_path: Path) -> None:
    pytest.importorskip("django")
    client = django_client()
    with imported("django_events", kinesis, DEAD_LETTERS=str(tmp_path / "failed")) as example:
        send = {"path": "/", "content_type": "text/plain", "headers": {"X-Customer": "c-42"}}
        assert client.post(data=b"first", **send).status_code == 202
        assert client.get("/").status_code == 405
        assert client.post("/", data=b"x" * (2 << 20), content_type="text/plain").status_code == 400
        example.producer.flush(timeout=PATIENCE)
        [record] = read_all(kinesis, "orders")
        assert (record.data, record.partition_key) == (b"first", "c-42")
        kinesis.faults.outage()
        with kinesis.producer(max_buffered_records=1, on_buffer_full="raise", record_ttl_ms=None) as small:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(example, "producer", small)
                assert client.post(data=b"second", **send).status_code == 202
                answer = client.post(data=b"third", **send)
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
                example.put_on_commit(b"fourth", "c-42")  # no transaction: at once
            kinesis.faults.clear()
    assert contents(kinesis) == {b"first": 1, b"second": 1}
    [failed] = (tmp_path / "failed").read_bytes().splitlines()
    assert (parse_entry(failed).data, parse_entry(failed).stream) == (b"fourth", "orders")


def test_django_puts_when_the_transaction_is_committed(kinesis: LocalKinesis, tmp_path: Path) -> None:
    pytest.importorskip("django")
    django_client()
    from django.db import connection, transaction

    with imported("django_events", kinesis, DEAD_LETTERS=str(tmp_path / "failed")) as example:
        with transaction.atomic():
            example.put_on_commit(b"rolled back", "k")
            transaction.set_rollback(True)
        with transaction.atomic():
            example.put_on_commit(b"committed", "k")
            assert example.producer.outstanding_records == 0
        example.producer.flush(timeout=PATIENCE)
        assert contents(kinesis) == {b"committed": 1}
    connection.close()
