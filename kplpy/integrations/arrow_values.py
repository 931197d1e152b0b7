"""The values of Arrow columns as the parts of records, and the rules for the columns' types. Needs pyarrow."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from kplpy import serializers
from kplpy.errors import InvalidRecordError

Form = Callable[[Any], Any]
"""Makes a JSON value of a value that is not null."""

# Types that not all supported versions of pyarrow have a test for.
_VIEWS = ("string_view", "binary_view")


def _is_text(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view"


def _is_binary(kind: pa.DataType) -> bool:
    plain = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return plain or str(kind) == "binary_view"


def _is_list(kind: pa.DataType) -> bool:
    plain = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return plain or str(kind).startswith(("list_view<", "large_list_view<"))


def _is_hash_key(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_binary(kind) or types.is_integer(kind) or (types.is_decimal(kind) and kind.scale == 0)


def _is_headers(kind: pa.DataType) -> bool:
    return types.is_map(kind) and _is_text(kind.key_type) and _is_text(kind.item_type)


def _is_bytes(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_binary(kind)


_RULES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "data": (_is_bytes, "binary or text"),
    "partition_key": (_is_bytes, "text, or binary in UTF-8"),
    "explicit_hash_key": (_is_hash_key, "text or binary of decimal digits, integers, or decimals of scale 0"),
    "headers": (_is_headers, "a map of text to text"),
    "stream": (_is_text, "text"),
}


def check_role(role: str, name: str, kind: pa.DataType) -> None:
    """Raise InvalidRecordError unless a column of this type can have the role. A column of nulls can, too."""
    fits, rule = _RULES[role]
    if not fits(_of_dictionary(kind)) and not types.is_null(kind):
        hint = "; cast it, or set json='rest' or 'all'" if role == "data" else "; cast it"
        raise InvalidRecordError(f"column {name!r} ({role}) must be {rule}, and its type is {kind}{hint}")


def _of_dictionary(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if types.is_dictionary(kind) else kind


# --- a record's parts ---


def payloads(column: pa.Array) -> list[bytes | None]:
    """Return the values of binary or text as bytes."""
    column = _plain(column)
    if _is_text(column.type):
        large = types.is_large_string(column.type)
        column = column.cast(pa.large_binary() if large else pa.binary())  # checks nothing, and copies nothing
    values: list[bytes | None] = column.to_pylist()
    return values


def texts(column: pa.Array) -> list[Any]:
    """Return the values of text or binary as str. A value that is not UTF-8 stays bytes, which no check accepts."""
    column = _plain(column)
    if _is_text(column.type):
        try:
            values: list[Any] = column.to_pylist()
        except UnicodeDecodeError:
            pass
        else:
            return values
    return [*map(_decoded, payloads(column))]


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def hash_keys(column: pa.Array) -> list[Any]:
    """Return explicit hash keys as put_record takes them."""
    kind = _of_dictionary(column.type)
    if _is_text(kind) or _is_binary(kind):
        return texts(column)
    values: list[Any] = _plain(column).to_pylist()
    return [*map(int, values)] if types.is_decimal(kind) and None not in values else [*map(_whole, values)]


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def header_maps(column: pa.Array) -> list[Any]:
    """Return the headers as dicts. A map with a name twice stays a list of pairs, which no check accepts."""
    return [*map(_header_map, column.to_pylist())]


def _header_map(pairs: Sequence[tuple[str, str | None]] | None) -> Any:
    if pairs is None:
        return None
    found = dict(pairs)
    return found if len(found) == len(pairs) else pairs


def _plain(column: pa.Array) -> pa.Array:
    """Return the column without a dictionary, and without views, which some versions cannot cast."""
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if str(column.type) in _VIEWS:
        column = column.cast(pa.large_string() if str(column.type) == "string_view" else pa.large_binary())
    return column


# --- JSON ---


def check_json(name: str, kind: pa.DataType) -> None:
    """Raise InvalidRecordError if values of this type have no form in JSON."""
    if types.is_timestamp(kind) and kind.unit == "ns":
        return  # handled as a whole column
    _form(name, kind)


def json_rows(batch: pa.RecordBatch) -> list[bytes]:
    """Return each row as a JSON object in UTF-8.

    Dates and times become ISO 8601 text, decimals text, binary base64, and NaN and infinity null. A map becomes an
    object.
    """
    names = batch.schema.names
    values = [_json_column(name, column) for name, column in zip(names, batch.columns, strict=True)]
    return [serializers.json(dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]


def _json_column(name: str, column: pa.Array) -> list[Any]:
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_timestamp(column.type) and column.type.unit == "ns":
        return _nanosecond_texts(column)
    form = _form(name, column.type)
    values: list[Any] = column.to_pylist()
    return values if form is None else [None if value is None else form(value) for value in values]


def _nanosecond_texts(column: pa.Array) -> list[str | None]:
    """Return timestamps as isoformat() would write them, with nine digits where there are nanoseconds.

    A datetime has microseconds only, so pyarrow itself refuses such values, or needs pandas.
    """
    whole = pc.floor_temporal(column, unit="microsecond").cast(pa.timestamp("us", column.type.tz)).to_pylist()
    return [
        None if moment is None else _with_nanoseconds(moment, value % 1000)
        for moment, value in zip(whole, column.cast(pa.int64()).to_pylist(), strict=True)
    ]


def _with_nanoseconds(moment: datetime, nanoseconds: int) -> str:
    if not nanoseconds:
        return moment.isoformat()
    text = moment.isoformat(timespec="microseconds")
    end = text.index(".") + 7
    return f"{text[:end]}{nanoseconds:03d}{text[end:]}"


def _form(name: str, kind: pa.DataType) -> Form | None:
    """Return how values of a type become JSON; None: as they are. Raises InvalidRecordError."""
    if types.is_dictionary(kind):
        return _form(name, kind.value_type)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_null(kind) or _is_text(kind):
        return None
    if types.is_floating(kind):
        return _number
    if types.is_decimal(kind):
        return str
    if _is_binary(kind):
        return _base64
    if types.is_date(kind) or (types.is_time(kind) and kind.unit != "ns"):
        return _iso
    if types.is_timestamp(kind) and kind.unit != "ns":
        return _iso
    if types.is_map(kind) and _is_text(kind.key_type):
        return _of_map(_form(name, kind.item_type))
    if _is_list(kind):
        return _of_list(_form(name, kind.value_type))
    if types.is_struct(kind) and len({field.name for field in kind}) == kind.num_fields:
        return _of_struct({field.name: _form(name, field.type) for field in kind})
    raise InvalidRecordError(f"column {name!r}: the type {kind} has no form in JSON; cast it or drop it")


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _iso(value: Any) -> str:
    return str(value.isoformat())


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _of_list(form: Form | None) -> Form | None:
    if form is None:
        return None
    return lambda values: [None if each is None else form(each) for each in values]


def _of_map(form: Form | None) -> Form:
    if form is None:
        return dict
    return lambda pairs: {key: None if each is None else form(each) for key, each in pairs}


def _of_struct(forms: dict[str, Form | None]) -> Form | None:
    if not any(forms.values()):
        return None
    used = [(name, form) for name, form in forms.items() if form is not None]
    return lambda value: value | {name: form(value[name]) for name, form in used if value[name] is not None}
