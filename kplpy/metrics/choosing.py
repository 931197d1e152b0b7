"""Which sink a Config asks for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from kplpy.config import Config
from kplpy.errors import ConfigError
from kplpy.metrics.dimensions import WithDimensions
from kplpy.metrics.emf import EmfSink, on_lambda
from kplpy.metrics.put_metric_data import Datum, PutMetricDataSink
from kplpy.metrics.sample import Sink

PutMetricData = Callable[[list[Datum]], object]


def sink_maker(config: Config, cloudwatch: Callable[[], PutMetricData]) -> Callable[[], Sink] | None:
    """What makes the sink when it is first needed; None: nothing is told to anybody.

    `cloudwatch` makes what calls PutMetricData. Without a name it is EMF on Lambda and PutMetricData elsewhere; but
    nothing where Kinesis is somewhere else than at AWS and CloudWatch is not said to be.
    """
    chosen: Any = config.metrics_sink
    if config.metrics_level == "none":
        return None
    if chosen is None:
        if config.endpoint_url is not None and config.cloudwatch_endpoint_url is None:
            return None
        chosen = "emf" if on_lambda() and config.cloudwatch_endpoint_url is None else "cloudwatch"
    if not isinstance(chosen, str):
        sink: Sink = chosen
        return lambda: sink
    added = config.additional_metrics_dimensions
    if chosen == "cloudwatch":
        return lambda: _with(added, PutMetricDataSink(cloudwatch()))
    if chosen == "emf":
        return lambda: _with(added, EmfSink(config.metrics_namespace))
    needs, module, name = _EXTRAS[chosen]
    if find_spec(needs) is None:
        raise ConfigError(f"metrics_sink={chosen!r} needs {needs}: pip install 'kplpy[{chosen}]'")
    return lambda: getattr(import_module(module), name)()


def _with(added: tuple[tuple[str, str, str], ...], sink: Sink) -> Sink:
    return WithDimensions(sink, added) if added else sink


# Each needs a package that may not be there, and is imported on first use.
_EXTRAS = {
    "prometheus": ("prometheus_client", "kplpy.metrics.prometheus", "PrometheusSink"),
    "opentelemetry": ("opentelemetry", "kplpy.metrics.opentelemetry", "OpenTelemetrySink"),
}
