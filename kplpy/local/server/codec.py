"""Encodes and decodes the API's bodies: JSON with base64, and CBOR.

The Java SDK and the KCL use CBOR. In the model, Data is bytes and a time is epoch seconds. JSON carries a time as epoch
seconds too. CBOR carries a time as tag 1 with whole milliseconds, which is Amazon's own use of that tag.
"""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
from pybase64 import b64decode

from kplpy.local.model.errors import ServiceError
from kplpy.local.model.kinesis_shapes import TIMES

JSON = "application/x-amz-json-1.1"
CBOR = "application/x-amz-cbor-1.1"

UNREADABLE = (ValueError, TypeError, RecursionError, msgspec.MsgspecError, cbor2.CBORDecodeError)
"""What decoding raises for a body that cannot be read. The errors of msgspec 0.20 are no ValueErrors."""


def decode(content_type: str, operation: str, body: bytes) -> dict[str, Any]:
    """Return the members of a request; raise SerializationException if the body cannot be read."""
    params: Any = {}
    try:
        if content_type == CBOR:
            params = cbor2.loads(body, semantic_decoders={1: _from_milliseconds})
        else:
            params = msgspec.json.decode(body)
            if operation in ("PutRecords", "Firehose.PutRecordBatch"):
                for record in params["Records"]:
                    record["Data"] = b64decode(record["Data"], validate=True)
            elif operation == "PutRecord":
                params["Data"] = b64decode(params["Data"], validate=True)
            elif operation == "Firehose.PutRecord":
                params["Record"]["Data"] = b64decode(params["Record"]["Data"], validate=True)
    except KeyError:
        pass  # the model reports which member is missing
    except UNREADABLE as error:
        raise ServiceError("SerializationException", f"The request body cannot be read: {error}") from error
    if not isinstance(params, dict):
        raise ServiceError("SerializationException", "The request body is not a structure.")
    return params


def encode(content_type: str, response: dict[str, Any]) -> bytes:
    """Return the body of a response. Operations without an output have an empty body."""
    return encode_structure(content_type, response) if response else b""


def encode_structure(content_type: str, structure: dict[str, Any]) -> bytes:
    """Return a structure, which may be empty, as a body or the payload of an event."""
    if content_type == CBOR:
        return cbor2.dumps(_with_tags(structure))
    return msgspec.json.encode(structure, enc_hook=_plain)  # bytes as base64


def _plain(value: object) -> str:
    """Return what a value is in JSON that msgspec does not know: a name may be of a subclass of str."""
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"a response must not hold a value of type {type(value).__name__}")


def _from_milliseconds(value: Any, immutable: bool) -> float:
    return float(value) / 1000


def _with_tags(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: cbor2.CBORTag(1, round(each * 1000)) if name in TIMES else _with_tags(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_with_tags(each) for each in value]
    return value
