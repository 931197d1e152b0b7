"""A web server on this machine whose responses the test decides."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, Mapping[str, str], bytes]


@dataclass
class WebServer:
    """answer: called with a request's headers and body on a thread of the server. requests: headers of all requests."""

    answer: Callable[[Mapping[str, str], bytes], Answer]
    url: str = ""
    requests: list[Mapping[str, str]] = field(default_factory=list)


@contextmanager
def web_server(
    answer: Callable[[Mapping[str, str], bytes], Answer], tls: ssl.SSLContext | None = None
) -> Iterator[WebServer]:
    web = WebServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = dict(self.headers.items())
            web.requests.append(headers)
            status, fields, content = web.answer(headers, body)
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(content)), **fields}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client speaks another protocol or has gone

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    web.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
