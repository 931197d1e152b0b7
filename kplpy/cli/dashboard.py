"""`kplpy dashboard`: a ready dashboard, as JSON."""

from __future__ import annotations

import json

import click

from kplpy.metrics import dashboards


@click.group()
def dashboard() -> None:
    """Print a ready dashboard of a producer's metrics, as JSON."""


@dashboard.command()
@click.argument("stream")
@click.option("--region", metavar="REGION", required=True, envvar=["AWS_REGION", "AWS_DEFAULT_REGION"])
@click.option(
    "--namespace", default="KinesisProducerLibrary", show_default=True, help="The producer's metrics_namespace."
)
def cloudwatch(stream: str, region: str, namespace: str) -> None:
    """Of one STREAM (its name), for `aws cloudwatch put-dashboard --dashboard-body`."""
    click.echo(json.dumps(dashboards.cloudwatch(stream, region, namespace), indent=2))


@dashboard.command()
def grafana() -> None:
    """Of all streams, by the names of the Prometheus sink; import it in Grafana."""
    click.echo(json.dumps(dashboards.grafana(), indent=2))
