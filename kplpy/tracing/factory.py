"""Makes the tracing that a Config asks for. OpenTelemetry is imported only then."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from kplpy.config.options import Config
from kplpy.errors import ConfigError

if TYPE_CHECKING:
    from kplpy.tracing.opentelemetry import OpenTelemetryTracing


def make_tracing(config: Config) -> OpenTelemetryTracing | None:
    """Return what Config.tracing asks for. Raises ConfigError if its package is missing."""
    if config.tracing is None:
        return None
    if find_spec("opentelemetry") is None:
        raise ConfigError(f"tracing={config.tracing!r} needs opentelemetry: pip install 'kplpy[opentelemetry]'")
    from kplpy.tracing.opentelemetry import OpenTelemetryTracing

    return OpenTelemetryTracing(config.endpoint_url)
