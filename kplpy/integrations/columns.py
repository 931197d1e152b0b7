"""The columns of a table that make a record, and the rules for their types. Shared by Arrow, Spark and Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kplpy.errors import ConfigError
from kplpy.escaping import brief_repr


@dataclass(frozen=True)
class Columns:
    """Names of the columns that make a record.

    data: the payload; binary or text, without nulls. Not used with `json`.
    partition_key: text, or binary that is UTF-8. A null makes a record without a key. None: no record has a key, and
        the table needs no such column.
    explicit_hash_key: text of decimal digits, or integers. Optional in the table. A null: the partition key decides.
    headers: a map of text to text. Optional in the table. A null: no headers.
    stream: name or ARN. Optional in the table, and used only where no stream is given for the whole table.
    json: the payload is a JSON object, with a member for each column. "rest": for the columns without a role above.
        "all": for all columns, as struct(*) in Spark. None: the payload is the column `data`.

    ConfigError: a name is not a str or is empty, or two roles have the same name, or `json` is another value.
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
        for role, name in self.roles().items():
            if not isinstance(name, str) or not name:
                raise ConfigError(f"the column of {role} must be a str that is not empty, got {brief_repr(name)}")
            if name in taken:
                raise ConfigError(f"{taken[name]} and {role} are both the column {name!r}: each needs its own")
            taken[name] = role

    def roles(self) -> dict[str, str]:
        """Return the column names by role, for the roles that are used."""
        names = {
            "data": None if self.json else self.data,
            "partition_key": self.partition_key,
            "explicit_hash_key": self.explicit_hash_key,
            "headers": self.headers,
            "stream": self.stream,
        }
        return {role: name for role, name in names.items() if name is not None}
