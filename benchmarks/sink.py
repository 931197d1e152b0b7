"""The sink: accepts PutRecords over HTTP or HTTPS as fast as possible, and counts.

    python -m benchmarks.sink [--http]

It is a process of its own, so that it shares no interpreter with the measured producer. It has one thread, a selector
and non-blocking sockets, because asyncio's TLS copies every byte two more times. It also responds to ListShards, stream
descriptions, and STS, which the KPL's daemon calls at its start. The number of shards is in the stream's name
(`bench-16`). A line on stdin is a command: `stats`, `arrivals` (of the latest requests), `hold` (keep all responses
back), or `release`.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import ssl
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import trustme

from benchmarks import scan

_PIECE = 1 << 18
_FIRST_BUFFER = 1 << 18
_CBOR = b"application/x-amz-cbor-1.1"
_WAIT = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)
_IDENTITY = (
    b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    b"<Arn>arn:aws:iam::123456789012:user/bench</Arn><UserId>bench</UserId><Account>123456789012</Account>"
    b"</GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
    b"</GetCallerIdentityResponse>"
)


class Counts:
    def __init__(self) -> None:
        self.requests = self.entries = self.body_bytes = 0
        self.arrivals: deque[tuple[float, int]] = deque(maxlen=20_000)
        self.held: list[tuple[Connection, bytes]] | None = None  # responses that are kept back

    def stats(self) -> dict[str, float]:
        return {
            "requests": self.requests,
            "entries": self.entries,
            "body_bytes": self.body_bytes,
            "cpu": time.process_time(),
            "clock": time.monotonic(),
        }


class Connection:
    """A client's connection: collects a request, responds, collects the next."""

    def __init__(self, connection: socket.socket, counts: Counts, selector: selectors.BaseSelector) -> None:
        self._socket, self._counts, self._selector = connection, counts, selector
        self._buffer = bytearray(_FIRST_BUFFER)
        self._have = 0
        self._began = 0.0
        self._unsent = b""

    def ready(self) -> None:
        """Read and write what is possible now. Raises OSError or EOFError at the connection's end."""
        if self._unsent:
            self.send(b"")
        while True:
            if self._have == len(self._buffer):
                self._grow(2 * len(self._buffer))
            try:
                with memoryview(self._buffer) as view:
                    count = self._socket.recv_into(view[self._have : self._have + _PIECE])
            except _WAIT:
                return
            if not count:
                raise EOFError
            if not self._have:
                self._began = time.monotonic()
            self._have += count
            while self._respond_to_first():
                pass

    def _grow(self, size: int) -> None:
        grown = bytearray(size)
        grown[: self._have] = self._buffer[: self._have]
        self._buffer = grown

    def _respond_to_first(self) -> bool:
        """Respond to the first request in the buffer. Return False if it is not complete yet."""
        end_of_head = self._buffer.find(b"\r\n\r\n", 0, min(self._have, 65536))
        if end_of_head < 0:
            return False
        head = bytes(self._buffer[:end_of_head]).lower()
        length = int(_value(head, b"content-length") or 0)
        whole = end_of_head + 4 + length
        if whole > len(self._buffer):
            self._grow(whole)
        if self._have < whole:
            if b"\r\nexpect:" in head and self._have == end_of_head + 4:
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            return False
        body = bytes(self._buffer[end_of_head + 4 : whole])
        rest = self._have - whole
        self._buffer[:rest] = self._buffer[whole : self._have]
        self._have = rest
        kind, answer = self._answer(_value(head, b"x-amz-target"), _value(head, b"content-type"), body)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nx-amzn-RequestId: 1\r\nContent-Length: %d\r\n\r\n"
        if self._counts.held is None:
            self.send(head % (kind, len(answer)) + answer)
        else:
            self._counts.held.append((self, head % (kind, len(answer)) + answer))
        return True

    def _answer(self, target: bytes, kind: bytes, body: bytes) -> tuple[bytes, bytes]:
        operation = target.rpartition(b".")[2]
        if operation == b"putrecords":
            in_cbor = kind == _CBOR
            count, answer = scan.put_records_in_cbor(body) if in_cbor else scan.put_records(body)
            counts = self._counts
            counts.requests += 1
            counts.entries += count
            counts.body_bytes += len(body)
            counts.arrivals.append((self._began, count))
            return kind if in_cbor else b"application/x-amz-json-1.1", answer
        if not operation:
            return b"text/xml", _IDENTITY
        return b"application/x-amz-json-1.1", json.dumps(_describe(operation, json.loads(body or b"{}"))).encode()

    def send(self, data: bytes) -> None:
        self._unsent += data
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except _WAIT:
            self._selector.modify(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
            return
        self._selector.modify(self._socket, selectors.EVENT_READ, self)


def _value(head: bytes, name: bytes) -> bytes:
    """Return the value of a header. The head is in lower case."""
    return head.partition(b"\r\n" + name + b":")[2].split(b"\r\n", 1)[0].strip()


def _describe(operation: bytes, params: dict[str, object]) -> dict[str, object]:
    if operation == b"listshards":
        return scan.list_shards(params)
    name = str(params.get("StreamName", ""))
    common: dict[str, object] = {
        "StreamName": name,
        "StreamARN": f"arn:aws:kinesis:us-east-1:123456789012:stream/{name}",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 1.7e9,
        "EnhancedMonitoring": [],
        "EncryptionType": "NONE",
    }
    if operation == b"describestreamsummary":
        return {"StreamDescriptionSummary": common | {"OpenShardCount": scan.shards_of(name), "ConsumerCount": 0}}
    if operation == b"describestream":
        return {"StreamDescription": common | scan.list_shards({"StreamName": name}) | {"HasMoreShards": False}}
    return {}


def serve(https: bool) -> None:
    counts = Counts()
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    with tempfile.TemporaryDirectory(prefix="bench-sink-") as directory:
        context = None
        ca_bundle: Path | None = None
        if https:
            authority = trustme.CA()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
            ca_bundle = Path(directory) / "ca.pem"
            authority.cert_pem.write_to_path(str(ca_bundle))
        port = listener.getsockname()[1]
        url = f"{'https' if https else 'http'}://127.0.0.1:{port}"
        print(json.dumps({"url": url, "port": port, "ca_bundle": str(ca_bundle or "")}), flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    _accept(listener, context, counts, selector)
                elif key.fileobj is sys.stdin:
                    if not _run_command(counts):
                        return  # the process that started the sink is gone
                else:
                    _serve(key, selector)


def _accept(
    listener: socket.socket, context: ssl.SSLContext | None, counts: Counts, selector: selectors.BaseSelector
) -> None:
    connection, _ = listener.accept()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is not None:
        connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    selector.register(connection, selectors.EVENT_READ, Connection(connection, counts, selector))


def _serve(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    try:
        key.data.ready()
    except (OSError, EOFError):
        selector.unregister(key.fileobj)
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()


def _run_command(counts: Counts) -> bool:
    line = sys.stdin.readline().strip()
    result: object = counts.stats()
    if line == "arrivals":
        result = list(counts.arrivals)
    elif line == "hold":
        counts.held = []
    elif line == "release":
        held, counts.held = counts.held or [], None
        for connection, answer in held:
            connection.send(answer)
    print(json.dumps(result), flush=True)
    return bool(line)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--http", action="store_true", help="serve without TLS")
    serve(https=not options.parse_args().http)
