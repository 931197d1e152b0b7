"""Makes boto3 clients, boto3 sessions and producers for a local Kinesis."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_kinesis import KinesisClient

    from kplpy.producer import Producer


class Place(Protocol):
    """The address of a local Kinesis."""

    @property
    def endpoint_url(self) -> str: ...

    @property
    def region_name(self) -> str: ...

    @property
    def ca_bundle(self) -> str | None: ...


def make_session(region_name: str) -> boto3.Session:
    """Return a session with made-up credentials. It ignores this machine's AWS files and profiles."""
    import boto3
    from botocore.session import Session

    no_machine_settings: Any = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    return boto3.Session(
        aws_access_key_id="local",
        aws_secret_access_key="local",
        region_name=region_name,
        botocore_session=Session(no_machine_settings),
    )


def make_client(place: Place, **arguments: Any) -> KinesisClient:
    """Return a boto3 Kinesis client for the local Kinesis; `arguments` are passed to boto3."""
    session = make_session(place.region_name)
    return session.client("kinesis", endpoint_url=place.endpoint_url, **{"verify": place.ca_bundle, **arguments})


def make_firehose_client(place: Place, **arguments: Any) -> FirehoseClient:
    """Return a boto3 Firehose client for the local Firehose; `arguments` are passed to boto3."""
    session = make_session(place.region_name)
    return session.client("firehose", endpoint_url=place.endpoint_url, **{"verify": place.ca_bundle, **arguments})


def make_cloudwatch_client(place: Place, **arguments: Any) -> CloudWatchClient:
    """Return a boto3 CloudWatch client for the local CloudWatch; `arguments` are passed to boto3."""
    session = make_session(place.region_name)
    return session.client("cloudwatch", endpoint_url=place.endpoint_url, **{"verify": place.ca_bundle, **arguments})


def make_producer(place: Place, **config: Any) -> Producer:
    """Return a Producer for the local Kinesis.

    `config`: fields of Config, which override the address's.
    """
    from kplpy.producer import Producer

    address = {
        "endpoint_url": place.endpoint_url,
        "region_name": place.region_name,
        "verify": place.ca_bundle,
        "session": make_session(place.region_name),
    }
    return Producer(**{**address, **config})
