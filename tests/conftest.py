"""What every test runs under: no AWS settings of the person's own, no way to AWS, no endless hypothesis runs."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from kplpy.config.options import Config
from tests.log_events import breach

# At import, before any test module can make a botocore session. The worker processes of xdist inherit it.
for _name in [n for n in os.environ if n.startswith("AWS_") or n.lower().endswith("_proxy")]:
    del os.environ[_name]
os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
)

# No deadline for one example: the machines that run this are shared and slow at times.
settings.register_profile("kplpy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kplpy")

_getaddrinfo = socket.getaddrinfo


def _getaddrinfo_but_not_aws(host: Any, *args: Any, **kwargs: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name.rstrip(".").endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")):
        raise socket.gaierror(socket.EAI_NONAME, f"a test tried to reach {name}")
    return _getaddrinfo(host, *args, **kwargs)


@pytest.fixture(autouse=True)
def _logging_stays_as_it_is() -> Iterator[None]:
    """A command that is tried within the test process sets up its logging for the whole of it."""
    library, producer = logging.getLogger("kplpy"), logging.getLogger("kplpy.producer")
    handlers, levels, propagate = list(library.handlers), (library.level, producer.level), library.propagate
    yield
    library.handlers[:] = handlers
    library.setLevel(levels[0])
    producer.setLevel(levels[1])
    library.propagate = propagate


@pytest.fixture(autouse=True)
def _what_is_logged_follows_the_schema() -> Iterator[None]:
    """Not by a handler, which would change what other handlers get to see."""
    breaches: list[str] = []
    call_handlers = logging.Logger.callHandlers

    def watch(logger: logging.Logger, record: logging.LogRecord) -> None:
        if f"{record.name}.".startswith("kplpy.") and not record.name.startswith("kplpy.test"):
            breaches.extend(filter(None, [breach(record)]))
        call_handlers(logger, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.Logger, "callHandlers", watch)
        yield
    assert breaches == []


@pytest.fixture(autouse=True, scope="session")
def _no_aws() -> Any:
    """A test that forgets its endpoint fails at once, rather than asking the real service."""
    patch = pytest.MonkeyPatch()
    patch.setattr(socket, "getaddrinfo", _getaddrinfo_but_not_aws)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _no_cloudwatch() -> Iterator[None]:
    """A producer whose test names no endpoint of CloudWatch uploads its metrics to nowhere.

    To the end: its threads may outlive the test that closed it, and would say in another's log that they cannot.
    """
    from kplpy.aws.client import make_cloudwatch_client as real

    def make(config: Config) -> Any:
        return real(config) if config.cloudwatch_endpoint_url else SimpleNamespace(put_metric_data=lambda **_: None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kplpy.aws.cloudwatch.make_cloudwatch_client", make)
        yield
