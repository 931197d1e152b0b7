"""Calls PutMetricData through a botocore client of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from kplpy.aws.client import make_cloudwatch_client
from kplpy.aws.errors import classify, may_pass
from kplpy.config.options import Config
from kplpy.core.results.retry_policy import needs_fresh_credentials

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

ATTEMPTS = 5
LONGEST_WAIT = 10.0  # seconds between two attempts


class CloudWatch:
    """CloudWatch for the sink. Calls run on the sink's thread and may block for all attempts."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client: CloudWatchClient | None = None

    def put_metric_data(self, data: list[dict[str, Any]]) -> None:
        """Make one call, with up to ATTEMPTS attempts. A failure that does not pass with time is raised at once."""
        for attempt in Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT),
            retry=retry_if_exception(_worth_another_try),
            reraise=True,
        ):
            with attempt:
                self._put(data)

    def _put(self, data: list[Any]) -> None:
        if self._client is None:
            self._client = make_cloudwatch_client(self._config)
        try:
            self._client.put_metric_data(Namespace=self._config.metrics_namespace, MetricData=data)
        except Exception as error:
            if needs_fresh_credentials(classify(error).code):
                self._client = None
            raise


def _worth_another_try(error: BaseException) -> bool:
    if isinstance(error, Exception) and needs_fresh_credentials(classify(error).code):
        return True  # with a new client
    return may_pass(error) or isinstance(error, (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError))
