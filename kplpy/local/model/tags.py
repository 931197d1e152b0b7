"""Tags of streams, consumers and the like: the two families of operations, which set the same tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kplpy.local.model.account import Account, Params, Response
from kplpy.local.model.errors import invalid_argument
from kplpy.local.model.resources import Resource

MAX_TAGS = 50
"""Tags of one resource."""
_ALLOWED = re.compile(r"[\w\s.:/=+\-@]*")
"""Unicode letters and digits, white space, and the symbols that the API reference names."""


def checked_tags(tags: Mapping[str, str] | None, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the tags of a resource after `tags` were added to those it had before.

    Raises InvalidArgumentException for a character that tags cannot have, a key of AWS itself, or too many tags.
    """
    added = tags or {}
    for each in (part for tag in added.items() for part in tag):
        if not _ALLOWED.fullmatch(each):
            raise invalid_argument(
                f"The tag key or value {each!r} has characters other than letters, digits, ' .:/=+-@_'."
            )
    for key in added:
        if key.lower().startswith("aws:"):
            raise invalid_argument(f"The tag key {key!r} begins with aws:, which is reserved for AWS.")
    found = {**(before or {}), **added}
    if len(found) > MAX_TAGS:
        raise invalid_argument(f"A resource cannot have more than {MAX_TAGS} tags; these would be {len(found)}.")
    return found


def _add(resource: Resource, params: Params) -> Response:
    resource.tags = checked_tags(params["Tags"], resource.tags)
    return {}


def _remove(resource: Resource, params: Params) -> Response:
    resource.tags = {key: value for key, value in resource.tags.items() if key not in params["TagKeys"]}
    return {}


def _listed(tags: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"Key": key, "Value": value} for key, value in tags]


def _list_of_stream(resource: Resource, params: Params) -> Response:
    start = params.get("ExclusiveStartTagKey") or ""
    tags = [each for each in sorted(resource.tags.items()) if each[0] > start]
    limit = params.get("Limit") or MAX_TAGS
    return {"Tags": _listed(tags[:limit]), "HasMoreTags": len(tags) > limit}


def _list(resource: Resource, params: Params) -> Response:
    return {"Tags": _listed(sorted(resource.tags.items()))}


def _on_stream(operation: Callable[[Resource, Params], Response]) -> Callable[[Account, Params, float], Response]:
    return lambda account, params, now: operation(account.stream(params, now), params)


def _on_resource(operation: Callable[[Resource, Params], Response]) -> Callable[[Account, Params, float], Response]:
    return lambda account, params, now: operation(account.resource(params["ResourceARN"], now), params)


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "AddTagsToStream": _on_stream(_add),
    "RemoveTagsFromStream": _on_stream(_remove),
    "ListTagsForStream": _on_stream(_list_of_stream),
    "TagResource": _on_resource(_add),
    "UntagResource": _on_resource(_remove),
    "ListTagsForResource": _on_resource(_list),
}

READ_ONLY_OPERATIONS = frozenset({"ListTagsForStream", "ListTagsForResource"})
