"""The columns of a table that make a record, and the rules for their types. Shared by Arrow, Spark and Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kplpy.errors import ConfigError, InvalidRecordError
from kplpy.escaping import brief_repr

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Columns:
    """The names of the columns that make a record.

    data: the payload; binary, or text in UTF-8. Not used with `json`.
    partition_key: text, or binary in UTF-8. A null makes a record without a key, for which kplpy chooses a shard. None:
    no row has a key, and the table needs no such column.
    explicit_hash_key: decimal digits as text or binary, or integers. A null: the partition key decides. Optional.
    headers: a map of text to text. A null: no headers. Optional.
    stream: text, a name or ARN. Used only if no stream is given for the whole table, and needed then.
    json: makes the payload a JSON object with a member for each column. "rest": of the columns that have none of the
    roles above. "all": of all columns, as struct(*) in Spark. None: the payload is the column `data`.

    Optional: the table need not have the column. A column without a role is refused unless `json` is set, because it
    would not be sent.

    ConfigError: a name is not a str or is empty, two roles have the same name, or `json` is another value.
    """

    data: str = "data"
    partition_key: str | None = "partitionKey"
    explicit_hash_key: str = "explicitHashKey"
    headers: str = "headers"
    stream: str = "stream"
    json: Literal["rest", "all"] | None = None

    def __post_init__(self) -> None:
        if self.json not in (None, "rest", "all"):
            raise ConfigError(f"json must be 'rest', 'all' or None, got {brief_repr(self.json)}")
        taken: dict[str, str] = {}
        for role, name in self.roles():
            if not isinstance(name, str) or not name:
                raise ConfigError(f"the column for {role} must be a str that is not empty, got {brief_repr(name)}")
            if name in taken:
                raise ConfigError(f"{taken[name]} and {role} are both column {name!r}; each needs a column of its own")
            taken[name] = role

    def roles(self) -> Iterator[tuple[str, str]]:
        """Yield (role, column name) for each role that is used."""
        if self.json is None:
            yield "data", self.data
        if self.partition_key is not None:
            yield "partition_key", self.partition_key
        yield "explicit_hash_key", self.explicit_hash_key
        yield "headers", self.headers
        yield "stream", self.stream


class Layout:
    """Where the parts of a record are in tables with one schema. The types are checked.

    by_role: the column's name, for the roles that the table has a column for.
    json: the columns of the JSON object; None if the payload is a column.

    has_stream: a stream is given for the whole table. Then a column for the stream is not used.

    Raises InvalidRecordError, which names the column, its type and the rule.
    """

    def __init__(self, schema: pa.Schema, columns: Columns, has_stream: bool) -> None:
        from kplpy.integrations.arrow_values import check_json, check_role

        for name in schema.names:
            if schema.names.count(name) > 1:
                raise InvalidRecordError(f"the table has several columns {name!r}; each needs a name of its own")
        needed = {"data", "partition_key"} | (set() if has_stream else {"stream"})
        self.by_role: dict[str, str] = {}
        for role, name in columns.roles():
            if name in schema.names:
                self.by_role[role] = name
            elif role in needed:
                raise InvalidRecordError(_missing(role, name, schema.names))
        taken = set(self.by_role.values())
        if has_stream:
            self.by_role.pop("stream", None)
        for role, name in self.by_role.items():
            check_role(role, name, schema.field(name).type)
        rest = [name for name in schema.names if name not in taken]
        self.json: list[str] | None = None
        if columns.json is not None:
            self.json = rest if columns.json == "rest" else list(schema.names)
            if not self.json:
                raise InvalidRecordError("no column is left for the JSON object of json='rest': set json='all'")
            for name in self.json:
                check_json(name, schema.field(name).type)
        elif rest:
            raise InvalidRecordError(
                f"no part of a record is made of {_listed(rest)}: drop these columns, name their roles in Columns, or "
                f"set json='rest' to send them as JSON"
            )


_HINTS = {
    "data": "name another one in Columns(data=...), or set json='rest' or 'all'",
    "partition_key": "name another one in Columns(partition_key=...), or set it to None for records without a key",
    "stream": "give the stream, or name the column in Columns(stream=...)",
}


def _missing(role: str, name: str, names: list[str]) -> str:
    return f"the table has no column {name!r} for {role}: it has {_listed(names)}; {_HINTS[role]}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:20])) or "no columns"
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown
