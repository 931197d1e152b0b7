"""The local Kinesis over sockets: HTTP, HTTPS, HTTP/2, CBOR, connection faults, the process, the pytest fixture."""

from __future__ import annotations

import gc
import http.client
import os
import platform
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cbor2
import h2.config
import h2.connection
import h2.events
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from kplpy import ConfigError
from kplpy.concurrency import has_gil
from kplpy.local import Fault, Limits, LocalKinesis, LocalKinesisProcess, Phases
from kplpy.local.server.options import Options
from tests.integration.reading import wait_until

ONE_TRY = Config(retries={"total_max_attempts": 1}, read_timeout=1)
RECORDS: list[Any] = [{"Data": b"%d" % each, "PartitionKey": f"é{each}"} for each in range(3)]
CBOR = {"Content-Type": "application/x-amz-cbor-1.1"}

pytest_plugins = ["pytester"]


def post(kinesis: LocalKinesis, operation: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(kinesis.endpoint_url).netloc)
    target = {"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    connection.request("POST", "/", body, {**target, **headers})
    response = connection.getresponse()
    answer = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return answer


@pytest.mark.parametrize("https", [False, True])
def test_records_go_in_and_come_out(https: bool) -> None:
    with LocalKinesis(stream="s", shards=2, https=https) as kinesis:
        client = kinesis.client()
        put = client.put_records(StreamName="s", Records=RECORDS)
        assert put["FailedRecordCount"] == 0
        found = []
        for shard in client.list_shards(StreamName="s")["Shards"]:
            start = client.get_shard_iterator(
                StreamName="s", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            found += client.get_records(ShardIterator=start["ShardIterator"])["Records"]
        assert sorted((each["Data"], each["PartitionKey"]) for each in found) == [
            (each["Data"], each["PartitionKey"]) for each in RECORDS
        ]
        assert abs(found[0]["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 60
        assert [each.data for each in kinesis.ledger("s")] == [each["Data"] for each in RECORDS]


def test_a_request_of_10_mib() -> None:
    with LocalKinesis(stream="s", limits=False) as kinesis:
        data = os.urandom(1 << 19)
        records: list[Any] = [{"Data": data, "PartitionKey": "k"}] * 19
        assert kinesis.client().put_records(StreamName="s", Records=records)["FailedRecordCount"] == 0
        assert {each.data for each in kinesis.ledger()} == {data}


def test_errors_have_the_form_that_botocore_expects() -> None:
    with LocalKinesis() as kinesis:
        client = kinesis.client()
        with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
            client.describe_stream(StreamName="none")
        assert caught.value.response["Error"]["Message"] == "Stream none under account 123456789012 not found."
        assert caught.value.response["ResponseMetadata"]["RequestId"]
        status, headers, body = post(kinesis, "Nonsense", b"{}")
        assert (status, headers["x-amzn-ErrorType"]) == (400, "UnknownOperationException")
        assert b'"__type":"UnknownOperationException"' in body
        assert post(kinesis, "PutRecords", b"{")[1]["x-amzn-ErrorType"] == "SerializationException"


def test_cbor() -> None:
    with LocalKinesis(stream="s") as kinesis:
        params = {"StreamName": "s", "Records": RECORDS}
        status, headers, body = post(kinesis, "PutRecords", cbor2.dumps(params), **CBOR)
        assert (status, headers["Content-Type"]) == (200, CBOR["Content-Type"])
        assert cbor2.loads(body)["FailedRecordCount"] == 0
        start = {"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
        token = cbor2.loads(post(kinesis, "GetShardIterator", cbor2.dumps(start), **CBOR)[2])
        body = post(kinesis, "GetRecords", cbor2.dumps(token), **CBOR)[2]
        records = cbor2.loads(body, semantic_decoders={1: lambda value, _: value})["Records"]
        assert [each["Data"] for each in records] == [b"0", b"1", b"2"]
        assert abs(records[0]["ApproximateArrivalTimestamp"] / 1000 - time.time()) < 60


class Http2:
    """A minimal HTTP/2 client."""

    def __init__(self, kinesis: LocalKinesis) -> None:
        self.socket = socket.create_connection(("127.0.0.1", urlsplit(kinesis.endpoint_url).port or 0), timeout=10)
        if kinesis.ca_bundle:
            context = ssl.create_default_context(cafile=kinesis.ca_bundle)
            context.set_alpn_protocols(["h2"])
            tls = context.wrap_socket(self.socket, server_hostname="localhost")
            assert tls.selected_alpn_protocol() == "h2"
            self.socket = tls
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self.socket.sendall(self.http.data_to_send())

    def post(self, operation: str, body: bytes) -> tuple[str, bytes]:
        stream = self.http.get_next_available_stream_id()
        headers = {":method": "POST", ":path": "/", ":scheme": "https", ":authority": "localhost", **CBOR}
        target = {"x-amz-target": f"Kinesis_20131202.{operation}"}
        self.http.send_headers(stream, [(name.lower(), value) for name, value in {**headers, **target}.items()])
        status, answer, ended = "", b"", False
        while not ended:
            while body and (size := min(self.http.local_flow_control_window(stream), 16_384)):
                self.http.send_data(stream, body[:size], end_stream=len(body) <= size)
                body = body[size:]
            self.socket.sendall(self.http.data_to_send())
            for event in self.http.receive_data(self.socket.recv(1 << 16)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = next(str(value) for name, value in event.headers if str(name) == ":status")
                elif isinstance(event, h2.events.DataReceived):
                    answer += event.data or b""
                    self.http.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    ended = True
            self.socket.sendall(self.http.data_to_send())
        return status, answer


@pytest.mark.parametrize("https", [False, True])
def test_http2(https: bool) -> None:
    with LocalKinesis(stream="s", https=https, limits=False) as kinesis:
        client = Http2(kinesis)
        large = [{"Data": bytes(200_000), "PartitionKey": "k"}] * 10
        for records in (RECORDS, large, RECORDS):
            status, body = client.post("PutRecords", cbor2.dumps({"StreamName": "s", "Records": records}))
            assert status == "200"
            assert cbor2.loads(body)["FailedRecordCount"] == 0
        start = {"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
        token = client.post("GetShardIterator", cbor2.dumps(start))[1]
        status, body = client.post("GetRecords", token)  # 2 MB, more than the flow-control windows allow at once
        assert len(cbor2.loads(body, semantic_decoders={1: lambda value, _: value})["Records"]) == 16
        kinesis.faults.delay(0.05)
        assert client.post("PutRecords", cbor2.dumps({"StreamName": "s", "Records": RECORDS}))[0] == "200"
        kinesis.faults.cut(accepted=True)
        assert client.post("PutRecords", cbor2.dumps({"StreamName": "s", "Records": RECORDS}))[0] == ""
        assert client.post("Nonsense", cbor2.dumps({}))[0] == "400"
        client.socket.close()


@pytest.mark.parametrize("https", [False, True])
def test_faults_on_the_wire(https: bool) -> None:
    with LocalKinesis(stream="s", https=https) as kinesis:
        client = kinesis.client(config=ONE_TRY)

        def put() -> Any:
            return client.put_records(StreamName="s", Records=RECORDS)

        kinesis.faults.cut(accepted=False)
        with pytest.raises(ConnectionClosedError):
            put()
        assert not kinesis.ledger()
        kinesis.faults.cut(accepted=True)
        with pytest.raises(ConnectionClosedError):
            put()
        assert len(kinesis.ledger()) == 3
        kinesis.faults.add(Fault(transport="never"))
        with pytest.raises(ReadTimeoutError):
            put()
        kinesis.faults.add(Fault(transport="empty"))
        assert "Records" not in put()
        kinesis.faults.add(Fault(transport="cut_answer"))
        try:
            assert "Records" not in put()
        except ConnectionClosedError:
            pass  # the version of urllib3 decides whether it raises
        kinesis.faults.add(Fault(transport="garbage"))
        with pytest.raises(Exception, match="codec can't decode"):
            put()
        kinesis.faults.add(Fault(transport="wrong_length"))
        assert len(put()["Records"]) == 2
        kinesis.faults.fail("InternalFailure", status=500)
        with pytest.raises(ClientError) as caught:
            put()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        kinesis.faults.delay(0.2)
        start = time.monotonic()
        assert put()["FailedRecordCount"] == 0
        assert time.monotonic() - start >= 0.2


def test_stopping_does_not_wait_for_responses_that_never_come() -> None:
    kinesis = LocalKinesis(stream="s").start()
    kinesis.faults.add(Fault(transport="never"))
    with pytest.raises(ReadTimeoutError):
        kinesis.client(config=ONE_TRY).put_records(StreamName="s", Records=RECORDS)
    kinesis.stop()
    kinesis.stop()
    assert len(kinesis.ledger()) == 3


@pytest.mark.parametrize("https", [False, True])
def test_stopping_while_clients_connect_leaves_no_socket_open(https: bool) -> None:
    """A socket left open warns when it is garbage-collected, and pytest makes that warning a failure."""

    def connect(port: int) -> None:
        while not stopped.is_set():
            with suppress(OSError):
                held.append(socket.create_connection(("127.0.0.1", port), timeout=1))

    for _ in range(4):
        held: list[socket.socket] = []
        stopped = threading.Event()
        kinesis = LocalKinesis(https=https).start()
        clients = threading.Thread(target=connect, args=[urlsplit(kinesis.endpoint_url).port])
        clients.start()
        wait_until(partial(bool, held))
        kinesis.stop()
        stopped.set()
        clients.join()
        for each in held:
            each.close()
        gc.collect()


def test_a_request_that_is_cut_off_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with LocalKinesis(stream="s") as kinesis:
        address = urlsplit(kinesis.endpoint_url)
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of it"
        first, second = (socket.create_connection((address.hostname or "", address.port or 0), 30) for _ in range(2))
        for each in (first, second):
            each.sendall(head)
        post(kinesis, "ListStreams", b"{}")  # after this the server has read both requests
        first.close()
    second.close()
    assert caplog.records == []


def test_a_bad_argument_raises_at_once() -> None:
    for arguments, text in [
        ({"shards": 0}, "a stream has 1 to 10000 shards; got 0 for 'test'"),
        ({"streams": {"a b": 1}}, "a stream's name must match"),
        ({"port": 70000}, "port must be 0 .* to 65535, got 70000"),
        ({"region_name": "moon"}, "region_name must look like us-east-1, got 'moon'"),
        ({"limits": 5}, "limits must be a kplpy.local.Limits, True or False; got 5"),
        ({"store": False, "data_dir": "x"}, "choose one"),
        ({"retention_bytes": 0}, "retention_bytes must be 1 or more"),
    ]:
        with pytest.raises(ValueError, match=text):
            LocalKinesis(**arguments)  # type: ignore[arg-type]
    with LocalKinesis() as kinesis:
        port = int(kinesis.endpoint_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            LocalKinesis(port=port).start()
        with pytest.raises(RuntimeError, match="started already"):
            kinesis.start()
    with pytest.raises(RuntimeError, match="not started"):
        _ = LocalKinesis().endpoint_url


def test_limits_can_be_handed_in() -> None:
    with LocalKinesis(stream="s", limits=Limits(shard_records_per_second=2)) as kinesis:
        answer = kinesis.client().put_records(StreamName="s", Records=RECORDS)
        assert [each.get("ErrorCode", "")[:11] for each in answer["Records"]] == ["", "", "Provisioned"]
        assert kinesis.handle("ListStreams", {})["StreamNames"] == ["s"]


# --- a separate process ---


def test_the_process_serves_and_ends_cleanly() -> None:
    with LocalKinesisProcess(stream="s", shards=2, https=True) as kinesis:
        ca_bundle = kinesis.ca_bundle
        assert ca_bundle is not None
        assert kinesis.client().put_records(StreamName="s", Records=RECORDS)["FailedRecordCount"] == 0
        pid = kinesis.pid
    assert not os.path.exists(ca_bundle)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_error_of_a_process_that_cannot_start_has_the_reason() -> None:
    with pytest.raises(ValueError, match="a stream has 1 to 10000 shards; got 0"):
        LocalKinesisProcess(shards=0)
    with LocalKinesis() as kinesis:
        port = int(kinesis.endpoint_url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match=r"did not start: .*address already in use"):
            LocalKinesisProcess(port=port).start()


def page_faults(pid: int) -> int:
    """Return how often the process was given a page of memory: the field minflt of proc(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


@pytest.mark.skipif(not has_gil(), reason="Python without a GIL has an allocator of its own")
@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc", reason="needs glibc's mallopt"
)
def test_the_process_keeps_the_memory_of_its_requests() -> None:
    """It would give it back at the end of each, and take it again: 420 pages for this one."""
    records: list[Any] = [{"Data": os.urandom(1000), "PartitionKey": str(each)} for each in range(500)]
    with LocalKinesisProcess(stream="s", limits=False, store=False) as kinesis:
        client = kinesis.client()
        for _ in range(20):
            client.put_records(StreamName="s", Records=records)
        before = page_faults(kinesis.pid)
        for _ in range(20):
            client.put_records(StreamName="s", Records=records)
        assert page_faults(kinesis.pid) - before < 20 * 50


def test_limits_and_phases_reach_the_process() -> None:
    limits = Limits(request_records=2, rate_form="window")
    with LocalKinesisProcess(stream="s", limits=limits, phases=Phases(updating=60)) as kinesis:
        client = kinesis.client()
        with pytest.raises(ClientError, match="less than or equal to 2"):
            client.put_records(StreamName="s", Records=RECORDS)
        client.update_shard_count(StreamName="s", TargetShardCount=2, ScalingType="UNIFORM_SCALING")
        assert client.describe_stream(StreamName="s")["StreamDescription"]["StreamStatus"] == "UPDATING"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_process_with_status_0(how: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "kplpy.local", "--options", Options().to_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"ready: ")
        process.send_signal(how)
        assert process.wait(10) == 0


def test_the_process_ends_when_the_process_that_started_it_ends() -> None:
    script = (
        "import os; from kplpy.local import LocalKinesisProcess; "
        "print(LocalKinesisProcess().start().pid, flush=True); os._exit(0)"
    )
    pid = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end and not _zombie(pid):
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{pid}") or _zombie(pid)


def _zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


# --- the pytest plugin ---


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_default(kinesis):
            assert kinesis.client().list_streams()["StreamNames"] == ["test"]

        @pytest.mark.kinesis(streams={"orders": 3}, limits=False)
        class TestMarked:
            def test_class(self, kinesis):
                assert len(kinesis.client().list_shards(StreamName="orders")["Shards"]) == 3

            @pytest.mark.kinesis(streams={"orders": 2})
            def test_closest_wins(self, kinesis):
                assert len(kinesis.client().list_shards(StreamName="orders")["Shards"]) == 2
                assert kinesis.model.limits.shard_records_per_second is None
        """
    )
    pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider").assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("marker", "says"),
    [
        (
            "kinesis(shard=4)",
            "*the kinesis marker takes the arguments of LocalKinesis, shards, *got 'shard'*mean shards?",
        ),
        ("kinesis(4)", "*the kinesis marker takes keyword arguments only, got (4,)"),
        ("kinesis(shards=0)", "*the kinesis marker: a stream has 1 to 10000 shards; got 0 for 'test'"),
        ("kinesis(phases=5)", "*the kinesis marker: phases must be a kplpy.local.Phases or None, got 5"),
        ("kinesys(shards=4)", "*the test has 'kinesys'; did you mean kinesis?"),
    ],
)
def test_a_marker_that_is_misspelt_fails_its_test(marker: str, says: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.{marker}
        def test_marked(kinesis): ...

        @pytest.mark.slow
        def test_other_markers_are_none_of_its_business(kinesis): ...
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "ignore")
    done.assert_outcomes(errors=1, passed=1)
    done.stdout.fnmatch_lines([says])


# --- clients, sessions and producers ---

BARE = """
import sys

contacted = set()

def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        place = arguments[1] if event == "socket.connect" else arguments
        contacted.add(place[0] if isinstance(place, tuple) else place)

sys.addaudithook(note)
from kplpy.local import LocalKinesis, LocalKinesisProcess

if __name__ == "__main__":
    for kind in (LocalKinesis, LocalKinesisProcess):
        for https in (False, True):
            with kind(stream="orders", https=https, region_name="eu-west-3") as kinesis:
                with kinesis.producer(record_max_buffered_time_ms=0, ordered=True) as producer:
                    print(producer.put_record("orders", b"x", "k").result(20).shard_id)
                    assert producer.config.ordered and producer.config.region_name == "eu-west-3"
                session = kinesis.session()
                address = {"endpoint_url": kinesis.endpoint_url, "verify": kinesis.ca_bundle}
                print(session.region_name, session.client("kinesis", **address).list_streams()["StreamNames"])
                print(kinesis.client().list_streams()["StreamNames"])
    print(sorted(contacted))
"""


@pytest.mark.parametrize("profile", ["none", "unknown", "broken"])
def test_a_producer_and_a_session_need_no_settings_of_the_machine(profile: str, tmp_path: Path) -> None:
    """They need no credentials, region or profile, and contact only the local Kinesis, not even CloudWatch."""
    program = tmp_path / "program.py"
    program.write_text(BARE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment["HOME"] = environment["USERPROFILE"] = str(tmp_path)
    if profile == "unknown":
        environment["AWS_PROFILE"] = "of-another-machine"
    if profile == "broken":
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").write_text("[default\nregion eu-west-1\n")
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    one = ["shardId-000000000000", "eu-west-3 ['orders']", "['orders']"]
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == ([*one * 4, "['127.0.0.1']"], "", 0)


def test_the_callers_config_overrides_the_address() -> None:
    with LocalKinesis() as kinesis, kinesis.producer(region_name="eu-west-1", metrics_level="none") as producer:
        assert producer.config.region_name == "eu-west-1"
        assert producer.config.endpoint_url == kinesis.endpoint_url
        with pytest.raises(ConfigError, match="there is no Config field 'orderd'; did you mean ordered"):
            kinesis.producer(orderd=True)


def test_before_the_start_there_are_no_clients_and_producers() -> None:
    for kinesis in (LocalKinesis(), LocalKinesisProcess()):
        with pytest.raises(RuntimeError, match="is not started"):
            kinesis.producer()
        with pytest.raises(RuntimeError, match="is not started"):
            kinesis.client()


def test_the_plugin_imports_nothing_heavy() -> None:
    script = (
        "import sys, pytest; before = set(sys.modules); import kplpy.local.pytest_plugin; "
        "print({'aiohttp', 'msgspec', 'cbor2', 'h2', 'boto3', 'botocore'} & (set(sys.modules) - before))"
    )
    shown = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert shown.strip() == "set()"


def test_without_the_extra_the_error_names_the_extra() -> None:
    script = (
        "import sys; sys.modules['aiohttp'] = None; import kplpy.local\n"
        "try: kplpy.local.LocalKinesis\nexcept ImportError as error: print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert shown.strip() == "kplpy.local.LocalKinesis needs the extra: pip install 'kplpy[local]' (missing: aiohttp)"
