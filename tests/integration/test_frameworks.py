"""The real servers, each with a master and two workers, around a producer that was made and put to before the fork.

Needs the dependency group `frameworks`: uv pip install --group frameworks
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from kplpy.local import LocalKinesis
from tests.integration.reading import read_all

pytestmark = [pytest.mark.frameworks, pytest.mark.skipif(sys.platform == "win32", reason="these servers fork")]
ROOT = Path(__file__).parents[2]
APP = "tests.integration.frameworks_app"
BIN = Path(sysconfig.get_path("scripts"))
PATIENCE = 60.0

SERVERS: dict[str, tuple[str, str]] = {  # name → (module, command)
    "gunicorn sync": ("gunicorn", f"gunicorn --preload --workers 2 --bind 127.0.0.1:PORT {APP}:application"),
    "gunicorn gthread": (
        "gunicorn",
        f"gunicorn --preload --workers 2 --worker-class gthread --threads 4 --bind 127.0.0.1:PORT {APP}:application",
    ),
    "uvicorn fastapi": ("fastapi", f"uvicorn --factory --workers 2 --port PORT {APP}:fast_api"),
    "uwsgi": (
        "pyuwsgi",
        f"pyuwsgi --http-socket 127.0.0.1:PORT --master --processes 2 --enable-threads --need-app --die-on-term \
--virtualenv {sys.prefix} --pythonpath {ROOT} --module {APP}",
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_every_request_s_record_arrives_once(name: str) -> None:
    module, command = SERVERS[name]
    if find_spec(module) is None:
        pytest.skip("the dependency group `frameworks` is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with LocalKinesis(limits=False) as kinesis:
        program, *arguments = command.replace("PORT", port).split()
        server = subprocess.Popen(
            [str(BIN / program), *arguments],
            cwd=ROOT,
            env={**os.environ, "KINESIS_URL": kinesis.endpoint_url, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        answers: Counter[bytes] = Counter()
        try:
            deadline = time.monotonic() + PATIENCE
            while (len(answers) < 2 or sum(answers.values()) < 100) and time.monotonic() < deadline:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                        answers[answer.read()] += 1
                except OSError:  # not listening yet
                    time.sleep(0.05)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                output, _ = server.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()
                output, _ = server.communicate()
        got = Counter(record.data for record in read_all(kinesis))
    assert len(answers) == 2, output  # both workers answered
    # Before the fork it was put once; uvicorn's workers are spawned, and each imports the application for itself.
    assert got.pop(b"at import", 0) == {"uvicorn fastapi": 2, "uwsgi": 0}.get(name, 1), output
    assert got == answers, output
    assert "Traceback" not in output
