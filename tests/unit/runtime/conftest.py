"""A stub of the service, and threads that put to it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.stub_service import StubService, install


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubService]:
    stub = install(monkeypatch)
    yield stub
    stub.let_go()


@pytest.fixture
def pool(service: StubService) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool
        service.let_go()
