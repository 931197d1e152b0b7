"""Makes the sink that a Config asks for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from kplpy.config.options import Config
from kplpy.errors import ConfigError
from kplpy.metrics.sample import Sink, Window
from kplpy.metrics.sinks.cloudwatch import Datum, PutMetricDataSink
from kplpy.metrics.sinks.dimensions import WithDimensions
from kplpy.metrics.sinks.emf import EmfSink, on_lambda

PutMetricData = Callable[[list[Datum]], object]


def sink_maker(
    config: Config, cloudwatch: Callable[[], PutMetricData], is_regional: Callable[[], bool]
) -> Callable[[], Sink] | None:
    """Return a function that makes the sink, to be called for the first window. None: no metric leaves the process.

    If neither metrics_sink nor cloudwatch_endpoint_url names a sink, it is EMF on Lambda and PutMetricData elsewhere.
    That holds only if Kinesis and Firehose, as far as they are used, are at the region's own endpoints: metrics of a
    stand-in do not go to AWS.

    cloudwatch: makes the function that calls PutMetricData.
    is_regional: returns True if the clients use AWS's own endpoints of their regions.
    ConfigError: the sink's package is missing.
    """
    chosen: Any = config.metrics_sink
    if config.metrics_level == "none":
        return None
    if chosen is None and config.cloudwatch_endpoint_url is not None:
        chosen = "cloudwatch"
    if chosen is None:
        if config.endpoint_url is not None or config.firehose_endpoint_url is not None:
            return None
        named = _named("emf" if on_lambda() else "cloudwatch", config, cloudwatch)
        return lambda: named() if is_regional() else _Nowhere()
    if not isinstance(chosen, str):
        sink: Sink = chosen
        return lambda: sink
    return _named(chosen, config, cloudwatch)


class _Nowhere:
    """A sink that drops windows: the environment or a profile set Kinesis' endpoint, and no sink was named."""

    def emit(self, window: Window) -> None:
        pass


def _named(chosen: str, config: Config, cloudwatch: Callable[[], PutMetricData]) -> Callable[[], Sink]:
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


# Sink → the package that it needs, its module and its class. Imported on first use: the package may be missing.
_EXTRAS = {
    "prometheus": ("prometheus_client", "kplpy.metrics.sinks.prometheus", "PrometheusSink"),
    "opentelemetry": ("opentelemetry", "kplpy.metrics.sinks.opentelemetry", "OpenTelemetrySink"),
}
