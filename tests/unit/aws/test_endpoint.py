"""Tests whether a client uses AWS's own endpoint of its region, in each way to set another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config as ClientConfig
from botocore.exceptions import EndpointVariantError

from kplpy import Config
from kplpy.aws.client import make_client
from kplpy.aws.endpoint import is_regional
from kplpy.aws.kinesis.transport import KinesisTransport

STAND_IN = "http://127.0.0.1:4566"
INTERFACE = "https://vpce-0a1b-2c3d.kinesis.eu-west-1.vpce.amazonaws.com"


def uses_aws(region: str = "eu-west-1", **of_client: Any) -> bool:
    botocore_config = ClientConfig(**of_client) if of_client else None
    config = Config(region_name=region, botocore_config=botocore_config)
    return is_regional(config, make_client(config).meta)


@pytest.mark.parametrize("variant", [{}, {"use_fips_endpoint": True}, {"use_dualstack_endpoint": True}])
@pytest.mark.parametrize(
    "region", ["eu-west-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1", "us-iso-east-1", "us-east-99", "nowhere"]
)
def test_without_a_named_endpoint_it_is_the_regions(region: str, variant: dict[str, bool]) -> None:
    """In each partition, and in regions that botocore does not know."""
    if region == "nowhere" and variant:
        pytest.skip("botocore makes no client")
    try:
        assert uses_aws(region, **variant)
    except EndpointVariantError:
        pytest.skip("this botocore knows no such endpoint, and makes no client")


@pytest.mark.parametrize("variable", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
def test_the_environment_chooses_among_the_regions_own(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "true")
    assert uses_aws()


OTHERS = [
    STAND_IN,
    INTERFACE,
    "https://kinesis.eu-central-1.amazonaws.com",
    "https://kinesis.eu-west-1.amazonaws.com:8443",
    "https://kinesis.eu-west-1.localhost.localstack.cloud:4566",
]


@pytest.mark.parametrize("url", OTHERS)
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"])
def test_the_environment_names_another(variable: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, url)
    assert not uses_aws()
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert uses_aws()


@pytest.mark.parametrize("url", OTHERS)
def test_an_argument_names_another(url: str) -> None:
    config = Config(region_name="eu-west-1", endpoint_url=url)
    assert not is_regional(config, make_client(config).meta)


def test_another_services_endpoint_is_none_of_kinesis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", STAND_IN)
    assert uses_aws()


def test_the_regions_own_may_be_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "https://kinesis.eu-west-1.amazonaws.com/")
    assert uses_aws()


PROFILES = {
    "for all services": f"[default]\nendpoint_url = {STAND_IN}\n",
    "for Kinesis": f"[default]\nservices = local\n[services local]\nkinesis =\n  endpoint_url = {STAND_IN}\n",
}


@pytest.mark.parametrize("settings", PROFILES.values(), ids=PROFILES)
def test_a_profile_names_another(settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(settings)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert not uses_aws()
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert uses_aws()


def test_the_transport_keeps_the_endpoint_of_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after it is closed and the environment has changed."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", STAND_IN)
    transport = KinesisTransport(Config(region_name="eu-west-1"))
    assert not transport.is_regional()
    transport.close()
    monkeypatch.delenv("AWS_ENDPOINT_URL_KINESIS")
    assert not transport.is_regional()
    assert KinesisTransport(Config(region_name="eu-west-1")).is_regional()
