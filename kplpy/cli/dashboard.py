"""`kplpy dashboard`: prints ready-made dashboards as JSON."""

from __future__ import annotations

import json

import click

from kplpy.metrics import dashboards


@click.group()
def dashboard() -> None:
    """Print a ready-made dashboard of a producer's metrics, as JSON."""


@dashboard.command()
@click.argument("stream")
@click.option("--region", metavar="REGION", required=True, envvar=["AWS_REGION", "AWS_DEFAULT_REGION"])
@click.option(
    "--namespace", default="KinesisProducerLibrary", show_default=True, help="The producer's metrics_namespace."
)
def cloudwatch(stream: str, region: str, namespace: str) -> None:
    """Print a dashboard of one STREAM (its name), for `aws cloudwatch put-dashboard --dashboard-body`."""
    click.echo(json.dumps(dashboards.cloudwatch(stream, region, namespace), indent=2))


@dashboard.command()
def grafana() -> None:
    """Print a dashboard of all streams, to import in Grafana. It uses the Prometheus sink's metric names."""
    click.echo(json.dumps(dashboards.grafana(), indent=2))
