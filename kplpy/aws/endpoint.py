"""Tests whether a client uses AWS's own endpoint of its region, not a configured one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kplpy.aws.client import regional_endpoint_url
from kplpy.config.options import Config

if TYPE_CHECKING:
    from botocore.client import ClientMeta


def is_regional(config: Config, meta: ClientMeta, service: str = "kinesis") -> bool:
    """Return True if the client's endpoint is botocore's own for its region; FIPS and dual stack count as own.

    False for any other endpoint from an argument, the environment or a profile. That includes another region's
    endpoint and a VPC interface endpoint (https://vpce-….kinesis.eu-west-1.vpce.amazonaws.com).
    """
    url, region = meta.endpoint_url.rstrip("/"), meta.region_name
    if url == f"https://{service}.{region}.amazonaws.com":  # true in most regions, and saves a second client
        return True
    return url.startswith("https://") and url == regional_endpoint_url(config, region, service)
