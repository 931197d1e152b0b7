"""Writes windows as log events in CloudWatch's embedded metric format, with aws-embedded-metrics.

The format takes scalars, not StatisticSets. So a metric's sum goes under its name, and its maximum under the name with
`Max` appended. Events go to the CloudWatch agent, or to standard output, which Lambda writes to the function's log.
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
    """Return the names of a metric in log events: for its sum, and for its maximum unless that is 0 or 1.

    A metric that is not of a producer, but of the agent, has its sum only.
    """
    return (metric,) if metric not in METRICS or METRICS[metric].flag else (metric, f"{metric}Max")


class EmfSink:
    """Writes events to standard output, or sends them to the CloudWatch agent.

    It never probes the environment, which takes aws-embedded-metrics two seconds.

    namespace: namespace of the metrics.
    agent: send to the agent at AWS_EMF_AGENT_ENDPOINT, such as tcp://127.0.0.1:25888. None: do so outside Lambda if
        AWS_EMF_ENVIRONMENT is "default" or "ec2", or if AWS_EMF_AGENT_ENDPOINT is set and AWS_EMF_ENVIRONMENT is not
        "local".
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
        """Write the window's events. ConnectionError: the agent did not take one; the library itself only logs that."""
        groups: dict[Dimensions, list[Sample]] = {}
        for sample in window.samples:
            groups.setdefault(sample.dimensions, []).append(sample)
        at = datetime.fromtimestamp(window.ended_at, timezone.utc)
        with _collect_drops() as dropped:
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
    """Return True if this process is a Lambda function."""
    return bool(os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))


@contextmanager
def _collect_drops() -> Iterator[list[str]]:
    """Collect the reasons for dropped events of this thread, and keep the library from logging them.

    The library logs seven lines for each. kplpy logs one.
    """
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
