"""A record's headers, checked and encoded when the record is put."""

from __future__ import annotations

from collections.abc import Mapping

from kplpy.errors import InvalidRecordError
from kplpy.escaping import brief_repr
from kplpy.wire.tags import encode_tags

Headers = Mapping[str, str | None]

MAX_HEADERS = 256
"""The most headers of one record."""


class TracedHeaders(dict[str, str | None]):
    """Headers with the context of a span. A record that is valid only without this context goes without it.

    own: the headers that the record has besides.
    """

    def __init__(self, context: Headers, own: Headers | None) -> None:
        super().__init__(context)
        if own:
            self.update(own)
        self.own = own


def encode_headers(headers: Headers) -> bytes:
    """Return the headers as tags, which copies the mapping. Empty for an empty mapping.

    Raises InvalidRecordError, which names the header and the rule. It does not show values, which may be secret.
    """
    if not isinstance(headers, Mapping):
        raise InvalidRecordError(
            f"headers must be a mapping of str to str or None, or None without headers; got {type(headers).__name__}"
        )
    if len(headers) > MAX_HEADERS:
        raise InvalidRecordError(f"a record has at most {MAX_HEADERS} headers, got {len(headers)}")
    return b"".join([_encode(name, value) for name, value in headers.items()])


def _encode(name: object, value: object) -> bytes:
    if not isinstance(name, str) or not name:
        raise InvalidRecordError(f"a header's name must be a str that is not empty, got {brief_repr(name)}")
    if not isinstance(value, (str, type(None))):
        raise InvalidRecordError(
            f"header {brief_repr(name)}: the value must be a str or None, got {type(value).__name__}"
        )
    try:
        return encode_tags({name: value})
    except UnicodeEncodeError as error:
        raise InvalidRecordError(
            f"header {brief_repr(name)}: name and value must be encodable as UTF-8 ({error.reason})"
        ) from None
