"""Windows as log events in CloudWatch's embedded metric format, through aws-embedded-metrics.

That takes scalars, not StatisticSets: each metric's sum goes under its own name, and its maximum under the name with
`Max` behind it. To standard output, which Lambda puts into the function's log, or to the CloudWatch agent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from kplpy.metrics.catalogue import METRICS
from kplpy.metrics.sample import Dimensions, Sample, Window

_LOGGERS = [f"aws_embedded_metrics.sinks.{name}" for name in ("tcp_client", "udp_client", "agent_sink")]


def names_of(metric: str) -> tuple[str, ...]:
    """What a metric is called in log events: its sum; and its maximum, unless that can only be 0 or 1."""
    return (metric,) if METRICS[metric].flag else (metric, f"{metric}Max")


class EmfSink:
    """`agent`: send to the CloudWatch agent at AWS_EMF_AGENT_ENDPOINT (tcp://127.0.0.1:25888, say); None: if that
    is set, or AWS_EMF_ENVIRONMENT says so, outside Lambda.

    Which of them it is, is never probed for, as aws-embedded-metrics would, for two seconds.
    """

    def __init__(self, namespace: str, agent: bool | None = None) -> None:
        from aws_embedded_metrics.environment.default_environment import DefaultEnvironment
        from aws_embedded_metrics.environment.lambda_environment import LambdaEnvironment
        from aws_embedded_metrics.environment.local_environment import LocalEnvironment
        from aws_embedded_metrics.logger.metrics_logger import MetricsLogger

        self._logger: Any = MetricsLogger
        self._namespace = namespace
        if agent is None:
            named = os.environ.get("AWS_EMF_ENVIRONMENT", "").lower()
            agent = not on_lambda() and (
                named in ("default", "ec2") or (named != "local" and "AWS_EMF_AGENT_ENDPOINT" in os.environ)
            )
        local = LambdaEnvironment if on_lambda() else LocalEnvironment
        self._environment: Any = DefaultEnvironment() if agent else local()

    def emit(self, window: Window) -> None:
        """Raises ConnectionError when the agent did not take an event; the library itself would only log that."""
        groups: dict[Dimensions, list[Sample]] = {}
        for sample in window.samples:
            groups.setdefault(sample.dimensions, []).append(sample)
        at = datetime.fromtimestamp(window.ended_at, timezone.utc)
        with _drops() as dropped:
            for dimensions, samples in groups.items():
                self._log(at, dimensions, samples)
        if dropped:
            raise ConnectionError(f"{len(dropped)} of {len(groups)} EMF events were dropped: {dropped[-1]}")

    def _log(self, at: datetime, dimensions: Dimensions, samples: list[Sample]) -> None:
        logger = self._logger(self._resolve)
        logger.set_namespace(self._namespace)
        logger.set_dimensions({name: value for name, value in dimensions if value.strip()})
        logger.set_timestamp(at)
        for sample in samples:
            for name, value in zip(names_of(sample.name), (sample.total, sample.maximum), strict=False):
                logger.put_metric(name, value, sample.unit)
        asyncio.run(logger.flush())

    async def _resolve(self) -> Any:
        return self._environment


def on_lambda() -> bool:
    return bool(os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))


@contextmanager
def _drops() -> Iterator[list[str]]:
    """What this thread's events met with, as the library logs it, seven lines for each: we say it once."""
    seen: list[str] = []
    latest: list[str] = []
    thread = threading.get_ident()

    def withhold(record: logging.LogRecord) -> bool:
        if record.thread != thread or record.levelno < logging.WARNING:
            return True
        message = record.getMessage()
        if "dropping" in message or "udp" in record.name:
            seen.append(latest[-1] if latest else message)
        latest.append(message)
        return False

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for each in loggers:
        each.addFilter(withhold)
    try:
        yield seen
    finally:
        for each in loggers:
            each.removeFilter(withhold)
