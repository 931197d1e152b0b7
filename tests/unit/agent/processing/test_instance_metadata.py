"""ADDEC2METADATA against a metadata service on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kplpy.agent.processing import make_process
from kplpy.agent.processing.instance_metadata import InstanceMetadata
from kplpy.agent.settings import FlowSettings

DOCUMENT = {
    "privateIp": "10.0.0.7",
    "availabilityZone": "eu-west-1a",
    "instanceId": "i-0a1b",
    "instanceType": "t3.nano",
    "accountId": "123456789012",
    "imageId": "ami-7",
    "region": "eu-west-1",
    "kernelId": None,
}
ADDED = {
    **{key: DOCUMENT[key] for key in ("privateIp", "availabilityZone", "instanceId", "instanceType", "accountId")},
    "amiId": "ami-7",
    "region": "eu-west-1",
}


class Service:
    """A metadata service, version 2: it answers with a token only. requests: method and path of each."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.is_broken = False
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.answer("PUT", 200, b"token-1")

            def do_GET(self) -> None:
                allowed = self.headers["X-aws-ec2-metadata-token"] == "token-1"
                self.answer("GET", 200 if allowed else 401, json.dumps(DOCUMENT).encode())

            def answer(self, method: str, status: int, body: bytes) -> None:
                service.requests.append(f"{method} {self.path}")
                self.send_response(503 if service.is_broken else status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    made = Service()
    yield made
    made.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1_780_000_000.0

    def __call__(self) -> float:
        return self.now


def tags(region: str, instance: str) -> dict[str, str]:
    assert (region, instance) == ("eu-west-1", "i-0a1b")
    return {"Name": "web1", "TEAM": "shop"}


def test_the_identity_and_tags_are_read_once_and_again_when_they_are_old(service: Service) -> None:
    clock = Clock()
    metadata = InstanceMetadata(60, service.url, tags, clock)
    assert service.requests == []
    fields = metadata.fields()
    assert list(fields) == [*ADDED, "metadataTimestamp", "tags"]
    assert {**fields, "metadataTimestamp": "", "tags": ""} == {**ADDED, "metadataTimestamp": "", "tags": ""}
    assert fields["tags"] == {"name": "web1", "team": "shop"}
    assert service.requests == ["PUT /latest/api/token", "GET /latest/dynamic/instance-identity/document"]
    clock.now += 60
    assert metadata.fields() is fields
    clock.now += 1
    assert metadata.fields()["metadataTimestamp"] != fields["metadataTimestamp"]
    assert len(service.requests) == 4


def test_a_failure_keeps_what_is_known_and_is_not_repeated_at_once(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    metadata = InstanceMetadata(60, service.url, tags, clock)
    service.is_broken = True
    assert metadata.fields() == {}
    assert metadata.fields() == {}
    assert len(service.requests) == 1
    assert [record.kplpy["event"] for record in caplog.records] == ["ec2_metadata_not_read"]  # type: ignore[attr-defined]
    service.is_broken = False
    clock.now += 61
    fields = metadata.fields()
    service.is_broken = True
    clock.now += 61
    assert fields
    assert metadata.fields() == fields


def test_without_the_permission_to_read_tags_the_identity_is_added(service: Service) -> None:
    def denied(region: str, instance: str) -> dict[str, str]:
        raise PermissionError("ec2:DescribeTags")

    fields = InstanceMetadata(60, service.url, denied).fields()
    assert list(fields) == [*ADDED, "metadataTimestamp"]


def test_it_is_not_asked_where_the_environment_forbids_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert InstanceMetadata(60, service.url, tags).fields() == {}
    assert service.requests == []


def test_the_processor_adds_the_fields_to_a_json_object(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url + "/")
    monkeypatch.setattr("kplpy.agent.processing.instance_metadata.describe_tags", tags)
    option = {"optionName": "ADDEC2METADATA", "metadataTTL": "120"}
    process = make_process(FlowSettings("id", "/f", "kinesis", "s", processing=(option,)))
    assert process is not None
    assert service.requests == []  # not at the start: a check of the configuration must not ask
    added = process(b'{"region":"here","n":1.50,"m":10000000.0} \n')
    assert added is not None
    assert added.startswith(b'{"region":"eu-west-1","n":1.5,"m":1.0E7,"privateIp":"10.0.0.7",')
    assert added.endswith(b'"tags":{"name":"web1","team":"shop"}}\n')
    assert process(b"no json\n") == b"no json\n"
    assert process(b"[1]\n") == b"[1]\n"
    assert (process.transformed, process.failed, process.last_failed) == (1, 2, b"[1]\n")
    assert process.last_error == "ValueError: the record is no JSON object"


def test_without_metadata_records_stay_as_they_are(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    service.is_broken = True
    process = make_process(FlowSettings("id", "/f", "kinesis", "s", processing=({"optionName": "ADDEC2METADATA"},)))
    assert process is not None
    assert process(b'{"a": 1}\n') == b'{"a": 1}\n'
    assert process(b"no json\n") == b"no json\n"
    assert process.failed == 0


def test_a_wrong_time_to_live_is_warned_about() -> None:
    option = {"optionName": "ADDEC2METADATA", "metadataTTL": "1h"}
    process = make_process(FlowSettings("id", "/f", "kinesis", "s", processing=(option,)))
    assert process is not None
    assert "metadataTTL is '1h', which is no whole number: 3600 s is taken" in process.warnings[0]
