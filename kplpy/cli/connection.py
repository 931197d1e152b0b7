"""Which service to talk to: the options that put and tail share, and its errors in words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from kplpy.escaping import shown

if TYPE_CHECKING:
    import botocore.session
    from mypy_boto3_kinesis import KinesisClient

    from kplpy import Config


@dataclass(frozen=True)
class Connection:
    """The shared options, as they were given."""

    region: str | None
    endpoint_url: str | None
    profile: str | None
    ca_bundle: str | None
    no_verify: bool

    def fields(self) -> dict[str, Any]:
        """The Config fields that the options set."""
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
        """A session of our own where a profile asks for one, or a local endpoint, which takes any credentials."""
        local = self.endpoint_url is not None and _is_this_machine(self.endpoint_url)
        if self.profile is None and not local:
            return None
        from botocore.session import Session

        session = Session(profile=self.profile)
        if local:
            # Asking the metadata service of a machine that is not in EC2 takes seconds.
            session.get_component("credential_provider").remove("iam-role")
            if session.get_credentials() is None:
                session.set_credentials("local", "local")
        return session


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options to a command; it gets them as one argument, `connection`."""

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
        click.option("--ca-bundle", metavar="FILE", type=click.Path(exists=True), help="Trust these certificates."),
        click.option("--profile", metavar="NAME", help="Profile of the AWS configuration."),
        click.option(
            "--endpoint-url",
            metavar="URL",
            envvar=["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"],
            help="Another Kinesis than the region's, for example that of `kplpy local`.",
        ),
        click.option("--region", metavar="REGION", help="AWS region; without it, boto's own search."),
    ):
        with_connection = option(with_connection)
    return with_connection


def make_client(config: Config) -> KinesisClient:
    """The same client as the producer's, whose errors explain() knows."""
    from kplpy.aws.client import make_client as make

    return make(config)


def place(stream: str) -> dict[str, Any]:
    """A stream, given by name or ARN, as an argument of an API call."""
    return {"StreamARN": stream} if stream.startswith("arn:") else {"StreamName": stream}


def check_stream(config: Config, stream: str) -> None:
    """Ask for the stream once, so that a wrong name, region, endpoint or key is said at once and in one line."""
    from botocore.exceptions import ClientError

    client = make_client(config)
    try:
        client.list_shards(**place(stream), MaxResults=1)
    except ClientError as error:
        # Who may only put may do so; and a busy service is no reason to give up.
        if _code(error) in _FINAL:
            raise click.ClickException(explain(error, stream)) from error
    finally:
        client.close()


_FINAL = frozenset(
    "ResourceNotFoundException UnrecognizedClientException InvalidClientTokenId InvalidSignatureException "
    "ExpiredTokenException ExpiredToken IncompleteSignature MissingAuthenticationToken "
    "MissingAuthenticationTokenException ValidationException InvalidArgumentException".split()
)


def explain(error: Exception, stream: str | None = None) -> str:
    """One line about an error of botocore's, with what to do where that is known."""
    from botocore import exceptions as boto

    if isinstance(error, boto.NoCredentialsError):
        return "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --profile"
    if isinstance(error, boto.NoRegionError):
        return "no AWS region: give --region, or set AWS_DEFAULT_REGION"
    if isinstance(error, boto.ProfileNotFound):
        return f"{_line(error)}; the AWS configuration names the profiles there are"
    if isinstance(error, boto.SSLError):
        return f"{_line(error)}; --ca-bundle FILE trusts a certificate, --no-verify trusts them all"
    if isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError)):
        return f"{_line(error)}; is the address right, and does it run?"
    if isinstance(error, boto.ClientError):
        message = error.response.get("Error", {}).get("Message") or "the service gave no reason"
        hint = ""
        if _code(error) == "ResourceNotFoundException":
            hint = f" (stream {stream!r}: is the name right, and the region?)" if stream else ""
        return f"{shown(_code(error))}: {shown(message)}{hint}"
    return _line(error)


def _line(error: Exception) -> str:
    return shown(" ".join(str(error).split())) or type(error).__name__


def _code(error: Exception) -> str:
    response: Any = getattr(error, "response", None)  # None for a broken connection
    return str((response or {}).get("Error", {}).get("Code", ""))


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
