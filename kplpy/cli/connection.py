"""Connection options that put and tail share, and one-line texts for botocore's errors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from kplpy.escaping import shown
from kplpy.stream_names import is_delivery_stream, name_of, region_of

if TYPE_CHECKING:
    import botocore.session
    from mypy_boto3_kinesis import KinesisClient

    from kplpy import Config


@dataclass(frozen=True)
class Connection:
    """The values of the shared options."""

    region: str | None
    endpoint_url: str | None
    profile: str | None
    ca_bundle: str | None
    no_verify: bool

    def fields(self) -> dict[str, Any]:
        """Return the Config fields that the options set."""
        found: dict[str, Any] = {}
        if self.region:
            found["region_name"] = self.region
        if self.endpoint_url:
            found["endpoint_url"] = self.endpoint_url
        if self.no_verify:
            found["verify"] = False
        elif self.ca_bundle:
            found["verify"] = self.ca_bundle
        session = self._session()
        if session is not None:
            found["session"] = session
        return found

    def _session(self) -> botocore.session.Session | None:
        """Return a session for a profile or a local endpoint, else None. A local endpoint accepts any credentials."""
        from kplpy.aws.client import LOCAL_KEY, is_this_machine

        local = self.endpoint_url is not None and is_this_machine(self.endpoint_url)
        if self.profile is None and not local:
            return None
        from botocore.session import Session

        session = Session(profile=self.profile)
        if local:
            # Outside EC2, a request to the metadata service takes seconds to fail.
            session.get_component("credential_provider").remove("iam-role")
            if session.get_credentials() is None:
                session.set_credentials(LOCAL_KEY, LOCAL_KEY)
        return session


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options to a command. The command receives them as one argument, `connection`."""

    @functools.wraps(command)
    def with_connection(
        region: str | None,
        endpoint_url: str | None,
        profile: str | None,
        ca_bundle: str | None,
        no_verify: bool,
        **others: Any,
    ) -> Any:
        if ca_bundle and no_verify:
            raise click.UsageError("--ca-bundle and --no-verify contradict each other: give one of them")
        return command(connection=Connection(region, endpoint_url, profile, ca_bundle, no_verify), **others)

    for option in (
        click.option("--no-verify", is_flag=True, help="Accept any TLS certificate."),
        click.option(
            "--ca-bundle", metavar="FILE", type=click.Path(exists=True), help="Trust the certificates in FILE."
        ),
        click.option("--profile", metavar="NAME", help="Profile of the AWS configuration."),
        click.option(
            "--endpoint-url",
            metavar="URL",
            envvar=["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"],
            help="Use this endpoint instead of the region's, for example that of `kplpy local`.",
        ),
        click.option("--region", metavar="REGION", help="AWS region; without it, boto searches its usual places."),
    ):
        with_connection = option(with_connection)
    return with_connection


def make_client(config: Config) -> KinesisClient:
    """Return a client as the producer makes it. explain() describes its errors."""
    from kplpy.aws.client import make_client as make

    return make(config)


def stream_argument(stream: str) -> dict[str, Any]:
    """Return a stream's name or ARN as an argument of an API call."""
    return {"StreamARN": stream} if stream.startswith("arn:") else {"StreamName": stream}


def check_stream(config: Config, stream: str) -> None:
    """Make a small call, so that a wrong name, region, endpoint or key fails at once, with one line.

    It lists one shard of a stream, and describes a delivery stream.

    Raises click.ClickException. Other errors are ignored: credentials that may only put suffice, and a busy service
    is no reason to give up.
    """
    from botocore.exceptions import ClientError

    from kplpy.aws.client import make_firehose_client
    from kplpy.reading.source import error_code

    client: Any = None
    try:
        if is_delivery_stream(stream):
            client = make_firehose_client(replace(config, region_name=region_of(stream)))
            client.describe_delivery_stream(DeliveryStreamName=name_of(stream))
        else:
            client = make_client(config)
            client.list_shards(**stream_argument(stream), MaxResults=1)
    except ClientError as error:
        if error_code(error) in _FINAL:
            raise click.ClickException(explain(error, stream)) from error
    finally:
        if client is not None:
            client.close()


_FINAL = frozenset(
    "ResourceNotFoundException UnrecognizedClientException InvalidClientTokenId InvalidSignatureException "
    "ExpiredTokenException ExpiredToken IncompleteSignature MissingAuthenticationToken "
    "MissingAuthenticationTokenException ValidationException InvalidArgumentException".split()
)


def explain(error: Exception, stream: str | None = None) -> str:
    """Return one line about a botocore error, with advice where there is any."""
    from botocore import exceptions as boto

    from kplpy.reading.source import error_code

    if isinstance(error, boto.NoCredentialsError):
        return "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --profile"
    if isinstance(error, boto.NoRegionError):
        return "no AWS region: give --region, or set AWS_DEFAULT_REGION"
    if isinstance(error, boto.ProfileNotFound):
        return f"{_line(error)}; the AWS configuration lists the existing profiles"
    if isinstance(error, boto.SSLError):
        return f"{_line(error)}; --ca-bundle FILE trusts a certificate, --no-verify trusts every certificate"
    if isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError)):
        return f"{_line(error)}; check the address, and that the server runs"
    if isinstance(error, boto.ClientError):
        message = error.response.get("Error", {}).get("Message") or "the service gave no reason"
        hint = ""
        if error_code(error) == "ResourceNotFoundException":
            hint = f" (stream {stream!r}: check the name and the region)" if stream else ""
        return f"{shown(error_code(error))}: {shown(message)}{hint}"
    return _line(error)


def _line(error: Exception) -> str:
    return shown(" ".join(str(error).split())) or type(error).__name__
