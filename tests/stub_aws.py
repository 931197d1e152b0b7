"""Stand-ins for AWS below botocore: they respond to a session's clients without a socket, for any host."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from botocore.awsrequest import AWSPreparedRequest, AWSResponse


@dataclass(frozen=True)
class Call:
    """One request to Kinesis, as it would be sent."""

    url: str
    operation: str
    access_key: str
    token: str | None
    body: dict[str, Any]


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


class KinesisBelowBotocore:
    """Responds to PutRecords and ListShards for one shard. Refuses tokens in `expired` and keys in `unknown`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.expired: set[str] = set()
        self.unknown: set[str] = set()
        self._lock = threading.Lock()

    def attach(self, session: Any) -> None:
        """Handle all requests of Kinesis clients that the boto3 or botocore session makes later."""
        events = session.events if hasattr(session, "events") else session.get_component("event_emitter")
        events.register("before-send.kinesis", self._answer)

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        operation = headers["x-amz-target"].rpartition(".")[2]
        credential = re.search(r"Credential=([^/]+)/", headers["authorization"])
        assert credential is not None
        token = headers.get("x-amz-security-token")
        body = json.loads(_text(request.body))
        call = Call(request.url, operation, credential[1], token, body)
        with self._lock:
            self.calls.append(call)
            if token in self.expired:
                return _response(request.url, 400, {"__type": "ExpiredTokenException", "message": "it has expired"})
            if call.access_key in self.unknown:
                return _response(request.url, 400, {"__type": "UnrecognizedClientException", "message": "who?"})
            number = len(self.calls)
        if operation == "ListShards":
            keys = {"StartingHashKey": "0", "EndingHashKey": str((1 << 128) - 1)}
            shard = {"ShardId": "shardId-000000000000", "HashKeyRange": keys, "SequenceNumberRange": {}}
            return _response(request.url, 200, {"Shards": [shard]})
        assert operation == "PutRecords"
        entry = {"SequenceNumber": str(number), "ShardId": "shardId-000000000000"}
        return _response(request.url, 200, {"FailedRecordCount": 0, "Records": [entry] * len(body["Records"])})

    def puts(self) -> list[Call]:
        with self._lock:
            return [call for call in self.calls if call.operation == "PutRecords"]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _response(url: str, status: int, body: dict[str, Any]) -> AWSResponse:
    headers: Any = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "1"}
    return AWSResponse(url, status, headers, _Raw(json.dumps(body).encode()))


class FakeSts:
    """An STS over plain HTTP on this machine. Each response has another access key: ASIA1, ASIA2, …"""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.expiration = "2099-01-01T00:00:00Z"
        self.endpoint_url = ""

    def answer(self, form: dict[str, str]) -> str:
        self.asked.append(form)
        action, number = form["Action"], len(self.asked)
        return f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>
            <AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>{form["RoleArn"]}/s</Arn></AssumedRoleUser>
            <Credentials><AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>
            <SessionToken>token {number}</SessionToken><Expiration>{self.expiration}</Expiration></Credentials>
            </{action}Result></{action}Response>"""


@contextmanager
def fake_sts() -> Iterator[FakeSts]:
    sts = FakeSts()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            body = sts.answer({name: values[0] for name, values in form.items()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sts.endpoint_url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield sts
        finally:
            server.shutdown()
            thread.join()
