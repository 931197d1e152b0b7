"""A relay to a local server whose connections can fail between requests, as while a process is frozen."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from types import TracebackType

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets the connection


class WayThere:
    """Forwards TCP to `port` of this machine, byte for byte. A context manager."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._forgotten: set[socket.socket] = set()
        self._is_ended = False
        self.accepted = 0
        self.port = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> WayThere:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_ended = True
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.close_all()

    def close_all(self) -> None:
        """Close all connections, as a server closes idle ones."""
        self._end_all()

    def reset_all(self) -> None:
        """Reset all connections, as a restarted server does."""
        with self._lock:
            for pair in self._pairs:
                for each in pair:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._end_all()

    def forget_all(self) -> None:
        """Drop all later data of the connections silently, as a NAT gateway does."""
        with self._lock:
            self._forgotten.update(each for pair in self._pairs for each in pair)

    def _end_all(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for each in pair:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other side was faster
                each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._server_port))
            with self._lock:
                self._pairs.append((near, far))
            self.accepted += 1
            threading.Thread(target=self._forward, args=(near, far), daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        try:
            with selectors.DefaultSelector() as selector:
                for each in other:
                    selector.register(each, selectors.EVENT_READ)
                while True:
                    for key, _ in selector.select():
                        source: socket.socket = key.fileobj  # type: ignore[assignment]
                        data = source.recv(1 << 16)
                        if source in self._forgotten:
                            if not data:
                                return
                            continue
                        if not data:
                            other[source].shutdown(socket.SHUT_WR)
                            return
                        other[source].sendall(data)
        except (OSError, ValueError):
            pass  # the connections were closed
