"""`kplpy local`: serves a Kinesis and a Firehose on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kplpy.local import LocalKinesisProcess
    from kplpy.local.server.inprocess import StreamAtStart


@click.command()
@click.option(
    "--shards", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Shards of a stream without =SHARDS."
)
@click.option(
    "--stream",
    "names",
    metavar="NAME[=SHARDS]",
    multiple=True,
    help="Create this stream; repeatable.  [default: test, or the streams in --data-dir]",
)
@click.option(
    "--delivery-stream",
    "delivery_names",
    metavar="NAME",
    multiple=True,
    help="Create this delivery stream of Firehose; repeatable.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=4567,
    show_default=True,
    help="Listen on this port; 0 picks a free one.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Listen on this address; 0.0.0.0 accepts other machines."
)
@click.option("--https", is_flag=True, help="Serve TLS, with a certificate made at the start.")
@click.option("--region", default="us-east-1", show_default=True, help="Region in the ARNs.")
@click.option("--no-limits", is_flag=True, help="Apply no limits per second to shards and calls.")
@click.option("--no-store", is_flag=True, help="Count records without storing them, for measurements.")
@click.option(
    "--retention-mb",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="MiB of records to keep; beyond that the oldest are removed.",
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False), help="Keep streams and records in this directory over restarts."
)
@click.option(
    "--channels-dir",
    type=click.Path(file_okay=False),
    help="This directory stands for S3: channels write their objects to it. Without it, channels are FAILED.",
)
@click.option(
    "--channel-seconds",
    type=click.FloatRange(min=0),
    help="Channels deliver after so many seconds.  [default: each its DataFreshnessInSeconds]",
)
def local(
    shards: int,
    names: tuple[str, ...],
    delivery_names: tuple[str, ...],
    port: int,
    host: str,
    https: bool,
    region: str,
    no_limits: bool,
    no_store: bool,
    retention_mb: int,
    data_dir: str | None,
    channels_dir: str | None,
    channel_seconds: float | None,
) -> None:
    """Serve a Kinesis, a Firehose and a CloudWatch on this machine, with the services' limits, until Ctrl-C.

    Any credentials are accepted. Every client can use it: kplpy with --endpoint-url or endpoint_url=, the AWS SDKs and
    the aws command with AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL_FIREHOSE and AWS_ENDPOINT_URL_CLOUDWATCH.
    """
    serve = local_part("serve")

    def ready(url: str, ca_bundle: str | None, streams: list[StreamAtStart]) -> None:
        described = ", ".join(map(_describe, streams)) or "no streams"
        click.echo(f"Kinesis at {url} with {described}; Ctrl-C ends it")
        if ca_bundle is not None:
            click.echo(f"its certificate is signed by {ca_bundle} (for --ca-bundle or AWS_CA_BUNDLE)")

    try:
        serve(
            streams=dict(_stream(each, shards) for each in names) if names else None,
            delivery_streams=delivery_names,
            shards=shards,
            port=port,
            host=host,
            https=https,
            limits=not no_limits,
            region_name=region,
            store=not no_store,
            retention_bytes=retention_mb << 20,
            data_dir=data_dir,
            channels_dir=channels_dir,
            channel_seconds=channel_seconds,
            ready=ready,
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        what = f"use {error.filename}" if error.filename else f"serve on {host}, port {port}"
        raise click.ClickException(f"cannot {what}: {error.strerror or error}") from error


def _describe(stream: StreamAtStart) -> str:
    """Return a stream as text: orders (2 shards), or logs (delivery stream, 1,000 records restored)."""
    shards = f"{stream.shards} shard{'' if stream.shards == 1 else 's'}"
    parts = ["delivery stream" if stream.is_delivery else shards]
    if stream.restored:
        parts.append(f"{stream.records:,} record{'' if stream.records == 1 else 's'} restored")
        if stream.wanted not in (None, stream.shards):
            parts.append(f"not {stream.wanted} as requested: the stream existed already")
    return f"{stream.name} ({', '.join(parts)})"


def _stream(text: str, shards: int) -> tuple[str, int]:
    name, equals, count = text.partition("=")
    if not equals:
        return name, shards
    try:
        return name, int(count)
    except ValueError:
        raise click.BadParameter(f"must be NAME or NAME=SHARDS, got {text!r}", param_hint="--stream") from None


def local_part(name: str) -> Callable[..., Any]:
    """Return a part of kplpy.local. Raises click.ClickException if the extra is not installed."""
    import kplpy.local

    try:
        part: Callable[..., Any] = getattr(kplpy.local, name)
    except ImportError as error:
        raise click.ClickException(f"this needs the extra: pip install 'kplpy[cli,local]' ({error})") from error
    return part


def local_process(**options: Any) -> LocalKinesisProcess:
    """Return a local Kinesis in a process of its own, not started yet."""
    process: LocalKinesisProcess = local_part("LocalKinesisProcess")(**options)
    return process
