"""Measures the speed of the local Kinesis: PutRecords with prepared bodies, over raw sockets, to a server process.

    python benchmarks/local_kinesis.py [--seconds 5] [--repeat 3] [--connections 4]

The server has one thread, so it uses one core; the client uses another. Rates count accepted records and their data, as
medians of the runs. Rates per second of server CPU are also valid on a busy machine.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import re
import socket
import ssl
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from benchmarks.processes import cpu_seconds
from kplpy.local import LocalKinesisProcess
from kplpy.local.server.options import Arguments

SHAPES = {"500 × 100 B": (500, 100), "500 × 1 KB": (500, 1000), "100 × 50 KB": (100, 50_000)}
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
LAST_CHUNK = b"\r\n0\r\n\r\n"
"""The end of a response without a length."""
FAILED = re.compile(rb'"FailedRecordCount": *([0-9]+)')


class Served(Protocol):
    """A running server. pid: of its process."""

    @property
    def endpoint_url(self) -> str: ...
    @property
    def ca_bundle(self) -> str | None: ...
    @property
    def pid(self) -> int: ...


@dataclass
class Run:
    """The figures of one run. server_cpu: share of one core."""

    records_per_second: float
    server_cpu: float


def body_of(count: int, size: int, seed: int) -> bytes:
    rng = random.Random(seed)
    records = [
        {"Data": base64.b64encode(rng.randbytes(size)).decode(), "PartitionKey": f"customer-{rng.randrange(100_000)}"}
        for _ in range(count)
    ]
    return json.dumps({"StreamName": "bench", "Records": records}, separators=(",", ":")).encode()


def request_of(body: bytes) -> bytes:
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n"
        "X-Amz-Target: Kinesis_20131202.PutRecords\r\nX-Amz-Date: 20261129T000000Z\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=local/20261129/us-east-1/kinesis/aws4_request, "
        "SignedHeaders=host, Signature=00\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connect(url: str, ca_bundle: str | None) -> socket.socket:
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname or "", place.port or 0), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if ca_bundle is None:
        return connection
    return ssl.create_default_context(cafile=ca_bundle).wrap_socket(connection, server_hostname=place.hostname)


def exchange(connection: socket.socket, request: bytes) -> bool:
    """Send a PutRecords and take its response. Return True if the server keeps the connection.

    Raises RuntimeError unless every record was accepted.
    """
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    while len(body) < int(length[1]) if length is not None else not body.endswith(LAST_CHUNK):
        body += received(connection)
    found = FAILED.search(body)
    if not head.startswith(b"HTTP/1.1 200") or found is None or found[1] != b"0":
        raise RuntimeError(f"records were refused: {head!r} {body[:300]!r}")
    return b"connection: close" not in head.lower()


def received(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 18)
    if not data:
        raise RuntimeError("the server closed the connection")
    return data


def measure(kinesis: Served, count: int, size: int, seconds: float, connections: int) -> Run:
    requests = [request_of(body_of(count, size, seed)) for seed in range(8)]
    done = [0] * connections
    end = time.perf_counter() + 0.5 + seconds  # half a second to warm up
    starting = threading.Barrier(connections + 1)

    def send(which: int) -> None:
        connection = connect(kinesis.endpoint_url, kinesis.ca_bundle)
        starting.wait()
        number = which
        while time.perf_counter() < end:
            if not exchange(connection, requests[number % len(requests)]):
                connection.close()
                connection = connect(kinesis.endpoint_url, kinesis.ca_bundle)
            done[which] += 1
            number += 1
        connection.close()

    threads = [threading.Thread(target=send, args=(each,)) for each in range(connections)]
    for each in threads:
        each.start()
    starting.wait()
    time.sleep(0.5)
    began, before, cpu = time.perf_counter(), sum(done), cpu_seconds([kinesis.pid])
    time.sleep(max(0.0, end - time.perf_counter()))
    took, sent, used = time.perf_counter() - began, sum(done) - before, cpu_seconds([kinesis.pid]) - cpu
    for each in threads:
        each.join()
    return Run(sent * count / took, used / took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    # It keeps at most 256 MiB, so that trimming is measured too.
    common: Arguments = {"stream": "bench", "shards": 16, "limits": False, "retention_bytes": 256 << 20}
    servers: dict[str, Arguments] = {
        "counting only": {**common, "store": False},
        "storing": common,
        "storing, https": {**common, "https": True},
        "storing, data_dir": {**common, "data_dir": "a new one"},
    }
    print(f"{'':36} {'seen by the client':>20}  {'a second of server CPU':>26}")
    print(f"{'server':22} {'request':13} {'records/s':>11} {'MB/s':>8}  {'records':>15} {'MB':>8}")
    for name, arguments in servers.items():
        for shape, (count, size) in SHAPES.items():
            runs = [one_run(arguments, count, size, options) for _ in range(options.repeat)]
            rate = statistics.median(each.records_per_second for each in runs)
            pure = statistics.median(each.records_per_second / each.server_cpu for each in runs)
            print(
                f"{name:22} {shape:13} {rate:11,.0f} {rate * size / 1e6:8,.1f}  {pure:15,.0f}",
                f"{pure * size / 1e6:8,.1f}",
                flush=True,
            )


def one_run(arguments: Arguments, count: int, size: int, options: argparse.Namespace) -> Run:
    with tempfile.TemporaryDirectory() as directory:
        if "data_dir" in arguments:
            arguments = {**arguments, "data_dir": directory}
        with LocalKinesisProcess(**arguments) as kinesis:
            return measure(kinesis, count, size, options.seconds, options.connections)


if __name__ == "__main__":
    main()
