"""Pages of listings, and the NextTokens between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from kplpy.local.model.errors import ServiceError, invalid_argument
from kplpy.local.model.sequence import TOKEN_SECONDS, pack_token, unpack_token

T = TypeVar("T")


def unpack(kind: str, token: str, parts: int, now: float) -> list[str]:
    """Return the parts of a NextToken, the first of which is its time."""
    found = unpack_token(kind, token, parts)
    if found is None:
        raise invalid_argument("The NextToken provided is invalid.")
    if now - float(found[0]) > TOKEN_SECONDS:
        raise ServiceError("ExpiredNextTokenException", "The NextToken provided has expired: it is older than 300 s.")
    return found


def page(
    kind: str, items: Mapping[str, T], params: Mapping[str, Any], now: float, start: str = ""
) -> tuple[list[T], dict[str, str]]:
    """Return one page of `items` in the order of their keys, and the response's NextToken if there are more.

    kind: the listing, so that no other takes its tokens
    start: where the first page begins, after this key
    """
    if params.get("NextToken") is not None:
        start = unpack(kind, params["NextToken"], 2, now)[1]
    limit = params.get("Limit") or min(params.get("MaxResults") or 100, 100)
    shown, last = page_after(items, start, limit)
    return shown, {"NextToken": pack_token(kind, f"{now:.6f}", last)} if last else {}


def page_after(items: Mapping[str, T], start: str, limit: int) -> tuple[list[T], str]:
    """Return up to `limit` items with keys after `start`, in order, and the last key if there are more, else ""."""
    names = [name for name in sorted(items) if name > start]
    return [items[name] for name in names[:limit]], names[limit - 1] if len(names) > limit else ""
