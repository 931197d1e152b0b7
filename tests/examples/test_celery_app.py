"""The Celery example, in a real worker. Needs the dependency group `examples`."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from kplpy.local import LocalKinesis
from tests.examples.helpers import imported, objects, started
from tests.local_stream import PATIENCE

pytestmark = [pytest.mark.examples, pytest.mark.kinesis(stream="orders", limits=False)]

WORKER = """
from pathlib import Path
from examples.celery_app import app
from tests.integration.celery_queues import in_folder
in_folder(app, Path(__file__).parent)
"""


def test_celery_tasks_deliver(kinesis: LocalKinesis, tmp_path: Path) -> None:
    """A real worker with two processes, ended by a warm shutdown."""
    pytest.importorskip("celery")
    from tests.integration.celery_queues import in_folder

    (tmp_path / "worker.py").write_text(WORKER)
    command: list[str | Path] = ["-m", "celery", "--workdir", tmp_path, "--app", "worker"]
    command += ["--quiet", "worker", "--pool", "prefork", "--concurrency", "2"]
    with imported("celery_app", kinesis) as example:
        in_folder(example.app, tmp_path)
        with started(command, kinesis) as program:
            for number in range(20):
                example.put_click.delay({"customer": "c", "click": number})
            orders = [example.put_order.delay({"customer": "c", "order": number}) for number in range(10)]
            numbers = [each.get(timeout=PATIENCE, interval=0.02) for each in orders]
            at_once = {each["order"]: True for each in objects(kinesis) if "order" in each}
            assert sorted(at_once) == list(range(10))
            assert set(numbers) <= {entry.sequence_number for entry in kinesis.ledger("orders")}
            program.send_signal(signal.SIGTERM)
            _, errors = program.communicate(timeout=PATIENCE)
    clicks = Counter(each["click"] for each in objects(kinesis) if "click" in each)
    assert clicks == Counter(range(20)), errors
