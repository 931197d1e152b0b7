"""One request over HTTP/2 in clear text, as the Java SDK's asynchronous client sends it."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded


def http2(
    url: str, operation: str, body: bytes, content_type: str, after_headers: tuple[bytes, ...] = ()
) -> tuple[dict[str, str], bytes]:
    """Send a request and return the headers and the whole body of the response.

    operation: an operation of Kinesis, or the path of a request of CloudWatch
    after_headers: what the client sends when it has the response's headers, in pieces.
    """
    address = urlsplit(url)
    connection = H2Connection(H2Configuration(header_encoding="utf-8"))
    received = b""
    headers: dict[str, str] = {}
    is_path = operation.startswith("/")
    target = [] if is_path else [("x-amz-target", f"Kinesis_20131202.{operation}")]
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as there:
        connection.initiate_connection()
        connection.send_headers(
            1,
            [
                (":method", "POST"),
                (":path", operation if is_path else "/"),
                (":scheme", "http"),
                (":authority", address.netloc),
                *target,
                ("content-type", content_type),
            ],
        )
        connection.send_data(1, body, end_stream=True)
        there.sendall(connection.data_to_send())
        ended = False
        while not ended:
            data = there.recv(65536)
            assert data, "the connection was closed"
            for event in connection.receive_data(data):
                if isinstance(event, ResponseReceived):
                    headers = {str(name): str(value) for name, value in event.headers}
                    there.sendall(connection.data_to_send())
                    for each in after_headers:
                        there.sendall(each)
                        time.sleep(0.01)
                elif isinstance(event, DataReceived):
                    received += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, 1)
                ended = ended or isinstance(event, StreamEnded)
            there.sendall(connection.data_to_send())
    return headers, received
