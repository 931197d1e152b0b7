"""Fixtures of the tests of puts: a stub service, and a producer that sends to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kplpy import Producer
from tests.stub_service import StubService, install


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> StubService:
    return install(monkeypatch, shards=2)


@pytest.fixture
def producer(service: StubService) -> Iterator[Producer]:
    with Producer(record_max_buffered_time_ms=0) as producer:
        yield producer
        service.let_go()
