"""Settings of every test: no AWS settings of the user, no access to AWS, no endless hypothesis runs."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from kplpy.config.options import Config
from tests.inside import use_put_path
from tests.log_events import breach

# At import, before any test module can make a botocore session. xdist's worker processes inherit the environment.
for _name in [n for n in os.environ if n.startswith("AWS_") or n.lower().endswith("_proxy")]:
    del os.environ[_name]
os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
)

# No deadline for an example: the tests run on shared machines that are slow at times.
settings.register_profile("kplpy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kplpy")

_getaddrinfo = socket.getaddrinfo
PRODUCER_THREADS = frozenset({"kplpy-scheduler", "kplpy-sender", "kplpy-callbacks", "kplpy-close"})


def _getaddrinfo_without_aws(host: Any, *args: Any, **kwargs: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name.rstrip(".").endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")):
        raise socket.gaierror(socket.EAI_NONAME, f"a test tried to reach {name}")
    return _getaddrinfo(host, *args, **kwargs)


@pytest.fixture(autouse=True)
def _without_motos_handlers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep moto, once a test module has imported it, from handling the requests of all later clients.

    A test with the marker `moto` uses it within the process.
    """
    if request.node.get_closest_marker("moto"):
        return
    handlers = sys.modules.get("botocore.handlers")
    if "moto" in sys.modules and handlers is not None:
        others = [each for each in handlers.BUILTIN_HANDLERS if type(each[1]).__module__.partition(".")[0] != "moto"]
        monkeypatch.setattr(handlers, "BUILTIN_HANDLERS", others)


@pytest.fixture(autouse=True)
def put_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send PutRecords one way only, if KPLPY_TEST_PUT_PATH is "client" or "direct". See inside.use_put_path."""
    path = os.environ.get("KPLPY_TEST_PUT_PATH")
    if path is not None:
        use_put_path(monkeypatch, path)


@pytest.fixture(autouse=True)
def _logging_stays_as_it_is() -> Iterator[None]:
    """Restore the loggers, because a command that runs within the test process configures them."""
    library, producer = logging.getLogger("kplpy"), logging.getLogger("kplpy.producer")
    handlers, levels, propagate = list(library.handlers), (library.level, producer.level), library.propagate
    yield
    library.handlers[:] = handlers
    library.setLevel(levels[0])
    producer.setLevel(levels[1])
    library.propagate = propagate


@pytest.fixture(autouse=True)
def _log_records_follow_the_schema() -> Iterator[None]:
    """Check every log record of kplpy, without a handler, which would change what other handlers get.

    Drop those of an earlier test's producer, whose threads may outlive it: a sender ends after its request.
    """
    breaches: list[str] = []
    call_handlers = logging.Logger.callHandlers
    earlier = {each for each in threading.enumerate() if each.name in PRODUCER_THREADS}

    def watch(logger: logging.Logger, record: logging.LogRecord) -> None:
        if f"{record.name}.".startswith("kplpy.") and not record.name.startswith("kplpy.test"):
            breaches.extend(filter(None, [breach(record)]))
            if threading.current_thread() in earlier:
                return
        call_handlers(logger, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.Logger, "callHandlers", watch)
        yield
    assert breaches == []


@pytest.fixture(autouse=True, scope="session")
def _no_aws() -> Any:
    """Make a test without an endpoint fail at once, instead of calling the real service."""
    patch = pytest.MonkeyPatch()
    patch.setattr(socket, "getaddrinfo", _getaddrinfo_without_aws)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _no_cloudwatch() -> Iterator[None]:
    """Drop the metrics of producers without an endpoint of CloudWatch.

    For the whole session, because a producer's threads may outlive its test, and would log errors in another one.
    """
    from kplpy.aws.client import make_cloudwatch_client as real

    def make(config: Config) -> Any:
        return real(config) if config.cloudwatch_endpoint_url else SimpleNamespace(put_metric_data=lambda **_: None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kplpy.aws.cloudwatch.make_cloudwatch_client", make)
        yield
