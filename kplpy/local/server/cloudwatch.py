"""CloudWatch's three protocols: Smithy RPC v2 with CBOR, JSON, and the form-encoded query with XML responses.

New SDKs use the first, older ones the last.
"""

from __future__ import annotations

import datetime
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import cbor2
import msgspec

from kplpy.local.model import cloudwatch_shapes
from kplpy.local.model.errors import ServiceError
from kplpy.local.model.rules import FLAG, NUMBER, ListOf, Member, Rule, Structure, Time, Whole
from kplpy.local.server.codec import UNREADABLE

TARGET = "GraniteServiceVersion20100801"
JSON, CBOR, QUERY = "application/x-amz-json-1.0", "application/cbor", "application/x-www-form-urlencoded"
_PATH = f"/service/{TARGET}/operation/"
_NAMESPACE = "http://monitoring.amazonaws.com/doc/2010-08-01/"
_MALFORMED = "The request cannot be read"


@dataclass(frozen=True, slots=True)
class Call:
    """A request of CloudWatch. kind: the protocol, as the content type of requests."""

    kind: str
    operation: str
    params: dict[str, Any]


def is_call(path: str, target: str, content_type: str) -> bool:
    """Return True for a request of CloudWatch. `target`: the X-Amz-Target header.

    A form with a target is a request of Kinesis or Firehose: curl sends this content type by default.
    """
    is_query = not target and content_type.startswith(QUERY)
    return is_query or path.startswith(_PATH) or target.startswith(f"{TARGET}.")


def protocol(path: str, target: str) -> str:
    """Return the protocol of a request of CloudWatch, as its content type."""
    return CBOR if path.startswith(_PATH) else JSON if target else QUERY


def decode(path: str, target: str, encoding: str, body: bytes, most: int) -> Call:
    """Return a request; raise ServiceError if it cannot be read.

    encoding: the Content-Encoding header; SDKs compress large requests with gzip
    most: the most bytes of the body
    """
    kind = protocol(path, target)
    try:
        if encoding == "gzip":
            body = _decompressed(body, most)
        if kind == QUERY:
            return _from_query(body.decode())
        params = cbor2.loads(body, semantic_decoders={1: _seconds}) if kind == CBOR else msgspec.json.decode(body)
    except (*UNREADABLE, zlib.error) as error:
        raise ServiceError("SerializationException", f"{_MALFORMED}: {error}") from error
    if not isinstance(params, dict):
        raise ServiceError("SerializationException", f"{_MALFORMED}: it is not a structure")
    return Call(kind, path[len(_PATH) :] if kind == CBOR else target.partition(".")[2], params)


def _decompressed(body: bytes, most: int) -> bytes:
    machine = zlib.decompressobj(31)
    found = machine.decompress(body, most)
    if machine.unconsumed_tail:
        raise ValueError(f"it has more than {most} bytes")
    return found


def _seconds(value: Any, immutable: bool) -> float:
    return float(value)


# --- form-encoded queries ---


def _from_query(text: str) -> Call:
    fields = dict(parse_qsl(text, keep_blank_values=True))
    operation = fields.pop("Action", "")
    rules = cloudwatch_shapes.OPERATIONS.get(operation, {})
    return Call(QUERY, operation, _members(rules, fields))


def _members(rules: Mapping[str, Member], fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the members of a structure from fields such as Dimensions.member.1.Name."""
    found = {}
    for name, member in rules.items():
        inner = {key[len(name) :]: value for key, value in fields.items() if key == name or key.startswith(name + ".")}
        if inner:
            found[name] = _value(member.rule, inner)
    return found


def _value(rule: Rule, fields: Mapping[str, str]) -> Any:
    """Return one value from its fields, whose names begin with a dot, or are empty."""
    if isinstance(rule, Structure):
        return _members(rule.members, {key[1:]: value for key, value in fields.items()})
    if isinstance(rule, ListOf):
        items: dict[int, dict[str, str]] = {}
        for key, value in fields.items():
            _, word, number, *rest = f"{key}..".split(".", 3)
            if word == "member":
                items.setdefault(int(number), {})[f".{rest[0][:-2]}" if rest[0][:-2] else ""] = value
        return [_value(rule.item, items[number]) for number in sorted(items)]
    text = fields.get("", "")
    if isinstance(rule, Whole):
        return int(text)
    if isinstance(rule, Time):
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    if rule is NUMBER:
        return float(text)
    return text == "true" if rule is FLAG else text


# --- responses ---


def encode(call: Call, answer: dict[str, Any], request_id: str) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a response."""
    if call.kind == CBOR:
        return {"Content-Type": CBOR, "smithy-protocol": "rpc-v2-cbor"}, cbor2.dumps(_with_tags(answer))
    if call.kind == JSON:
        return {"Content-Type": JSON}, msgspec.json.encode(answer)
    result = f"<{call.operation}Result>{_xml(answer)}</{call.operation}Result>"
    body = (
        f'<{call.operation}Response xmlns="{_NAMESPACE}">{result}<ResponseMetadata><RequestId>{request_id}</RequestId>'
        f"</ResponseMetadata></{call.operation}Response>"
    )
    return {"Content-Type": "text/xml"}, body.encode()


def encode_error(kind: str, error: ServiceError, request_id: str) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of an error."""
    code = "ValidationError" if error.code == "ValidationException" else error.code
    fault = "Sender" if error.status < 500 else "Receiver"
    if kind == QUERY:
        text = f"<Type>{fault}</Type><Code>{escape(code)}</Code><Message>{escape(error.message)}</Message>"
        error_and_id = f"<Error>{text}</Error><RequestId>{request_id}</RequestId>"
        return {
            "Content-Type": "text/xml"
        }, f'<ErrorResponse xmlns="{_NAMESPACE}">{error_and_id}</ErrorResponse>'.encode()
    headers = {"Content-Type": kind, "x-amzn-query-error": f"{code};{fault}"}
    content = {"__type": code, "message": error.message}
    if kind == CBOR:
        return {**headers, "smithy-protocol": "rpc-v2-cbor"}, cbor2.dumps(content)
    return headers, msgspec.json.encode(content)


def _with_tags(value: Any, is_time: bool = False) -> Any:
    if isinstance(value, dict):
        return {name: _with_tags(each, name in cloudwatch_shapes.TIMES) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_tags(each, is_time) for each in value]
    return cbor2.CBORTag(1, value) if is_time else value


def _xml(value: Any, name: str = "") -> str:
    """Return the content of the element with this name."""
    if name == "ExtendedStatistics":
        return _entries(value)
    if isinstance(value, dict):
        return "".join(f"<{each}>{_xml(inner, each)}</{each}>" for each, inner in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_xml(each, name)}</member>" for each in value)
    if name in cloudwatch_shapes.TIMES:
        return datetime.datetime.fromtimestamp(value, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return escape(f"{value}")


def _entries(values: Mapping[str, float]) -> str:
    """Return a map, whose keys are no names of elements."""
    return "".join(f"<entry><key>{key}</key><value>{value}</value></entry>" for key, value in values.items())
