"""Real servers and frameworks: a parent buffers records before it makes its workers, at least two.

Needs the dependency group `frameworks` (requirements/frameworks.lock).
"""

from __future__ import annotations

import json
import shlex
import socket
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kplpy.local import LocalKinesis
from tests.integration.celery_queues import queues
from tests.integration.frameworks import APP, DELIVERED, FORKED, PATIENCE, ROOT, Report, check, collect, needed, running
from tests.integration.reading import read_all, wait_until

pytestmark = [pytest.mark.frameworks, pytest.mark.skipif(sys.platform == "win32", reason="these fork")]

GUNICORN = "gunicorn --preload --workers 2 --bind 127.0.0.1:PORT"
UWSGI = f"pyuwsgi --http-socket 127.0.0.1:PORT --master --processes 2 --need-app --die-on-term --disable-logging \
--reload-mercy 20 --worker-reload-mercy 20 --stats TMP/stats --virtualenv {sys.prefix} \
--pythonpath {ROOT} --module {APP}"
CELERY = f"celery --app {APP}:celery_app --quiet worker --pool prefork --concurrency 2"


@dataclass
class Server:
    module: str
    command: str
    inherited: str = FORKED
    workers: int = 2
    at_import: int = 20
    settings: dict[str, str] = field(default_factory=dict)


SERVERS = {
    "gunicorn sync": Server("gunicorn", f"{GUNICORN} {APP}:application"),
    "gunicorn gthread": Server("gunicorn", f"{GUNICORN} --worker-class gthread --threads 4 {APP}:application"),
    "gunicorn, workers that are replaced": Server(
        "gunicorn", f"{GUNICORN} --max-requests 8 {APP}:application", workers=5
    ),
    "gunicorn with uvicorn's workers": Server(
        "uvicorn_worker", f"{GUNICORN} --worker-class uvicorn_worker.UvicornWorker {APP}:fast_api()"
    ),
    # Spawned workers do not have the parent's futures.
    "uvicorn": Server("fastapi", f"python -m {APP}", "", settings={"BUFFER_AT_IMPORT": ""}),
    # uWSGI's first process forks without Python's hooks, so it has delivered before.
    "uwsgi": Server("pyuwsgi", UWSGI, DELIVERED),
    "uwsgi, workers that are replaced": Server(
        "pyuwsgi", f"{UWSGI} --max-requests 8 --min-worker-lifetime 1", DELIVERED, workers=4
    ),
    "uwsgi without threads": Server("pyuwsgi", f"{UWSGI} --ini TMP/no-threads.ini", DELIVERED),
    "uwsgi with hooks": Server("pyuwsgi", f"{UWSGI} --py-call-uwsgi-fork-hooks", settings={"LINGER_MS": "5000"}),
    # Each worker imports the application. The first process does not.
    "uwsgi, lazy": Server("pyuwsgi", f"{UWSGI} --lazy-apps", "", at_import=0, settings={"BUFFER_AT_IMPORT": ""}),
}


# Workers are replaced while their parent's threads run. On demand, because it takes long on a busy machine.
ON_DEMAND = {"gunicorn, workers that are replaced", "uwsgi, workers that are replaced", "uwsgi, lazy"}


def uwsgi_is_idle(stats: Path) -> bool:
    """Return True if no worker is within a request. uWSGI runs no exit functions of a worker that it ends there."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(stats))
        answer = json.loads(b"".join(iter(lambda: client.recv(65536), b"")))
    return {worker["status"] for worker in answer["workers"]} <= {"idle", "cheap"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ON_DEMAND else []) for name in SERVERS]
)
def test_servers(name: str, tmp_path: Path) -> None:
    server = SERVERS[name]
    needed(server.module)
    (tmp_path / "no-threads.ini").write_text("[uwsgi]\nenable-threads = false\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def ask() -> list[Report]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
            return [json.loads(answer.read())]

    command = shlex.split(server.command.replace("PORT", port).replace("TMP", str(tmp_path)))
    with LocalKinesis(limits=False) as kinesis:
        with running(command, kinesis, **server.settings, PORT=port) as run:
            answers = collect(ask, server.workers)
            if server.module == "pyuwsgi":
                wait_until(lambda: uwsgi_is_idle(tmp_path / "stats"), PATIENCE)
            if name == "uwsgi with hooks":  # uWSGI's first process runs no exit functions
                wait_until(lambda: any(b"at import" in record.data for record in read_all(kinesis)), PATIENCE)
        check(kinesis, answers, run, server.workers, server.inherited, server.at_import)


def celery_tasks(folder: Path) -> Callable[[], list[Report]]:
    client = queues(folder)

    def ask() -> list[Report]:
        results = [client.send_task("put") for _ in range(20)]
        return [each.get(timeout=PATIENCE, interval=0.02) for each in results]

    return ask


def test_celery(tmp_path: Path) -> None:
    needed("celery")
    with LocalKinesis(limits=False) as kinesis:
        with running(shlex.split(CELERY), kinesis, CELERY_FOLDER=str(tmp_path)) as run:
            answers = collect(celery_tasks(tmp_path), 2)
        check(kinesis, answers, run)


def test_celery_with_workers_that_are_replaced(tmp_path: Path) -> None:
    """Each worker delivers at its end what it buffered.

    Replacements are forked by a thread, and Celery has Linux kill them when that thread ends, in a shutdown. The
    records that they hold then are not checked.
    """
    needed("celery")
    command = shlex.split(f"{CELERY} --max-tasks-per-child 8")
    with LocalKinesis(limits=False) as kinesis:
        with running(command, kinesis, CELERY_FOLDER=str(tmp_path)) as run:
            answers = collect(celery_tasks(tmp_path), 6)
            tasks = Counter(each["pid"] for each in answers)
            done = [each for each in answers if tasks[each["pid"]] == 8]
            wanted = {each["record"] for each in done}
            assert len(wanted) >= 4 * 8
            wait_until(lambda: wanted <= {record.data.decode() for record in read_all(kinesis)}, PATIENCE)
        check(kinesis, done, run, 4)


BILLIARD = """
import billiard, json, sys
from tests.integration import frameworks_app as app
def task(_): return app.report_of(app.put())
if __name__ == "__main__":
    context = billiard.get_context(sys.argv[1])
    pool = context.Pool(2, maxtasksperchild=8)
    print(json.dumps(pool.map(task, range(60), chunksize=1)))
    pool.close()
    pool.join()
    child = context.Process(target=task, args=(0,))
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


def test_billiard(tmp_path: Path) -> None:
    needed("billiard")
    (tmp_path / "main.py").write_text(BILLIARD)
    with LocalKinesis(limits=False) as kinesis:
        with running(["python", str(tmp_path / "main.py"), "fork"], kinesis) as run:
            run.process.wait(PATIENCE)
        answers = json.loads(next(line for line in run.output.splitlines() if line.startswith("[{")))
        check(kinesis, answers, run)
        got = Counter(record.data.decode() for record in read_all(kinesis))
        assert len(got) == 20 + 60 + 1
        assert run.process.returncode == 0
