"""A relay between a producer and a local server that breaks at a given moment of a PutRecords request."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Literal

Moment = Literal["connect", "tunnel", "handshake", "headers", "within", "after", "half response"]
Way = Literal["close", "reset", "garbage"]
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets the connection
# Small, so that little data is on the way beside the client's own buffer.
_BUFFER = 64 << 10


class _Ended(Exception):
    """The connection was broken, as planned."""


class BreakingRelay:
    """Forwards requests to the plain HTTP server at `port` of this machine. A context manager.

    tls: the relay's side of TLS; None for plain HTTP, where it also accepts whole URLs.
    proxy: with TLS, the relay first responds to CONNECT.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, proxy: bool = False) -> None:
        self._server_port, self._tls, self._proxy = port, tls, proxy
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._server.bind(("127.0.0.1", 0))
        self._server.listen()
        self._lock = threading.Lock()
        self._plan: tuple[Moment, Way] | None = None
        self._open: set[socket.socket] = set()
        self.port = self._server.getsockname()[1]

    def __enter__(self) -> BreakingRelay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._close_all()

    def break_next(self, moment: Moment, way: Way) -> None:
        """Break the next connection, or the next PutRecords request, at this moment.

        Closes all connections, so that the client opens new ones.
        """
        with self._lock:
            self._plan = moment, way
        self._close_all()

    def _close_all(self) -> None:
        with self._lock:
            for each in self._open:
                with suppress(OSError):  # the connection may be closed already
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            self._at("connect", client)
            client = self._secured(client)
            with self._lock:
                self._open.add(client)
            while self._answer(client):
                pass
        except (_Ended, OSError):
            pass
        finally:
            with self._lock:
                self._open.discard(client)
                client.close()

    def _at(self, moment: Moment, client: socket.socket) -> None:
        """Break the connection if it is to break at this moment."""
        with self._lock:
            if self._plan is None or self._plan[0] != moment:
                return
            way, self._plan = self._plan[1], None
        if way == "garbage":
            os.write(client.fileno(), b"\x17\x03\x03\x00\x40" + bytes(64))  # bypasses TLS
        elif way == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        client.close()
        raise _Ended

    def _secured(self, client: socket.socket) -> socket.socket:
        if self._tls is None:
            return client
        if self._proxy:
            _read_head(client)
            self._at("tunnel", client)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        self._at("handshake", client)
        return self._tls.wrap_socket(client, server_side=True)

    def _answer(self, client: socket.socket) -> bool:
        head = _read_head(client)
        if head is None:
            return False
        at = self._at if head["x-amz-target"].endswith(".PutRecords") else _nothing
        at("headers", client)
        length = int(head["content-length"])
        body = _read(client, length // 10)
        at("within", client)
        body += _read(client, length - length // 10)
        response = self._forward(head, body)
        at("after", client)
        client.sendall(response[: len(response) // 2])
        at("half response", client)
        client.sendall(response[len(response) // 2 :])
        return True

    def _forward(self, head: dict[str, str], body: bytes) -> bytes:
        server = http.client.HTTPConnection("127.0.0.1", self._server_port)
        try:
            server.request("POST", "/", body, {name: value for name, value in head.items() if name != "host"})
            response = server.getresponse()
            content = response.read()
        finally:
            server.close()
        passed = [(name, value) for name, value in response.getheaders() if name.lower() != "content-length"]
        lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in passed)]
        return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


def _nothing(moment: Moment, client: socket.socket) -> None:
    """Do nothing: this request must not break."""


def _read_head(client: socket.socket) -> dict[str, str] | None:
    """Return the request's headers, or None at the connection's end. Reads byte by byte, to leave the body unread."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte:
            return None
        head += byte
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def _read(client: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = client.recv(min(length, 1 << 20))
        if not part:
            raise _Ended
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
