"""Which service, region and endpoint a stream's requests go to."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy import Config
from kplpy.aws.client import firehose_url, make_firehose_client
from kplpy.aws.kinesis.transport import KinesisTransport
from kplpy.aws.services import Services

STAND_IN = "http://localhost:4567"
STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/logs"


def delivery(region: str) -> str:
    return f"arn:aws:firehose:{region}:123456789012:deliverystream/logs"


def services(**fields: Any) -> Services:
    config = Config(**{"region_name": "eu-west-1", **fields})
    return Services(config, KinesisTransport(config))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"endpoint_url": STAND_IN}, STAND_IN),
        ({"endpoint_url": "http://moto:5000"}, "http://moto:5000"),
        ({"endpoint_url": "https://localhost.localstack.cloud:4566"}, "https://localhost.localstack.cloud:4566"),
        ({"endpoint_url": "https://kinesis.eu-west-1.amazonaws.com"}, None),
        ({"endpoint_url": "https://vpce-0a1b.kinesis.eu-west-1.vpce.amazonaws.com"}, None),
        ({"endpoint_url": "https://kinesis.cn-north-1.amazonaws.com.cn"}, None),
        ({"endpoint_url": "https://kinesis.eu-west-1.api.aws"}, None),
        ({"endpoint_url": "https://kinesis.us-iso-east-1.c2s.ic.gov"}, None),
        ({"endpoint_url": STAND_IN, "firehose_endpoint_url": "http://other:1"}, "http://other:1"),
        ({"firehose_endpoint_url": "http://other:1"}, "http://other:1"),
    ],
)
def test_a_stand_ins_address_is_that_of_both_services_and_one_of_aws_is_not(
    fields: dict[str, str], expected: str | None
) -> None:
    assert firehose_url(Config(**fields)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variable", "given"),
    [("AWS_ENDPOINT_URL_FIREHOSE", None), ("AWS_ENDPOINT_URL", None), ("AWS_ENDPOINT_URL_FIREHOSE", "http://other:1")],
)
def test_the_environments_endpoint(variable: str, given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, STAND_IN)
    client = make_firehose_client(Config(region_name="eu-west-1", endpoint_url=given))
    assert client.meta.endpoint_url == STAND_IN


def test_each_region_has_a_client_of_its_own_which_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(config: Config, credentials: object) -> Any:
        made.append(config.region_name)
        return make_firehose_client(config)

    monkeypatch.setattr("kplpy.aws.firehose.transport.make_firehose_client", make)
    both = services()
    for region in ("us-east-1", "us-east-1", "eu-west-2"):
        assert both.connect(delivery(region)) is None
    assert made == ["us-east-1", "eu-west-2"]
    assert not both.streams.was_used
    both.close()


@pytest.mark.parametrize("given", [None, STREAM])
def test_streams_go_to_kinesis(given: str | None) -> None:
    both = services()
    assert both.connect(given) is None
    assert both.streams.was_used
    both.close()


def test_only_clients_in_use_decide_whether_metrics_may_go_to_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", STAND_IN)
    both = services()
    both.connect(delivery("eu-west-1"))
    assert both.is_regional()
    both.connect(None)
    assert not both.is_regional()
    monkeypatch.delenv("AWS_ENDPOINT_URL_KINESIS")
    monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", STAND_IN)
    both = services()
    both.connect(None)
    assert both.is_regional()
    both.connect(delivery("eu-west-1"))
    assert not both.is_regional()


def test_a_client_that_is_made_after_the_exit_began_has_its_short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def make(config: Config, credentials: object) -> Any:
        seen.append(config.request_timeout_ms)
        return make_firehose_client(config)

    monkeypatch.setattr("kplpy.aws.firehose.transport.make_firehose_client", make)
    both = services()
    both.connect(delivery("us-east-1"))
    both.hurry(1.0)
    both.connect(delivery("us-east-1"))
    both.connect(delivery("eu-west-2"))
    assert seen == [6000, 1000, 1000]
