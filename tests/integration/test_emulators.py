"""The probes of benchmarks/emulators find in the local Kinesis what docs/local.md says of it."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from benchmarks.emulators.probes import PROBES, Service, kept_after_kill, seen
from benchmarks.emulators.servers import EMULATORS
from benchmarks.local_kinesis import exchange
from kplpy.local import Fault, LocalKinesis

PAGE = (Path(__file__).parents[2] / "docs/local.md").read_text(encoding="utf-8")


@pytest.mark.kinesis(stream=None)
@pytest.mark.parametrize("name", PROBES)
def test_the_local_kinesis_passes_the_probe(kinesis: LocalKinesis, name: str) -> None:
    service = Service(kinesis.endpoint_url)
    members = service.client.meta.service_model.operation_model("CreateStream").input_shape.members
    if name.startswith("AUTO") and "RecordDistributionStrategy" not in members:
        pytest.skip("this botocore is too old")
    assert seen(PROBES[name], service) == "yes"
    assert f"| {name} | yes |" in PAGE


def test_records_survive_a_kill() -> None:
    assert seen(kept_after_kill, EMULATORS[0]) == "yes"


@pytest.mark.kinesis(stream=None, limits=False)
def test_a_limit_that_is_missing_is_seen(kinesis: LocalKinesis) -> None:
    name = "throttles writes (1 MiB/s a shard)"
    assert seen(PROBES[name], Service(kinesis.endpoint_url)) == "no: all 1.5 MB accepted at once"


@pytest.mark.kinesis(stream=None)
def test_an_operation_that_fails_is_named(kinesis: LocalKinesis) -> None:
    kinesis.faults.outage(Fault(code="ServiceUnavailable", status=503), operation="RegisterStreamConsumer")
    found = seen(PROBES["SubscribeToShard"], Service(kinesis.endpoint_url))
    assert found == "no: RegisterStreamConsumer: ServiceUnavailable"


def test_the_page_has_the_version_of_each_emulator() -> None:
    names = " | ".join(each.title for each in EMULATORS)
    assert f"| | {names} |" in PAGE


@pytest.mark.parametrize(
    ("response", "is_kept"),
    [
        (b"Content-Length: 24\r\n\r\n{'FailedRecordCount': 0}", True),
        (b"content-length: 24\r\nConnection: close\r\n\r\n{'FailedRecordCount': 0}", False),
        (b"transfer-encoding: chunked\r\n\r\n18\r\n{'FailedRecordCount': 0}\r\n0\r\n\r\n", True),
    ],
)
def test_a_response_of_each_form_is_taken(response: bytes, is_kept: bool) -> None:
    assert answered(response) is is_kept


def test_refused_records_end_a_measurement() -> None:
    with pytest.raises(RuntimeError, match="records were refused"):
        answered(b"Content-Length: 24\r\n\r\n{'FailedRecordCount': 7}")


class Bytewise(socket.socket):
    """A connection on which each byte comes alone."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        return super().recv(min(size, 1), flags)


def answered(response: bytes) -> bool:
    """Return what exchange() returns for a response that comes byte by byte."""
    receiver, there = socket.socketpair()
    here = Bytewise(fileno=receiver.detach())
    here.settimeout(10)
    whole = b"HTTP/1.1 200 OK\r\n" + response.replace(b"'", b'"')
    sender = threading.Thread(target=lambda: [there.send(bytes([each])) for each in whole])
    with here, there:
        sender.start()
        try:
            return exchange(here, b"request")
        finally:
            sender.join()
