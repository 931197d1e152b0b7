"""What ADDEC2METADATA adds: the EC2 instance's identity and tags, read from its metadata service and kept."""

from __future__ import annotations

import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from kplpy.logs import log

ENDPOINT = "http://169.254.169.254"
TIMEOUT_S = 1.0  # of each request: the agent's only thread waits
TOKEN_TTL_S = 60

_log = logging.getLogger(__name__)

# name in the record → name in the instance identity document
_FIELDS = {
    "privateIp": "privateIp",
    "availabilityZone": "availabilityZone",
    "instanceId": "instanceId",
    "instanceType": "instanceType",
    "accountId": "accountId",
    "amiId": "imageId",
    "region": "region",
}


class InstanceMetadata:
    """The instance's metadata, read for the first record and again when it is older than ttl_s seconds.

    endpoint: of the metadata service, by default what AWS_EC2_METADATA_SERVICE_ENDPOINT says, or 169.254.169.254.
    read_tags: (region, instance id) → the instance's tags, by default with EC2's DescribeTags.
    """

    def __init__(
        self,
        ttl_s: float = 3600,
        endpoint: str | None = None,
        read_tags: Callable[[str, str], dict[str, str]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ttl_s = ttl_s
        self._endpoint = (endpoint or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ENDPOINT).rstrip("/")
        self._read_tags = read_tags or describe_tags
        self._clock = clock
        self._fields: dict[str, Any] = {}
        self._read_at = float("-inf")

    def fields(self) -> dict[str, Any]:
        """Return the fields to add, or an empty dict if the service could not be read."""
        now = self._clock()
        if now > self._read_at + self._ttl_s:
            self._read_at = now
            self._refresh(now)
        return self._fields

    def _refresh(self, now: float) -> None:
        """Read the fields. What could not be read keeps its earlier value, or stays out, until the next time."""
        if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            return
        try:
            document = self._document()
            fields: dict[str, Any] = {name: document.get(theirs) for name, theirs in _FIELDS.items()}
            fields["metadataTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now))
            if "tags" in self._fields:
                fields["tags"] = self._fields["tags"]
            self._fields = fields
            tags = self._read_tags(str(document.get("region")), str(document.get("instanceId")))
            fields["tags"] = {key.lower(): value for key, value in tags.items()}
        except Exception as error:  # of the network, JSON, boto3: records go on without
            log(_log, "ec2_metadata_not_read", {"reason": f"{type(error).__name__}: {error}"})

    def _document(self) -> dict[str, Any]:
        token = self._request("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)})
        headers = {"X-aws-ec2-metadata-token": token.decode("ascii")}
        document = json.loads(self._request("GET", "/latest/dynamic/instance-identity/document", headers))
        if not isinstance(document, dict):
            raise ValueError("the instance identity document is no JSON object")
        return document

    def _request(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        request = urllib.request.Request(self._endpoint + path, method=method, headers=headers)
        # Without the environment's proxies: the service is on the link.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                return bytes(answer.read(65_536))
        except urllib.error.HTTPError as error:
            error.close()  # it has the connection
            raise


def describe_tags(region: str, instance_id: str) -> dict[str, str]:
    """Return the tags of an instance. It needs the permission ec2:DescribeTags."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1})
    client = boto3.client("ec2", region_name=region, config=config)
    answer = client.describe_tags(Filters=[{"Name": "resource-id", "Values": [instance_id]}])
    return {tag["Key"]: tag["Value"] for tag in answer["Tags"]}
