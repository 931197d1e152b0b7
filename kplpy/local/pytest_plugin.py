"""A pytest plugin with one fixture: `kinesis`, a running LocalKinesis for each test that asks for it.

    def test_orders(kinesis):
        kinesis.client().put_record(StreamName="test", Data=b"...", PartitionKey="k")
        assert [each.data for each in kinesis.ledger("test")] == [b"..."]

    @pytest.mark.kinesis(streams={"orders": 4}, limits=False)     # any argument of LocalKinesis
    def test_more(kinesis): ...

It is installed with the extra `local`, and imports nothing until the fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kplpy.local import LocalKinesis


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kinesis(**arguments): arguments of LocalKinesis for the kinesis fixture")


@pytest.fixture
def kinesis(request: pytest.FixtureRequest) -> Iterator[LocalKinesis]:
    """A running local Kinesis with the stream "test" of one shard, unless the marker `kinesis` says otherwise."""
    from kplpy.local import LocalKinesis

    arguments: dict[str, object] = {}
    for mark in reversed(list(request.node.iter_markers("kinesis"))):  # the closest comes last, and wins
        if mark.args:
            raise pytest.UsageError(f"the kinesis marker takes keyword arguments only, got {mark.args!r}")
        arguments.update(mark.kwargs)
    with LocalKinesis(**arguments) as local:  # type: ignore[arg-type]
        yield local
