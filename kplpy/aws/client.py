"""Makes botocore clients under one lock, with kplpy's own retries and timeouts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

from kplpy.aws.causes import name_endpoint
from kplpy.aws.credentials import remember, withhold_tracebacks
from kplpy.config.options import Config
from kplpy.process import fork

if TYPE_CHECKING:
    import botocore.config
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_kinesis import KinesisClient

# The domains of AWS's endpoints in all partitions, as in botocore's partitions.json.
_OF_AWS = (
    *(".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"),
    *(".api.aws", ".api.amazonwebservices.com.cn", ".api.amazonwebservices.eu"),
    *(".ic.gov", ".sgov.gov", ".api.aws.scloud", ".adc-e.uk"),
)
LOCAL_KEY = "local"
"""The access key, and the secret key, of requests to a stand-in on this machine if there are no credentials."""
# Sessions are not thread-safe, and neither is making a client from one; clients are.
_making_section = fork.NoForkSection()


def make_client(config: Config, credentials: Mapping[str, str] | None = None) -> KinesisClient:
    """Return a Kinesis client of the user's session, or of a new session with the default credential chain.

    credentials: arguments of the client that replace the session's credentials.
    """
    client = _make("kinesis", config, config.session, config.endpoint_url, credentials)
    client.meta.events.register("after-call.kinesis", name_endpoint)
    return cast("KinesisClient", client)


def make_firehose_client(config: Config, credentials: Mapping[str, str] | None = None) -> FirehoseClient:
    """Return a Firehose client, as make_client does."""
    client = _make("firehose", config, config.session, firehose_url(config), credentials)
    client.meta.events.register("after-call.firehose", name_endpoint)
    return cast("FirehoseClient", client)


def firehose_url(config: Config) -> str | None:
    """Return the configured URL of Firehose. None: as botocore finds it.

    Without one of its own, also in AWS_ENDPOINT_URL_FIREHOSE, it is endpoint_url, because a stand-in serves both
    services at one address, and records for a stand-in must not go to AWS. AWS's addresses of Kinesis do not serve
    Firehose.
    """
    if config.firehose_endpoint_url is not None or config.endpoint_url is None:
        return config.firehose_endpoint_url
    is_elsewhere = os.environ.get("AWS_ENDPOINT_URL_FIREHOSE") or is_of_aws(config.endpoint_url)
    return None if is_elsewhere else config.endpoint_url


def is_of_aws(url: str) -> bool:
    """Return True for an address of AWS, also that of another service or region, or of a VPC endpoint."""
    return (urlsplit(url).hostname or "").endswith(_OF_AWS)


def is_this_machine(url: str) -> bool:
    """Return True for a URL of localhost or of a loopback address."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_cloudwatch_client(config: Config) -> CloudWatchClient:
    """Return a CloudWatch client of metrics_session, or of the session of the Kinesis client."""
    session = config.session if config.metrics_session is None else config.metrics_session
    return cast("CloudWatchClient", _make("cloudwatch", config, session, config.cloudwatch_endpoint_url))


def make_sts_client(config: Config, session: Any, endpoint_url: str | None) -> Any:
    """Return a client of STS with the session's credentials."""
    return _make("sts", config, session, endpoint_url)


def regional_endpoint_url(config: Config, region: str, service: str = "kinesis") -> str:
    """Return AWS's own endpoint of the service in the region, as botocore knows it, not a configured endpoint.

    A client of its own has the endpoint. It sends nothing, so it needs no credentials. Making it takes 0.1 s of CPU.
    """
    from botocore.config import Config as ClientConfig

    without_configured = ClientConfig(ignore_configured_endpoint_urls=True)  # type: ignore[call-arg]  # the stubs lack it
    merged = without_configured if config.botocore_config is None else config.botocore_config.merge(without_configured)
    config = replace(config, region_name=region, botocore_config=merged)
    client = _make(service, config, config.session, None, {"aws_access_key_id": "-", "aws_secret_access_key": "-"})
    return str(client.meta.endpoint_url)


def _make(
    service: str,
    config: Config,
    session: Any,
    endpoint_url: str | None,
    credentials: Mapping[str, str] | None = None,
) -> Any:
    with _making_section:
        load()
        import boto3

        from kplpy.aws.clock import correct_clock

        is_new_session = session is None
        if session is None:
            session = boto3.Session()
        remember(session)
        withhold_tracebacks()
        make: Any = session.client if hasattr(session, "client") else session.create_client
        client = make(
            service,
            region_name=config.region_name or _region_of(session, endpoint_url),
            endpoint_url=endpoint_url,
            verify=config.verify,
            config=_client_config(config),
            **(credentials or {}),
        )
        if is_new_session:
            _forget_files(client)
        correct_clock(client)
        return client


def _forget_files(client: Any) -> None:
    """Drop the files that botocore read and keeps for the session's next client.

    They are 24,000 of the 64,000 objects in a full garbage collection, and 15 of its 26 ms. The names are private to
    botocore, so they are used only if they exist. Without them the memory is kept.
    """
    files = getattr(getattr(client, "_loader", None), "_cache", None)
    if isinstance(files, dict):
        files.clear()


def load() -> None:
    """Import everything that a request needs, so that no fork happens during an import on another thread.

    A fork with Python's hooks waits for the imports (see NoForkSection). Before a fork without hooks, the thread that
    forks must call this.
    """
    import encodings.idna  # noqa: F401  # the first connection imports it

    import boto3  # noqa: F401
    import botocore.config  # noqa: F401

    import kplpy.aws.clock  # noqa: F401


def _region_of(session: Any, endpoint_url: str | None) -> str | None:
    """Return a region if boto finds none: AWS_REGION, which the other SDKs read but boto does not.

    With a custom endpoint, usually a local one, any region will do for signing.
    """
    region = session.region_name if hasattr(session, "region_name") else session.get_config_variable("region")
    if region:
        return None
    return os.environ.get("AWS_REGION") or ("us-east-1" if endpoint_url is not None else None)


def _client_config(config: Config) -> botocore.config.Config:
    from botocore.config import Config as ClientConfig

    own_options = ClientConfig(
        # The core retries. Retries hidden in botocore would write duplicates that no response shows.
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=config.connect_timeout_ms / 1000,
        read_timeout=config.request_timeout_ms / 1000,
        max_pool_connections=config.max_connections,
        tcp_keepalive=True,
        # kplpy builds the body from records that the put has checked.
        parameter_validation=False,
        user_agent_extra="kplpy",
    )
    if config.proxy_host is not None:
        own_options = own_options.merge(ClientConfig(proxies={"http": _proxy(config), "https": _proxy(config)}))
    return config.botocore_config.merge(own_options) if config.botocore_config is not None else own_options


def _proxy(config: Config) -> str:
    user = ""
    if config.proxy_user_name is not None:
        user = f"{quote(config.proxy_user_name, safe='')}:{quote(config.proxy_password or '', safe='')}@"
    return f"http://{user}{config.proxy_host}:{config.proxy_port}"
