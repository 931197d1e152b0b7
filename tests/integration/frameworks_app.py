"""What the servers of test_frameworks.py load: a producer made, and put to, at import, before the fork."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from kplpy import Producer

producer = Producer(endpoint_url=os.environ["KINESIS_URL"], region_name="us-east-1")
if "uwsgi" not in sys.modules:  # see docs/frameworks.md
    producer.put_record("test", b"at import", "k")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI."""
    producer.put_record("test", b"%d" % os.getpid(), "k")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]


def fast_api() -> Any:
    api = import_module("fastapi").FastAPI()

    async def put() -> int:
        await producer.put_record("test", b"%d" % os.getpid(), "k")
        return os.getpid()

    api.get("/")(put)
    return api
