"""`kplpy local`: a Kinesis on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kplpy.local import LocalKinesisProcess
    from kplpy.local.server.inprocess import StreamAtStart


@click.command()
@click.option(
    "--shards", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Of each stream that does not say."
)
@click.option(
    "--stream",
    "names",
    metavar="NAME[=SHARDS]",
    multiple=True,
    help="A stream to begin with; repeatable.  [default: test, or those in --data-dir]",
)
@click.option("--port", type=click.IntRange(0, 65535), default=4567, show_default=True, help="0 takes any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option("--https", is_flag=True, help="Serve TLS, with a certificate made on the fly.")
@click.option("--region", default="us-east-1", show_default=True, help="The region in its ARNs.")
@click.option("--no-limits", is_flag=True, help="Drop the limits per second of shards and calls.")
@click.option("--no-store", is_flag=True, help="Count records and forget them: a sink for measurements.")
@click.option(
    "--retention-mb", type=click.IntRange(min=1), default=1024, show_default=True, help="Held before the oldest go."
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False), help="Keep everything in this directory, through restarts."
)
def local(
    shards: int,
    names: tuple[str, ...],
    port: int,
    host: str,
    https: bool,
    region: str,
    no_limits: bool,
    no_store: bool,
    retention_mb: int,
    data_dir: str | None,
) -> None:
    """Serve a Kinesis on this machine, with the service's limits, until Ctrl-C.

    Any credentials do. Every Kinesis client can use it: kplpy with --endpoint-url or endpoint_url=, the AWS SDKs and
    the aws command with AWS_ENDPOINT_URL_KINESIS.
    """
    serve = local_part("serve")

    def ready(url: str, ca_bundle: str | None, streams: list[StreamAtStart]) -> None:
        described = ", ".join(map(_described, streams)) or "no streams"
        click.echo(f"Kinesis at {url} with {described}; Ctrl-C ends it")
        if ca_bundle is not None:
            click.echo(f"its certificate is signed by {ca_bundle} (for --ca-bundle or AWS_CA_BUNDLE)")

    try:
        serve(
            streams=dict(_stream(each, shards) for each in names) if names else None,
            shards=shards,
            port=port,
            host=host,
            https=https,
            limits=not no_limits,
            region_name=region,
            store=not no_store,
            retention_bytes=retention_mb << 20,
            data_dir=data_dir,
            ready=ready,
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        what = f"use {error.filename}" if error.filename else f"serve on {host}, port {port}"
        raise click.ClickException(f"cannot {what}: {error.strerror or error}") from error


def _described(stream: StreamAtStart) -> str:
    """In the words of the first line: orders (2 shards), or orders (2 shards, 1,000 records restored)."""
    parts = [f"{stream.shards} shard{'' if stream.shards == 1 else 's'}"]
    if stream.restored:
        parts.append(f"{stream.records:,} record{'' if stream.records == 1 else 's'} restored")
        if stream.wanted not in (None, stream.shards):
            parts.append(f"not {stream.wanted} as asked for: it was there already")
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
    """A server of kplpy.local; one line when its extra is not installed."""
    import kplpy.local

    try:
        part: Callable[..., Any] = getattr(kplpy.local, name)
    except ImportError as error:
        raise click.ClickException(f"this needs the extra: pip install 'kplpy[cli,local]' ({error})") from error
    return part


def local_process(**options: Any) -> LocalKinesisProcess:
    """A local Kinesis in a process of its own, not started yet."""
    process: LocalKinesisProcess = local_part("LocalKinesisProcess")(**options)
    return process
