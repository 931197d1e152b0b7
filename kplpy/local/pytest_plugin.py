"""A pytest plugin with the fixture `kinesis`: a running LocalKinesis for each test that uses it.

    def test_orders(kinesis):
        with kinesis.producer() as producer:
            producer.put_record("test", b"...", "k").result()
        assert [each.data for each in kinesis.ledger("test")] == [b"..."]

    @pytest.mark.kinesis(streams={"orders": 4}, limits=False)     # any argument of LocalKinesis
    def test_more(kinesis): ...

The extra `local` installs what the fixture needs. The plugin imports nothing heavy until the fixture is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kplpy.local import LocalKinesis


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kinesis(**arguments): arguments of LocalKinesis for the kinesis fixture")


@pytest.fixture
def kinesis(request: pytest.FixtureRequest) -> Iterator[LocalKinesis]:
    """A running LocalKinesis.

    It has the stream "test" with one shard, unless the marker `kinesis` changes that.
    """
    from kplpy.local import LocalKinesis

    arguments = _arguments(request)
    try:
        local = LocalKinesis(**arguments)
    except (TypeError, ValueError) as error:
        if not arguments:
            raise
        raise pytest.UsageError(f"the kinesis marker: {error}") from error
    with local:
        yield local


def _arguments(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the arguments of the test's markers; raise UsageError for a misspelt name."""
    from kplpy.local.server.options import Arguments

    known = Arguments.__annotations__
    arguments: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers())):  # the closest marker comes last and overrides the others
        if mark.name != "kinesis":
            _check_name(mark.name, request.config)
            continue
        if mark.args:
            raise pytest.UsageError(f"the kinesis marker takes keyword arguments only, got {mark.args!r}")
        for name in mark.kwargs:
            if name not in known:
                raise pytest.UsageError(
                    f"the kinesis marker takes the arguments of LocalKinesis, {', '.join(known)}; "
                    f"got {name!r}{_suggestion(name, known)}"
                )
        arguments.update(mark.kwargs)
    return arguments


def _check_name(name: str, config: pytest.Config) -> None:
    """Raise UsageError for an unregistered marker whose name resembles `kinesis`.

    Without this check, a misspelt marker would have no effect and no error.
    """
    registered = {re.split(r"[(:]", line)[0].strip() for line in config.getini("markers")}
    suggestion = _suggestion(name, ["kinesis"], cutoff=0.8)
    if suggestion and name not in registered:
        raise pytest.UsageError(f"the fixture kinesis reads the marker kinesis; the test has {name!r}{suggestion}")


def _suggestion(name: str, known: Iterable[str], cutoff: float = 0.7) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""
