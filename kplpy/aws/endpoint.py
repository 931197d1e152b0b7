"""Whether a client speaks to AWS's own endpoint of its region, or to one that somebody configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kplpy.aws.client import regional_endpoint_url
from kplpy.config.options import Config

if TYPE_CHECKING:
    from botocore.client import ClientMeta


def is_regional(config: Config, meta: ClientMeta) -> bool:
    """Return True if the client's endpoint is the one that botocore has for its region, with FIPS and dual stack.

    False for any other, whatever named it: an argument, the environment, a profile. So also for another region's, and
    for a VPC interface endpoint (https://vpce-….kinesis.eu-west-1.vpce.amazonaws.com).
    """
    url, region = meta.endpoint_url.rstrip("/"), meta.region_name
    if url == f"https://kinesis.{region}.amazonaws.com":  # so it is in most regions: spares them a second client
        return True
    return url.startswith("https://") and url == regional_endpoint_url(config, region)
