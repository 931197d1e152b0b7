"""What test_frameworks.py has the frameworks load: a producer made, and put to, at import, before the fork.

Each answer tells which process gave it, which record it put, and what became there of the futures made at import.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from kplpy import Producer, RecordFuture
from tests.integration.celery_queues import queues

AT_IMPORT = 20
Told = dict[str, Any]

producer = Producer(
    endpoint_url=os.environ["KINESIS_URL"],
    region_name="us-east-1",
    record_max_buffered_time_ms=int(os.environ.get("LINGER_MS", "60000")),
)
numbers = count()
inherited: list[RecordFuture] = []


def buffer() -> None:
    """In the parent: these wait in its memory when it forks."""
    for number in range(AT_IMPORT):
        inherited.append(producer.put_record("test", b"%d at import, %d" % (os.getpid(), number), f"key {number}"))


if os.environ["BUFFER_AT_IMPORT"]:
    buffer()


def put() -> RecordFuture:
    """Delivered in a minute, or at this process's end."""
    name = f"{os.getpid()}: {next(numbers)}"
    future = producer.put_record("test", name.encode(), name)
    future.add_done_callback(lambda _: None)
    return future


def told(future: RecordFuture) -> Told:
    became = {type(each.exception(timeout=0)).__name__ for each in inherited}
    return {"pid": os.getpid(), "record": future.partition_key, "inherited": " ".join(sorted(became))}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told(put())).encode()]


def fast_api() -> Any:
    """Waits for its own record, which the lifespan's end would be too late for."""
    api = import_module("fastapi").FastAPI()

    async def request() -> Told:
        future = put()
        await producer.aflush(timeout=60)
        await future
        return told(future)

    api.get("/")(request)
    return api


if "CELERY_FOLDER" in os.environ:
    celery_app = queues(Path(os.environ["CELERY_FOLDER"]))

    @celery_app.task(name="put")  # type: ignore[untyped-decorator]
    def celery_put() -> Told:
        return told(put())


if __name__ == "__main__":  # uvicorn spawns its workers, which import this again under its name
    buffer()
    import_module("uvicorn").run(
        "tests.integration.frameworks_app:fast_api", factory=True, workers=2, port=int(os.environ["PORT"])
    )
