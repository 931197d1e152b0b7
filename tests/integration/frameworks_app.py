"""The application that test_frameworks.py runs: it makes a producer and puts records at import, before the fork.

Each response names its process, the record that it put, and the outcomes of the futures from import.
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
Report = dict[str, Any]

producer = Producer(
    endpoint_url=os.environ["KINESIS_URL"],
    region_name="us-east-1",
    record_max_buffered_time_ms=int(os.environ.get("LINGER_MS", "60000")),
)
numbers = count()
inherited: list[RecordFuture] = []


def buffer() -> None:
    """Put records in the parent, which are pending when it forks."""
    for number in range(AT_IMPORT):
        inherited.append(producer.put_record("test", b"%d at import, %d" % (os.getpid(), number), f"key {number}"))


if os.environ["BUFFER_AT_IMPORT"]:
    buffer()


def put() -> RecordFuture:
    """Put a record that is delivered within a minute, or at the end of this process."""
    name = f"{os.getpid()}: {next(numbers)}"
    future = producer.put_record("test", name.encode(), name)
    future.add_done_callback(lambda _: None)
    return future


def report_of(future: RecordFuture) -> Report:
    outcomes = {type(each.exception(timeout=0)).__name__ for each in inherited}
    return {"pid": os.getpid(), "record": future.partition_key, "inherited": " ".join(sorted(outcomes))}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(report_of(put())).encode()]


def fast_api() -> Any:
    """The ASGI application. Waits for its own record: the end of the lifespan would be too late."""
    api = import_module("fastapi").FastAPI()

    async def request() -> Report:
        future = put()
        await producer.aflush(timeout=60)
        await future
        return report_of(future)

    api.get("/")(request)
    return api


if "CELERY_FOLDER" in os.environ:
    celery_app = queues(Path(os.environ["CELERY_FOLDER"]))

    @celery_app.task(name="put")  # type: ignore[untyped-decorator]
    def celery_put() -> Report:
        return report_of(put())


if __name__ == "__main__":  # uvicorn spawns its workers, which import this module again under its name
    buffer()
    import_module("uvicorn").run(
        "tests.integration.frameworks_app:fast_api", factory=True, workers=2, port=int(os.environ["PORT"])
    )
