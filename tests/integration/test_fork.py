"""A producer that was made and used before a fork works after it, in the parent and in the child."""

from __future__ import annotations

import concurrent.futures
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from kplpy import ForkedError, Producer
from kplpy.local import LocalKinesisProcess
from kplpy.local.server.process import LocalKinesisProcess as Process
from tests.inside import fork_without_wiping, locks_of
from tests.integration.reading import wait_until

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
    # Python 3.12 warns of a fork in a process with threads, which is tested here.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def kinesis() -> Iterator[Process]:
    with LocalKinesisProcess(shards=4, limits=False) as running:
        yield running


@pytest.fixture
def stream(kinesis: Process, request: pytest.FixtureRequest) -> str:
    name = f"s{abs(hash(request.node.nodeid))}"
    kinesis.client().create_stream(StreamName=name, ShardCount=2)
    return name


def read_all(kinesis: Process, stream: str) -> list[bytes]:
    """Read through the API. The local Kinesis is another process, because its threads would not survive the forks."""
    from kplpy import deaggregate

    client = kinesis.client()
    found: list[bytes] = []
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            page = client.get_records(ShardIterator=iterator, Limit=10_000)
            found += [user.data for record in page["Records"] for user in deaggregate(record)]
            if not page["Records"] and not page["MillisBehindLatest"]:
                break
            iterator = page["NextShardIterator"]
    return found


def in_child(do: Callable[[], object], fork: Callable[[], int] = os.fork) -> int:
    """Fork, run `do` in the child and return its process id.

    The child ends with 0 if `do` does not raise, and is killed if it hangs.
    """
    child = fork()
    if child:
        return child
    code = 1
    try:
        signal.alarm(int(PATIENCE))
        do()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def c_fork() -> int:
    """Fork without Python's hooks, as uWSGI does."""
    return int(ctypes.PyDLL(None).fork())


# Such a fork may happen while another thread takes the GIL. Then the child hangs, whatever a library does: seen on
# Python 3.10, twice in one run of CI. So it is tried on demand, not in every run.
without_hooks = pytest.mark.skipif(
    sys.platform != "linux" or "KPLPY_TEST_FORKS_WITHOUT_HOOKS" not in os.environ,
    reason="a fork without Python's hooks may hang by itself; set KPLPY_TEST_FORKS_WITHOUT_HOOKS=1 to try",
)
FORKS = [os.fork, pytest.param(c_fork, marks=without_hooks)]


@pytest.mark.parametrize("fork", FORKS)
def test_what_the_parent_buffered_arrives_once_and_what_the_child_puts_too(
    kinesis: Process, stream: str, fork: Callable[[], int]
) -> None:
    producer = Producer(endpoint_url=kinesis.endpoint_url, record_max_buffered_time_ms=60_000)
    if fork is c_fork:  # this fork cannot wait until no thread imports
        producer.put_record(stream, b"child", "k")
        producer.flush(timeout=PATIENCE)
    mine = [producer.put_record(stream, b"parent %d" % n, f"key {n}") for n in range(100)]

    def child() -> None:
        producer.put_record(stream, b"child", "k")
        producer.flush(timeout=PATIENCE)
        assert producer.outstanding_records == 0
        producer.close()

    children = [in_child(child, fork) for _ in range(3)]
    assert [ended(each) for each in children] == [0, 0, 0]
    producer.close()
    assert all(future.result(0) for future in mine)
    assert Counter(read_all(kinesis, stream)) == Counter(
        [b"parent %d" % n for n in range(100)] + (3 + (fork is c_fork)) * [b"child"]
    )


def test_a_stream_keeps_its_options_in_the_child(kinesis: Process, stream: str) -> None:
    with Producer(endpoint_url=kinesis.endpoint_url, streams={stream: {"aggregation_enabled": False}}) as producer:
        producer.put_record(stream, b"parent", "k").result(PATIENCE)

        def child() -> None:
            producer.put_records(stream, [(b"child", "k")] * 5)
            producer.close()
            assert producer.metrics()[stream].kinesis_records_put == 5

        assert ended(in_child(child)) == 0
    assert Counter(read_all(kinesis, stream)) == {b"parent": 1, b"child": 5}


@pytest.mark.parametrize("fork", FORKS)
def test_inherited_futures_fail_at_once(kinesis: Process, stream: str, fork: Callable[[], int]) -> None:
    with Producer(endpoint_url=kinesis.endpoint_url, record_max_buffered_time_ms=60_000) as producer:
        done = producer.put_record(stream, b"done", "k")
        producer.flush(timeout=PATIENCE)
        future = producer.put_record(stream, b"x", "k")
        with_condition = producer.put_record(stream, b"y", "k")
        assert not concurrent.futures.wait([with_condition], timeout=0).done

        def child() -> None:
            assert done.result().shard_id
            for each in (future, with_condition):
                for look in (each.result, each.exception):
                    try:
                        raised: BaseException | None = look()  # type: ignore[assignment]
                    except ForkedError as error:
                        raised = error
                    assert isinstance(raised, ForkedError)
                    assert "parent process" in str(raised)
                assert each.done()
                assert "parent" in repr(each)
            called: list[object] = []
            future.add_done_callback(called.append)
            assert called == [future]
            new = producer.put_record(stream, b"new", "k")
            some = concurrent.futures.wait([done, future, with_condition, new], return_when="FIRST_COMPLETED")
            assert some.not_done == {new}
            assert set(concurrent.futures.as_completed([done, future], timeout=0)) == {done, future}
            os._exit(0)

        assert ended(in_child(child, fork)) == 0


def test_a_lock_that_was_held_at_the_fork_does_not_block(kinesis: Process, stream: str) -> None:
    """Another thread holds every lock of kplpy that it can hold."""
    with Producer(endpoint_url=kinesis.endpoint_url, record_max_buffered_time_ms=60_000) as producer:
        future = producer.put_record(stream, b"x", "k")
        locks = locks_of(producer, stream, future)
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            for lock in locks:
                lock.acquire()
            held.set()
            let_go.wait()
            for lock in locks:
                lock.release()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()

        def child() -> None:
            assert isinstance(future.exception(), ForkedError)
            concurrent.futures.wait([future])
            producer.put_record(stream, b"child", "k").add_done_callback(lambda _: None)
            producer.flush(timeout=PATIENCE)
            producer.close()

        try:
            assert ended(in_child(child)) == 0
        finally:
            let_go.set()
            holder.join()


def test_a_fork_waits_until_the_client_is_made(kinesis: Process, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the client imports boto3. A child would find the import locks held, and wait for ever."""
    import boto3

    making, made = threading.Event(), threading.Event()
    original = boto3.Session.client

    def slow(self: boto3.Session, *args: object, **kwargs: object) -> object:
        making.set()
        forking.wait(PATIENCE)
        client = original(self, *args, **kwargs)  # type: ignore[call-overload]
        made.set()
        return client

    forking = threading.Event()
    os.register_at_fork(before=forking.set)  # registered last, so it runs first
    monkeypatch.setattr(boto3.Session, "client", slow)
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:
        producer.put_record(stream, b"x", "k")
        assert making.wait(PATIENCE)
        child = in_child(lambda: made.is_set() or os._exit(9))
        assert ended(child) == 0


def test_sending_imports_nothing_more_once_the_client_is_made(kinesis: Process, stream: str) -> None:
    script = """
import sys
from kplpy.aws.client import make_client
import kplpy.producer
made = set()
def make(*given):
    client = make_client(*given)
    made.update(sys.modules)
    return client
import kplpy.aws.kinesis.transport
kplpy.aws.kinesis.transport.make_client = make
with kplpy.Producer(endpoint_url=sys.argv[1], region_name="us-east-1") as producer:
    producer.put_record(sys.argv[2], b"x", "k").result(30)
    print(sorted(set(sys.modules) - made))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, kinesis.endpoint_url, stream], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_child_of_a_child(kinesis: Process, stream: str) -> None:
    producer = Producer(endpoint_url=kinesis.endpoint_url)
    producer.put_record(stream, b"0", "k")

    def grandchild() -> None:
        producer.put_record(stream, b"2", "k")
        producer.close()

    def child() -> None:
        producer.put_record(stream, b"1", "k")
        assert ended(in_child(grandchild)) == 0
        producer.close()

    assert ended(in_child(child)) == 0
    producer.close()
    assert sorted(read_all(kinesis, stream)) == [b"0", b"1", b"2"]


def test_a_callback_may_fork(kinesis: Process, stream: str) -> None:
    """In the child the callback's thread is the only one, and counts as the application's."""
    children: list[int] = []
    forked = threading.Event()
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:

        def child() -> None:
            producer.put_record(stream, b"child", "k")
            producer.flush(timeout=PATIENCE)

        def callback(_: object) -> None:
            children.append(in_child(child))
            forked.set()

        producer.put_record(stream, b"parent", "k").add_done_callback(callback)
        assert forked.wait(PATIENCE)
        assert ended(children[0]) == 0
    assert sorted(read_all(kinesis, stream)) == [b"child", b"parent"]


@pytest.mark.slow
@pytest.mark.timeout(300)  # 78 s at load 13
def test_forks_while_other_threads_put(kinesis: Process, stream: str) -> None:
    """Hundreds of forks at any moment of three putting threads: no child hangs, no record is lost or duplicated.

    A fork takes long in a process that has much memory, as a worker of pytest may. So fewer forks are enough then.
    """
    number_of_forks, enough = 500, 60
    until = time.monotonic() + 45
    stop = threading.Event()
    put: list[list[bytes]] = [[], [], []]
    with Producer(endpoint_url=kinesis.endpoint_url, max_buffered_records=5000, on_buffer_full="block") as producer:

        def go_on(thread: int) -> None:
            while not stop.is_set():
                data = b"%d/%d" % (thread, len(put[thread]))
                future = producer.put_record(stream, data, data.decode())
                put[thread].append(data)
                if len(put[thread]) % 500 == 0:
                    future.add_done_callback(lambda _: None)
                    concurrent.futures.wait([future])

        threads = [threading.Thread(target=go_on, args=(thread,)) for thread in range(3)]
        for thread in threads:
            thread.start()
        expected: list[bytes] = []
        running: list[int] = []
        try:
            for number in range(number_of_forks):
                if number >= enough and time.monotonic() > until:
                    break
                delivers = number % 20 == 0  # a child that delivers makes a client, which takes half a second

                def child(data: bytes = b"child %d" % number, delivers: bool = delivers) -> None:
                    future = producer.put_record(stream, data, "k")
                    if delivers:
                        future.result(PATIENCE)

                running.append(in_child(child))
                if delivers:
                    expected.append(b"child %d" % number)
                if len(running) >= 4:
                    assert ended(running.pop(0)) == 0
            while running:
                assert ended(running.pop()) == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        producer.flush(timeout=PATIENCE)
    got = Counter(read_all(kinesis, stream))
    records = Counter(data for each in put for data in each)
    records.update(expected)
    assert records - got == Counter()
    assert {data for data, times in got.items() if times > 1} == set()


@without_hooks
def test_a_new_producer_in_a_child_of_a_fork_without_hooks(kinesis: Process, stream: str) -> None:
    old = Producer(endpoint_url=kinesis.endpoint_url)
    old.put_record(stream, b"parent", "k").result(PATIENCE)

    def child() -> None:
        with Producer(endpoint_url=kinesis.endpoint_url) as producer:
            producer.put_record(stream, b"child", "k").result(PATIENCE)

    assert ended(in_child(child, c_fork)) == 0
    old.close()
    wait_until(lambda: sorted(read_all(kinesis, stream)) == [b"child", b"parent"])


def test_the_page_of_a_system_without_wiping(kinesis: Process, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's hook wipes the page if the kernel does not."""
    fork_without_wiping(monkeypatch)
    with Producer(endpoint_url=kinesis.endpoint_url, record_max_buffered_time_ms=60_000) as producer:
        future = producer.put_record(stream, b"parent", "k")

        def child() -> None:
            assert isinstance(future.exception(), ForkedError)
            producer.put_record(stream, b"child", "k")
            producer.flush(timeout=PATIENCE)

        began = time.monotonic()
        assert ended(in_child(child)) == 0
        assert time.monotonic() - began < PATIENCE
    assert sorted(read_all(kinesis, stream)) == [b"child", b"parent"]
