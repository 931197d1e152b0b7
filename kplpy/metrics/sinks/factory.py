"""Which sink a Config asks for."""

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
    """Return what makes the sink when the first window is there; None: no metric leaves the process.

    cloudwatch: makes what calls PutMetricData.
    is_regional: whether the Kinesis client speaks to AWS's own endpoint of its region.

    Where neither metrics_sink nor cloudwatch_endpoint_url names a sink, it is EMF on Lambda and PutMetricData
    elsewhere, but only while Kinesis is at the region's own endpoint: what is put to a stand-in is not told to AWS.
    """
    chosen: Any = config.metrics_sink
    if config.metrics_level == "none":
        return None
    if chosen is None and config.cloudwatch_endpoint_url is not None:
        chosen = "cloudwatch"
    if chosen is None:
        if config.endpoint_url is not None:
            return None
        named = _named("emf" if on_lambda() else "cloudwatch", config, cloudwatch)
        return lambda: named() if is_regional() else _Nowhere()
    if not isinstance(chosen, str):
        sink: Sink = chosen
        return lambda: sink
    return _named(chosen, config, cloudwatch)


class _Nowhere:
    """The sink where Kinesis' endpoint was configured, by the environment or a profile, and no sink was named."""

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


# Each needs a package that may not be there, and is imported on first use.
_EXTRAS = {
    "prometheus": ("prometheus_client", "kplpy.metrics.sinks.prometheus", "PrometheusSink"),
    "opentelemetry": ("opentelemetry", "kplpy.metrics.sinks.opentelemetry", "OpenTelemetrySink"),
}
