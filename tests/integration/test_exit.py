"""However a process ends, its records are delivered or reported as lost, in time and without noise.

Each case is a real process. Its stderr must hold only what the script itself causes. Warnings are errors.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

from kplpy.local import LocalKinesis
from tests.integration.reading import read_all

PATIENCE = 60.0
HEAD = """
import atexit, multiprocessing, os, signal, sys, threading, time
from kplpy import Producer
producer = Producer(endpoint_url=sys.argv[1], region_name="us-east-1")
put = lambda data=b"x": producer.put_record(sys.argv[2], data, "k")
"""

# name → (script, exit code, text in stderr, records)
ENDS: dict[str, tuple[str, int, str, list[bytes]]] = {
    "returns": ("put()", 0, "", [b"x"]),
    "sys.exit": ("put(); sys.exit(3)", 3, "", [b"x"]),
    "exception": ("put(); raise ValueError('mine')", 1, "ValueError: mine", [b"x"]),
    "many, long linger": (
        "producer = Producer(endpoint_url=sys.argv[1], region_name='us-east-1', record_max_buffered_time_ms=60_000)\n\
for n in range(500): put(b'%03d' % n)",
        0,
        "",
        [b"%03d" % n for n in range(500)],
    ),
    "two producers": (
        "put()\nproducer = Producer(endpoint_url=sys.argv[1], region_name='us-east-1')\nput(b'y')",
        0,
        "",
        [b"x", b"y"],
    ),
    "the last reference is gone": ("put(); del producer", 0, "", [b"x"]),
    "closed": ("put(); producer.close()", 0, "", [b"x"]),
    "a thread goes on": (
        "put(); threading.Thread(target=lambda: (threading.main_thread().join(), put(b'from the thread'))).start()",
        0,
        "",
        [b"from the thread", b"x"],
    ),
    # A function that is registered after the import of kplpy runs before kplpy's; one registered before it runs after.
    "first put in atexit": ("import kplpy.process.interpreter_exit; atexit.register(put)", 0, "", [b"x"]),
    "another put in atexit": ("put(); atexit.register(put, b'y')", 0, "", [b"x", b"y"]),
    "waits in atexit": ("f = put(); atexit.register(lambda: f.result(30))", 0, "", [b"x"]),
    "puts and waits in atexit": ("atexit.register(lambda: put().result(30))", 0, "", [b"x"]),
    "flushes in atexit": ("atexit.register(lambda: (put(), producer.flush(timeout=30)))", 0, "", [b"x"]),
    "closes in atexit": ("put(); atexit.register(producer.close)", 0, "", [b"x"]),
    "a callback at the exit puts": (
        "put().add_done_callback(lambda _: put(b'again'))",
        0,
        "",
        [b"again", b"x"],
    ),
    "multiprocessing is imported": ("import multiprocessing.util; put()", 0, "", [b"x"]),
    "asyncio.run": (
        "import asyncio\nasync def main(): put()\nasyncio.run(main())",
        0,
        "",
        [b"x"],
    ),
    "daemon threads still put": (
        """
def go_on():
    while True:
        try: put(b'more')
        except Exception: return
threading.Thread(target=go_on, daemon=True).start()
put()""",
        0,
        "",
        [b"x"],
    ),
}


@pytest.fixture(scope="module")
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=1, limits=False, streams={"none": 1}) as running:
        yield running


@pytest.fixture
def stream(kinesis: LocalKinesis, request: pytest.FixtureRequest) -> str:
    name = f"s{abs(hash(request.node.nodeid))}"
    kinesis.client().create_stream(StreamName=name, ShardCount=1)
    return name


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )


def ends(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"the process did not end: {out}{err}")
    # Logged on a busy machine, if making the client takes longer than the first records wait for it.
    err = "".join(line for line in err.splitlines(True) if "the shards" not in line)
    return process.returncode, out, err


def seconds_waited(stderr: str) -> float:
    """Return how long the process waited before it gave one record up: the limit, and on a busy machine some more."""
    found = re.search(r"^closed with 1 records undelivered after ([\d.]+) s$", stderr, re.MULTILINE)
    assert found is not None, stderr
    return float(found[1])


@pytest.mark.parametrize("end", ENDS)
def test_records_are_delivered_at_exit(kinesis: LocalKinesis, stream: str, end: str) -> None:
    script, code, noise, records = ENDS[end]
    returned, _, stderr = ends(start(HEAD + script, kinesis.endpoint_url, stream))
    got = sorted(record.data for record in read_all(kinesis, stream))
    assert [data for data in got if data != b"more"] == records
    assert returned == code
    if noise:
        assert stderr.splitlines()[-1] == noise
        assert "kplpy" not in stderr
    else:
        assert stderr == ""


def test_a_first_put_in_atexit_after_kplpys_own(kinesis: LocalKinesis, stream: str) -> None:
    script = "import atexit\natexit.register(lambda: put())\n" + HEAD
    assert ends(start(script, kinesis.endpoint_url, stream))[::2] == (0, "")
    assert [record.data for record in read_all(kinesis, stream)] == [b"x"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_by_a_signal(kinesis: LocalKinesis, stream: str, number: signal.Signals) -> None:
    """SIGTERM with the usual handler, sys.exit; SIGINT with Python's handler."""
    script = """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        put()
        print("ready", flush=True)
        while True: time.sleep(1)
    """
    process = start(HEAD + textwrap.dedent(script), kinesis.endpoint_url, stream)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    code, _, stderr = ends(process)
    assert [record.data for record in read_all(kinesis, stream)] == [b"x"]
    assert code == 143 if number == signal.SIGTERM else code != 0
    assert stderr == "" if number == signal.SIGTERM else stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert "kplpy" not in stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_ctrl_c_during_puts(kinesis: LocalKinesis, stream: str) -> None:
    """Wherever Ctrl-C interrupts, every future that was returned is delivered, and the process ends in time."""
    script = """
        signal.alarm(60)  # ends the process whatever happens
        signal.signal(signal.SIGINT, signal.default_int_handler)
        futures = []
        try:
            futures.append(put())
            futures[0].add_done_callback(lambda _: print("delivering", flush=True))
            while True: futures.append(put(b"%07d" % len(futures)))
        except KeyboardInterrupt:
            producer.flush(timeout=30)
            print(len(futures), sum(f.exception(0) is None for f in futures))
    """
    for _ in range(5):
        process = start(HEAD + textwrap.dedent(script), kinesis.endpoint_url, stream)
        assert process.stdout is not None
        assert process.stdout.readline() == "delivering\n"
        process.send_signal(signal.SIGINT)
        code, out, stderr = ends(process)
        assert (code, stderr) == (0, "")
        put, delivered = out.split()
        assert put == delivered != "0"


@pytest.mark.parametrize("where", ["put()", "import kplpy.process.interpreter_exit; atexit.register(put)"])
def test_a_dead_endpoint_keeps_the_process_for_no_longer_than_close_timeout(where: str) -> None:
    head = HEAD.replace('"us-east-1"', '"us-east-1", close_timeout_ms=1000')
    began = time.monotonic()
    code, _, stderr = ends(start(head + where, "http://127.0.0.1:9", "test"))
    took = time.monotonic() - began
    assert code == 0
    assert 1 <= seconds_waited(stderr) < PATIENCE
    assert took < 30  # the default close_timeout_ms is 30 s: the script's own was used


def test_an_endpoint_that_never_answers_keeps_the_process_no_longer() -> None:
    """The connection is accepted and never answered. The request's own timeout is far longer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        head = HEAD.replace('"us-east-1"', '"us-east-1", close_timeout_ms=1000, request_timeout_ms=600_000')
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        for where in ["put(); sys.stdin.read()", "import kplpy.process.interpreter_exit; atexit.register(put)"]:
            process = start(head + where, url, "test")
            # The first process goes on when ends() closes its stdin, once its request is on its way.
            connection = server.accept()[0] if "stdin" in where else None
            code, _, stderr = ends(process)
            assert code == 0
            assert 1 <= seconds_waited(stderr) < PATIENCE
            if connection is not None:
                connection.close()


def test_os_exit_loses_only_what_was_not_acknowledged(kinesis: LocalKinesis, stream: str) -> None:
    script = "put().result(30); put(b'y'); os._exit(7)"
    assert ends(start(HEAD + script, kinesis.endpoint_url, stream)) == (7, "", "")
    assert b"x" in [record.data for record in read_all(kinesis, stream)]


CHILDREN = """
from concurrent.futures import ProcessPoolExecutor
producer = Producer(endpoint_url=sys.argv[1], region_name="us-east-1", record_max_buffered_time_ms=60_000)
buffered = []
def task(n):
    put(b"%d" % n)
    assert [type(each.exception(0)).__name__ for each in buffered] == len(buffered) * ["ForkedError"]
def main():
    how, kind = sys.argv[3:]
    buffered.append(put(b"from the parent"))
    context = multiprocessing.get_context(how)
    if kind == "process":
        children = [context.Process(target=task, args=(n,)) for n in range(3)]
        for child in children: child.start()
        for child in children: child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]
    elif kind == "pool":
        pool = context.Pool(2)
        pool.map(task, range(3))
        pool.close()
        pool.join()
    else:
        with ProcessPoolExecutor(2, mp_context=context) as executor: list(executor.map(task, range(3)))
if __name__ == "__main__": main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="fork and forkserver")
@pytest.mark.parametrize("kind", ["process", "pool", "executor"])
@pytest.mark.parametrize("how", ["fork", "forkserver", "spawn"])
def test_children_that_skip_atexit(
    kinesis: LocalKinesis, stream: str, how: str, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("children") / "main.py"
    file.write_text(HEAD + CHILDREN)
    process = subprocess.Popen(
        [sys.executable, str(file), kinesis.endpoint_url, stream, how, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ends(process) == (0, "", "")
    assert sorted(record.data for record in read_all(kinesis, stream)) == [b"0", b"1", b"2", b"from the parent"]
